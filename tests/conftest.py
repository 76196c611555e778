"""Eight CPU devices for every test, and programs that a run's processes share; set before JAX starts."""

import atexit
import gc
import itertools
import os
import pathlib
import shutil
import tempfile
import zlib

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
# Programs run for milliseconds here and compile for seconds. `JAX_DISABLE_MOST_OPTIMIZATIONS=0` compiles as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Most of the time of these tests is XLA's. Workers, and the scripts that tests start, inherit the folder, so that
    # each program is compiled once in a run; it is gone afterwards, so that no run trusts what another one left.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="optax_muon-programs-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import pytest

from tests.oldest import OLDEST

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    """A fixed random key."""
    return jax.random.key(0)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the choice before `-m` chooses."""
    rows = {}
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(OLDEST):
            item.add_marker("oldest")
        if item.get_closest_marker("thinned"):
            rows.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for of_one_test in rows.values():
        # By a digest of the names: every parameter of a table varies among the rows that stay, and every worker agrees.
        kept = -(-len(of_one_test) // of_one_test[0].get_closest_marker("thinned").args[0])
        for item in sorted(of_one_test, key=lambda item: zlib.crc32(item.nodeid.encode()))[kept:]:
            item.add_marker("slow")


MAPS = pathlib.Path("/proc/self/maps")
finished = itertools.count(1)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Drop compiled programs before a process runs out of memory maps.

    Each program holds a few, Linux allows 65,530 by default, and XLA's compiler dies beyond.
    """
    if next(finished) % 25 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > 45_000:
        jax.clear_caches()
        gc.collect()
