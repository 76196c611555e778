"""The arithmetic that fits the platform: which program holds which, and how far the two are apart."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon import linalg

pytestmark = pytest.mark.thinned(2)

SHAPES = [(64, 256)] * 3 + [(256, 64), (64, 64)]


def program(function, platform, *args):
    return jax.export.export(jax.jit(function), platforms=[platform])(*args).mlir_module()


def params(dtype=jnp.float32):
    return {f"h{i}": {"up": {"kernel": jnp.ones(shape, dtype)}} for i, shape in enumerate(SHAPES)}


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_a_program_holds_its_own_platform_s_products_alone(platform):
    def products(tx):
        lines = program(tx.update, platform, params(), tx.init(params()), params()).splitlines()
        return [line for line in lines if "stablehlo.dot_general" in line]

    default = products(om.muon(0.02))
    assert default
    assert all(("bf16" in line) == (platform != "cpu") for line in default)
    # A map that is given an arithmetic keeps it.
    single = products(om.muon(0.02, orthogonalizer=linalg.best(arithmetic=linalg.FLOAT32)))
    assert single
    assert not any("bf16" in line for line in single)


def test_float64_and_complex_stay_wide_everywhere():
    with jax.enable_x64(True):
        for dtype in (jnp.float64, jnp.complex64):
            text = program(linalg.best().apply, "tpu", jax.ShapeDtypeStruct((4, 12), dtype))
            assert "stablehlo.dot_general" in text
            assert "bf16" not in text


def test_a_table_without_room_for_bfloat16_stays_in_float32():
    assert not linalg.CANS_2025.survives(8)
    assert type(linalg.best(linalg.CANS_2025)) is linalg.PlainOrGram


@pytest.mark.parametrize("shape", [(48, 200), (200, 48), (48, 48), (3, 40, 100)])
def test_the_two_are_near_each_other(shape):
    """Of a well-conditioned matrix within three percent in the Frobenius norm, which is bfloat16's rounding."""
    op = linalg.best()
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    if shape[-1] == shape[-2]:
        x = x + 6 * jnp.eye(shape[-1])
    wide, narrow = op.cpu.apply(x), op.accelerator.apply(x)
    assert (op.apply(x) == wide).all()
    assert jnp.linalg.norm(wide - narrow) <= 0.03 * jnp.linalg.norm(wide)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-30, 2.0**30, 2.0**100, 2.0**125])
def test_bfloat16_takes_any_scale(scale, dtype):
    op = linalg.best(arithmetic=linalg.BFLOAT16)
    x = jax.random.normal(jax.random.key(0), (8, 20)).astype(dtype)
    # Powers of two commute with rounding.
    assert (op.apply(x * scale) == op.apply(x)).all()
    assert not op.apply(jnp.zeros((3, 8), dtype)).any()
    for broken in (jnp.nan, jnp.inf):
        assert jnp.isnan(op.apply(x.at[0, 0].set(broken))).all()


def test_what_it_reads_may_be_rounded_before():
    op = linalg.best(arithmetic=linalg.BFLOAT16)
    assert op.reads(jnp.float32) == jnp.bfloat16
    assert linalg.best().reads(jnp.float32) == jnp.float32
    assert linalg.best().on_accelerator(jnp.float32).reads(jnp.float32) == jnp.bfloat16
    x = jax.random.normal(jax.random.key(0), (8, 20))
    assert (op.apply(x.astype(jnp.bfloat16)).astype(jnp.float32) == op.apply(x)).all()


@pytest.mark.slow
def test_differentiable_mapped_and_scanned():
    op = linalg.best()
    x = jax.random.normal(jax.random.key(0), (2, 4, 9))
    assert jnp.isfinite(jax.grad(lambda x: (op.apply(x) ** 3).sum())(x)).all()
    np.testing.assert_allclose(jax.vmap(op.apply)(x), op.apply(x), atol=1e-5)
    scanned = jax.lax.scan(lambda c, m: (c, op.apply(m)), 0, x)[1]
    np.testing.assert_allclose(scanned, op.apply(x), atol=1e-5)
    for narrow in (jax.grad(lambda x: (op.accelerator.apply(x) ** 3).sum())(x), jax.vmap(op.accelerator.apply)(x)):
        assert jnp.isfinite(narrow).all()
