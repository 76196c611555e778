"""Several TPU chips, by the compiler's own clock: what the exchange costs beside the update itself."""

import importlib.util

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs jax[tpu]"),
]


@pytest.mark.parametrize(("kind", "share"), [("Explicit", 1.1), ("Auto", 1.15)])
def test_an_exchange_costs_a_tenth_of_the_update(kind, share):
    """Four chips with a matrix each, against one chip with one: packing and unpacking is all that differs.

    On an Auto mesh results are tied to what came in, which reads that once more.
    """
    from tests.benchmarks import ahead, cycles, models  # they find the TPU's compiler

    import jax  # isort: skip
    import numpy as np

    import optax_muon as om

    mesh = jax.sharding.Mesh(np.array(ahead.devices()), ("fsdp",), axis_types=(getattr(jax.sharding.AxisType, kind),))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp", None))
    whole = ahead.matrices([(1024, 4096)] * 4)
    cut = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows), whole)
    together = cycles.read(models.lower(om.muon(0.02), cut, donate=True).compile().as_text())
    alone = ahead.measured(ahead.update(om.muon(0.02), ahead.matrices([(1024, 4096)])))
    assert together.collectives == {"all-to-all": 2}
    assert together.nbytes == 2 * 2 * 1024 * 4096  # there and back, in bfloat16
    assert together.cycles <= share * 1e6 * alone["Mcycles"]
