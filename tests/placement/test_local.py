"""One device: bounded memory, no batch of one, order, and a program that does not grow with depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.linalg._map_stack import after, map_stack, split_stack
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
    import optax_muon.placement._local as placement

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


def test_one_matrix_is_not_batched():
    def batched(text):
        return "batching_dims = [0]" in text

    stack = jax.ShapeDtypeStruct((1, 8, 16), jnp.float32)
    assert not batched(jax.jit(lambda x: map_stack(OP, x)[0]).lower(stack).as_text())
    many = jax.ShapeDtypeStruct((4, 8, 16), jnp.float32)
    assert not batched(jax.jit(lambda x: map_stack(OP, x)[0]).lower(many).as_text())
    exported = jax.export.export(jax.jit(lambda x: map_stack(OP, x)[0]), platforms=["tpu"])(many)
    assert batched(exported.mlir_module()), "small matrices fill an accelerator together"


@pytest.mark.parametrize("previous", [0.0, -1.0, np.nan, np.inf, 1e-45])
def test_order_changes_nothing(previous):
    x = jnp.asarray([[1.0, np.nan], [np.inf, -0.0]])
    for dtype in (jnp.float32, jnp.bfloat16):
        got = jax.jit(after)(x.astype(dtype), jnp.full((2, 2), previous, dtype))
        np.testing.assert_array_equal(got.astype(jnp.float32), x)
    assert after(x, None) is x


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="max_bytes must be >= 0, not -1"):
        Local(max_bytes=-1)


def test_stacks_of_any_size_agree_with_single_matrices():
    rng = np.random.default_rng(0)
    for count in (1, 2, 7):
        x = jnp.asarray(rng.normal(size=(count, 4, 6)), jnp.float32)
        for reuse in (False, True):
            got = map_stack(OP, x, reuse=reuse)[0]
            np.testing.assert_allclose(got, jnp.stack([OP.apply(m) for m in x]), atol=1e-6)


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


def test_a_stack_splits_into_any_sizes():
    x = jnp.arange(24.0).reshape(12, 2, 1)
    for sizes in ((12,), (5, 7), (1,) * 12, (2, 1, 1, 1, 1, 1, 1, 1, 3)):
        got = jax.jit(split_stack, static_argnums=1)(x, sizes)
        assert [len(part) for part in got] == list(sizes)
        np.testing.assert_array_equal(jnp.concatenate(got), x)
        nothing = jax.jit(split_stack, static_argnums=1)(jnp.full_like(x, jnp.nan), sizes)
        assert all(bool(jnp.isnan(part).all()) for part in nothing)
