"""Every normaliser brings the spectral norm to at most 1, by one number a matrix or, for AOL, a number a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg
from tests.linalg.spectra import hard, with_spectrum

pytestmark = pytest.mark.thinned(2)

SCALARS = [linalg.Frobenius(), linalg.Schatten4(), linalg.PowerIteration()]
ALL = [*SCALARS, linalg.AOL()]
NAMES = list(hard(24, 40))

every = pytest.mark.parametrize("normalize", ALL, ids=repr)


@pytest.fixture(scope="module")
def stack():
    """One matrix of each spectrum, float32."""
    return jnp.asarray(np.stack(list(hard(24, 40).values())), jnp.float32)


@every
def test_spectral_norm_is_at_most_one(normalize, stack):
    top = np.linalg.svd(np.asarray(normalize.apply(stack), np.float64), compute_uv=False)[:, 0]
    assert (top <= 1 + 1e-6).all(), dict(zip(NAMES, top, strict=True))
    # Each is sharp on a matrix of rank 1, but for the margin of the power iteration, which the Schatten norm undercuts.
    assert top[NAMES.index("rank 1")] == pytest.approx(1, abs=1e-6)


def test_the_closer_norms_leave_larger_singular_values(stack):
    tops = [np.linalg.svd(n.apply(stack), compute_uv=False)[:, 0] for n in SCALARS]
    assert (tops[1] >= tops[0] - 1e-6).all()
    assert (tops[2] >= tops[1] - 1e-6).all()
    at = NAMES.index("half zero")  # 12 equal values: 12^(-1/2), 12^(-1/4), 1 / 1.15
    assert [t[at] for t in tops] == pytest.approx([12**-0.5, 12**-0.25, 1 / 1.15], rel=1e-5)


@pytest.mark.parametrize("normalize", SCALARS[:2], ids=repr)
def test_scalar_is_the_image_of_the_spectrum(normalize):
    with jax.enable_x64(True):
        x = np.stack([with_spectrum([3.0, 1.0, 0.2, 0.0], (4, 7)), with_spectrum([1e-9, 1e-10, 0, 0], (4, 7))])
        s = np.linalg.svd(x, compute_uv=False)
        np.testing.assert_allclose(
            np.linalg.svd(normalize.apply(jnp.asarray(x)), compute_uv=False),
            normalize.scalar(jnp.asarray(s)),
            atol=1e-14,
        )


def test_power_iteration_estimates_within_its_margin(stack):
    """From below, and so that the norm never passes 1; its scalar assumes an exact estimate."""
    op = linalg.PowerIteration()
    s = np.linalg.svd(np.asarray(stack, np.float64), compute_uv=False)
    top = np.linalg.svd(np.asarray(op.apply(stack), np.float64), compute_uv=False)[:, 0]
    ratio = top / np.asarray(op.scalar(jnp.asarray(s)))[:, 0]
    assert (ratio >= 1 - 1e-5).all()
    assert (ratio <= 1.03).all()


@every
def test_a_split_stack_stays_split_on_an_explicit_mesh(normalize, stack):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data", None, None))
    x = stack[:8]
    with jax.set_mesh(mesh):
        out = jax.jit(normalize.apply)(jax.device_put(x, split))
    assert out.sharding.is_equivalent_to(split, 3)
    np.testing.assert_allclose(out, normalize.apply(x), rtol=1e-5)


def test_at_most_one_shrinks_what_is_longer_and_leaves_the_rest_bit_for_bit():
    op = linalg.AtMostOne()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)
    sizes = jnp.array([0.0, 1e-30, 0.05, 1.0, 1e30])[:, None, None]
    y = jax.jit(op.apply)(sizes * x[None])
    assert (y[:3] == (sizes * x[None])[:3]).all()
    np.testing.assert_allclose(jnp.linalg.norm(y[3:], axis=(1, 2)), 1, rtol=1e-6)
    assert jnp.isnan(op.apply(x.at[0, 0].set(jnp.nan))).all()
    np.testing.assert_allclose(op.scalar(jnp.array([3.0, 4.0])), [0.6, 0.8], rtol=1e-6)


def test_power_iteration_repeats_and_needs_no_key(stack):
    op = linalg.PowerIteration()
    assert (op.apply(stack) == op.apply(stack)).all()


def test_aol_divides_rows_by_the_root_of_their_sum_in_the_gram_matrix(stack):
    x = np.asarray(stack, np.float64)
    gram = np.abs(x @ x.swapaxes(-1, -2)).sum(-1, keepdims=True)
    np.testing.assert_allclose(linalg.AOL().apply(stack), x / np.sqrt(gram), atol=1e-5)
    np.testing.assert_allclose(linalg.AOL().apply(stack.mT), (x / np.sqrt(gram)).swapaxes(-1, -2), atol=1e-5)
    with pytest.raises(ValueError, match="AOL: normalize scales rows .* use Frobenius"):
        linalg.AOL().scalar(jnp.ones(3))
    assert not linalg.NewtonSchulz(linalg.AOL_2025).commutes_with_transpose
    assert linalg.NewtonSchulz(linalg.AOL_2025, linalg.Frobenius()).commutes_with_transpose


@every
@pytest.mark.parametrize("arithmetic", [linalg.FLOAT32, linalg.BFLOAT16], ids=["f32", "bf16"])
def test_prepare_gives_the_gram_matrix_of_what_it_gives(normalize, arithmetic, stack):
    y, gram = normalize.prepare(stack, arithmetic)
    if gram is None:
        assert type(normalize) is linalg.Frobenius
        return
    np.testing.assert_allclose(gram, y @ y.mT, atol=1e-6 if arithmetic == linalg.FLOAT32 else 3e-3)


@every
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_tiny_and_huge_matrices(normalize, scale, stack):
    np.testing.assert_allclose(normalize.apply(stack * scale), normalize.apply(stack), atol=1e-6)


@every
def test_zero_and_nan(normalize):
    x = jnp.ones((3, 2, 3)).at[0].set(0).at[1, 0, 0].set(jnp.nan)
    y = normalize.apply(x)
    assert (y[0] == 0).all()
    assert jnp.isnan(y[1]).any()
    assert jnp.isfinite(y[2]).all()


@every
def test_complex(normalize):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 6)) + 1j * rng.normal(size=(4, 6)), jnp.complex64)
    y = normalize.apply(x)
    assert y.dtype == jnp.complex64
    assert np.linalg.svd(y, compute_uv=False)[0] <= 1 + 1e-6


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: linalg.PowerIteration(steps=0), "steps must be >= 1, not 0"),
        (lambda: linalg.PowerIteration(margin=0.9), "margin must be .* not 0.9"),
        (lambda: linalg.PowerIteration(margin=float("nan")), "margin must be .* not nan"),
    ],
)
def test_bad_options(make, match):
    with pytest.raises(ValueError, match=match):
        make()
