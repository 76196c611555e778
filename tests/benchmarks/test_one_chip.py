"""One TPU chip, by the compiler's own clock: the default update against optax.contrib.muon's."""

import importlib.util

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs jax[tpu]"),
]


@pytest.mark.parametrize(("shape", "limit"), [((1024, 4096), 0.85), ((2048, 8192), 0.75)])
def test_large_matrices_are_faster_than_the_peer_s(shape, limit):
    """One of them: up to eight stand in the program one after another."""
    from tests.benchmarks import one_chip  # it finds the TPU's compiler

    ours = one_chip.whole(one_chip.om.muon(0.02), {shape: 1}, "v5e:2x2")
    peer = one_chip.in_proportion(one_chip.optax.contrib.muon(0.02), {shape: 1}, "v5e:2x2")
    assert ours["Mcycles"] <= limit * peer["Mcycles"]
    assert ours["temp MB"] <= 100
