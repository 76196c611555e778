"""One device: bounded memory, and a program that does not grow with depth."""

import jax
import jax.numpy as jnp
import optax
import pytest

import optax_muon as om
from optax_muon.placement import _local, _on_accelerator
from optax_muon.placement._local import Local
from optax_muon.transforms import apply_to_matrices

OP = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)


def lowered(tx, shapes):
    params = {str(i): {"up": {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)}} for i, shape in enumerate(shapes)}
    return jax.jit(tx.update).lower(params, jax.eval_shape(tx.init, params), params)


def test_large_matrices_run_one_after_another():
    shape, number = (512, 1536), 24
    nbytes = 4 * shape[0] * shape[1]
    # 24 matrices of 3 MB: were they in flight together, their temporaries alone would be 72 MB and more.
    tx = om.muon(0.02, orthogonalizer=OP, placement=Local(max_bytes=nbytes))
    import optax_muon.placement._in_order as placement

    allowed, placement.IN_FLIGHT_BYTES = placement.IN_FLIGHT_BYTES, nbytes
    try:
        temporary = lowered(tx, [shape] * number).compile().memory_analysis().temp_size_in_bytes
    finally:
        placement.IN_FLIGHT_BYTES = allowed
    assert temporary <= 3 * nbytes


def test_a_run_is_computed_in_one_buffer():
    shape, number = (128, 384), 24
    tx = apply_to_matrices(OP, placement=Local())
    temporary = lowered(tx, [shape] * number).compile().memory_analysis().temp_size_in_bytes
    assert temporary <= 1.25 * number * 4 * shape[0] * shape[1]


def test_the_program_does_not_grow_with_depth():
    def loops(number):
        text = lowered(apply_to_matrices(OP), [(8, 32), (32, 8), (8, 8)] * number).as_text()
        return text.count("stablehlo.while"), text.count("stablehlo.dot_general")

    assert loops(2) == loops(12)


@pytest.mark.parametrize(("op", "bound"), [(OP, 1e-5), (om.linalg.best(), 0.1)], ids=["float32", "the default"])
def test_an_accelerator_s_way_gives_what_a_cpu_s_gives(op, bound, monkeypatch):
    """One by one, in a loop and in batches, each the wide way and the tall; the default within bfloat16's rounding."""
    shapes = [(16, 48)] * 2 + [(48, 16), (16, 40), (16, 40), (16, 40), (8, 24), (8, 24), (24, 8), (3, 8, 24)]
    keys = jax.random.split(jax.random.key(0), len(shapes))
    given = {str(i): jax.random.normal(key, shape) for i, (key, shape) in enumerate(zip(keys, shapes, strict=True))}
    leaves = {str(i): om.Leaf("hidden", len(shape) - 2, len(shape) - 1) for i, shape in enumerate(shapes)}
    tx = apply_to_matrices(op, leaves=leaves, placement=Local())
    expected = jax.jit(lambda x: tx.update(x, tx.init(x))[0])(given)
    monkeypatch.setattr(_local, "run_by_platform", lambda works, cpu, default: default(works))
    monkeypatch.setattr(_on_accelerator, "FILLS", 16)
    monkeypatch.setattr(_on_accelerator, "UNROLLED", 2)
    monkeypatch.setattr(_on_accelerator, "BATCH_BYTES", 2 * 4 * 8 * 24)
    got = jax.jit(lambda x: tx.update(x, tx.init(x))[0])(given)
    for name, x in expected.items():
        assert jnp.linalg.norm((got[name] - x).ravel()) <= bound * jnp.linalg.norm(x.ravel()), (name, shapes[int(name)])


def test_an_accelerator_takes_small_matrices_together():
    given = {"up": {"kernel": jax.ShapeDtypeStruct((4, 8, 16), jnp.float32)}}
    tx = apply_to_matrices(OP, leaves={"up": {"kernel": om.Leaf("hidden", 1, 2)}})
    program = jax.export.export(jax.jit(lambda x: tx.update(x, tx.init(x))[0]), platforms=["tpu"])(given)
    assert "batching_dims = [0]" in program.mlir_module()


def test_a_map_is_traced_once_for_each_way():
    """Tracing is most of what a user waits for on a CPU: a map is traced for it and for the others, no more."""

    class Counted(om.linalg.SpectralMap):
        times = 0

        def apply(self, x):
            type(self).times += 1
            return x

        def scalar(self, s):
            return s

    given = {str(i): {"up": {"kernel": jax.ShapeDtypeStruct((8, 16), jnp.float32)}} for i in range(12)}
    jax.eval_shape(lambda x: apply_to_matrices(Counted()).update(x, optax.EmptyState())[0], given)
    assert Counted.times == 2


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="max_bytes must be >= 0, not -1"):
        Local(max_bytes=-1)


def test_a_no_op_costs_copies_alone():
    """A map that does nothing adds no arithmetic, and at most one copy of what was joined."""

    class Identity(om.linalg.SpectralMap):
        def apply(self, x):
            return x

        def scalar(self, s):
            return s

    shapes = [(16, 64), (64, 16)] * 8
    program = lowered(apply_to_matrices(Identity()), shapes).compile()
    assert program.memory_analysis().temp_size_in_bytes <= 1.3 * 4 * len(shapes) * 16 * 64
