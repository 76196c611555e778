"""Programs compiled ahead of time for TPUs that are not there; import it before JAX has looked for devices.

Needs ``pip install 'jax[tpu]'``, in an environment of its own; nothing runs on a TPU.
"""

import functools
import os
from collections.abc import Mapping

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.benchmarks import cycles


@functools.cache
def devices(topology="v5e:2x2"):
    """The chips of a pod, such as "v5e:8x8", "v5p:2x2x1" or "v6e:2x2": the same objects at every call."""
    return topologies.get_topology_desc(topology, "tpu").devices


def on_one_chip(tree, topology="v5e:2x2"):
    """The same arrays or `jax.ShapeDtypeStruct`, as arguments of a program for one chip."""
    whole = NamedSharding(Mesh(np.array(devices(topology)[:1]), ("chip",)), PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), tree)


def matrices(shapes, dtype=jnp.float32):
    """A tree of hidden matrices that both this library and optax.contrib take."""
    return {f"h{i}": {"up": {"kernel": jax.ShapeDtypeStruct(shape, dtype)}} for i, shape in enumerate(shapes)}


def update(tx, params, topology="v5e:2x2"):
    """One update, momentum donated, compiled for one chip."""
    params = on_one_chip(params, topology)
    state = on_one_chip(jax.eval_shape(tx.init, params), topology)
    return jax.jit(tx.update, donate_argnums=1).lower(params, state, params).compile()


def measured(compiled, topology="v5e:2x2") -> Mapping[str, object]:
    """The figures of a compiled program, as a record has them."""
    cost, memory = cycles.read(compiled.as_text()), compiled.memory_analysis()
    known = cost.cycles is not None
    return {
        "Mcycles": cost.cycles / 1e6 if known else "-",
        "ms": 1e3 * cost.cycles / cycles.CLOCK[topology.split(":")[0]] if known else "-",
        "temp MB": memory.temp_size_in_bytes / 1e6,
        "asynchronous copies MB": cost.copied / 1e6,
        "without estimate": ", ".join(cost.unknown) or "-",
    }
