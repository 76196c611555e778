"""Gradients of any size: finite in, right direction out, from 1e-30 to the end of the range, and after a spike."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon import linalg
from tests.contracts.collection import MAPS, NORMS, OPS
from tests.contracts.problem import CONFINED, TURNING, extra_args
from tests.contracts.test_what_is_given import CARDS, SAMPLE

pytestmark = pytest.mark.thinned(3)

# Powers of two, so that bfloat16 rounds every matrix alike: 8e-31 to 1e30, and the end of both ranges.
SCALES = (2.0**-100, 2.0**-40, 2.0**40, 2.0**100)
END = 2.0**128  # times entries between -0.99 and 0.99
DTYPES = {"float32": (jnp.float32, 2e-5), "bfloat16": (jnp.bfloat16, 0.03)}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
# What they are for is bounded: singular values under three caps.
BOUNDED = (linalg.PolynomialCap, linalg.SoftCap)
INEXACT = [op for op in MAPS if isinstance(op, linalg.SpectralClip) and op.orthogonalizer is not None]
# The largest direction alone is put at a size, whichever angle that leaves.
OF_THEIR_OWN_SIZE = (linalg.Gated, linalg.Hammer)
BEYOND = (linalg.OfSameNorm,)  # their image of the largest matrices is none of float32
ABSOLUTE = {
    "adam_mini": "Adam's eps",
    "adago": "a clip of the gradients' norms",
    "conda": "Adam's eps",
    "cosmos": "Adam's eps",
    "diloco": "the inner rule's, here SGD",
    "dp_muon": "singular values of one at most",
    "ef_muon": "steps as long as the gradient",
    "ef_muon_max": "steps as long as the gradient",
    "htmuon": "a power of the singular values",
    "loscar": "the inner rule's, here a momentum",
    "mimuon": "a gate by size",
    "muadam": "a step that depends on the gradient's size",
    "mucon": "a gate by size",
    "muon_max": "steps as long as the gradient",
    "muon_squared": "an eps beside squares of gradients",
    "muown": "Adam's eps",
    "namo": "an eps beside the gradients' norms",
    "optmuon": "steps as long as the gradient",
    "polar_adamw": "Adam's eps",
    "polargrad": "steps as long as the gradient",
    "proximal_muon": "an eps beside singular values",
    "soap": "Adam's eps",
    "spectra": "Adam's eps",
}
# Signs are taken along bases of null spaces, which rounding chooses: only the side of full rank is rotated.
OF_FULL_RANK = {"splus": {"max_side": 4, "other_scale": 0.1}}


def stack(dtype, scale=1.0, seed=0):
    x = np.random.default_rng(seed).uniform(-0.99, 0.99, (2, 4, 6))
    return jnp.asarray(np.asarray(jnp.asarray(x, dtype), np.float64) * scale, dtype)


def cosine(x, y):
    """Of the angle between two stacks, in double."""
    x, y = (np.asarray(a, np.float64).ravel() for a in (x, y))
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


@every_dtype
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_an_oracle_does_not_see_the_scale(norm, dtype):
    kind, tolerance = DTYPES[dtype]
    lmo = jax.jit(norm.lmo)
    wanted = np.asarray(lmo(stack(kind)), np.float64)
    for scale in (*SCALES, END):
        given = np.asarray(lmo(stack(kind, scale)), np.float64)
        np.testing.assert_allclose(given, wanted, atol=tolerance * np.abs(wanted).max(), err_msg=str(scale))


@every_dtype
@pytest.mark.parametrize(
    "op", [op for op in MAPS if not isinstance(op, BOUNDED) and op not in INEXACT], ids=lambda op: type(op).__name__
)
def test_a_map_goes_along_the_matrix_at_every_scale(op, dtype):
    apply, kind = jax.jit(op.apply), DTYPES[dtype][0]
    for scale in (*SCALES, *(() if isinstance(op, BEYOND) else (END,))):
        x = stack(kind, scale)
        y = apply(x)
        assert jnp.isfinite(y).all(), scale
        assert cosine(x, y) > (0.05 if isinstance(op, OF_THEIR_OWN_SIZE) else 0.4), scale


@every_dtype
@pytest.mark.parametrize("op", OPS, ids=lambda op: type(op).__name__)
@jax.disable_jit()
def test_an_operation_is_finite_at_every_scale(op, dtype):
    if type(op).__name__ == "_Turn":
        pytest.skip("its state is put together by another operation")
    kind = DTYPES[dtype][0]
    for scale in (1e-30, 1e30):
        x = stack(kind, scale)
        now = op.at(jnp.int32(0)) if isinstance(op, linalg.GradientOp) else op
        key = jax.random.split(jax.random.key(0), 2) if op.needs_key else None
        carry = op.init(x.shape, x.dtype)
        y, carry, _ = now.apply(x, carry, key=key, **{name: stack(kind, scale, seed=1) for name in op.takes})
        assert all(jnp.isfinite(a).all() for a in jax.tree.leaves((y, carry))), scale


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_a_nan_is_measured_even_where_a_maximum_drops_it(norm, monkeypatch):
    """As the maximum of some processors does."""
    exact = jnp.max

    def dropping(x, *args, **kwargs):
        return exact(jnp.where(jnp.isnan(x), -jnp.inf, x), *args, **kwargs)

    monkeypatch.setattr(jnp, "max", dropping)
    x = stack(jnp.float32).at[0, 1, 2].set(jnp.nan)
    for measure in (norm.value, norm.dual):
        found = measure(x)
        assert jnp.isnan(found[0])
        assert jnp.isfinite(found[1])


def test_a_length_is_exact_at_the_ends_of_the_range():
    for scale in (1e-36, END):
        x = stack(jnp.float32, scale)
        wanted = np.linalg.norm(np.asarray(x, np.float64)[0]) / scale
        for map_ in (linalg.Frobenius(), om.norms.Frobenius()):
            y = map_.apply(x) if isinstance(map_, linalg.Frobenius) else map_.lmo(x)
            np.testing.assert_allclose(np.asarray(x, np.float64)[0] / scale / wanted, y[0], atol=1e-5)


def rank_one(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(np.outer(rng.normal(size=5), rng.normal(size=7)), jnp.float32)


@pytest.mark.parametrize("op", [linalg.SoftSign(0.0), linalg.Ridge(float("inf"))], ids=["SoftSign", "Ridge"])
def test_a_rank_one_matrix_stays_one_where_nothing_bends(op):
    x = rank_one()
    np.testing.assert_allclose(op.apply(x), x / jnp.linalg.norm(x), atol=1e-5)


@pytest.mark.parametrize("op", [linalg.Freon(1.0), linalg.SpectralPower(-0.5)], ids=["Freon", "power"])
def test_what_rounding_puts_on_either_side_of_a_cut_makes_no_leap(op):
    """A singular value near rounding, whose image would be the largest of all."""
    images = []
    for least in (1.8e-6, 2.0e-6, 1e-4):
        images.append(np.asarray(op.scalar(jnp.asarray([1.0, 0.5, 0.1, least], jnp.float32))))
    np.testing.assert_allclose(images[0], images[1], rtol=0.01, atol=1e-3 * images[2].max())
    above = np.asarray(op.scalar(jnp.asarray([1.0, 0.5, 0.1, 1e-3], jnp.float32)), np.float64)
    exact = np.asarray([1.0, 0.5, 0.1, 1e-3]) ** (-1.0 if isinstance(op, linalg.Freon) else -0.5)
    np.testing.assert_allclose(above / above[0], exact / exact[0], rtol=1e-5)


def test_the_state_of_a_low_rank_storm_keeps_its_dtypes_on_complex_matrices():
    op, x = linalg.LowRankStorm(rank=2), stack(jnp.float32).astype(jnp.complex64) * (1 + 2j)
    carry = op.init(x.shape, x.dtype)
    keys = jax.random.split(jax.random.key(0), 2)
    y, after, _ = op.apply(x, carry, key=keys, gradient=x)
    assert jax.tree.map(lambda a: a.dtype, after) == jax.tree.map(lambda a: a.dtype, carry)
    kept = (after["left"] * after["values"][..., None, :]) @ after["right"]
    best = np.stack([(lambda u, s, v: (u[:, :2] * s[:2]) @ v[:2])(*np.linalg.svd(a, full_matrices=False)) for a in y])
    assert np.linalg.norm(kept - best) < 0.5 * np.linalg.norm(best)


sampled = pytest.mark.parametrize(
    "card", [pytest.param(*c.values, id=c.id, marks=() if c.id in SAMPLE else pytest.mark.slow) for c in CARDS]
)


def ready(card):
    """Make one card's update for one matrix, compiled, with its first state."""
    # No decay, but where weights of zero never move.
    params = {"up": {"kernel": stack(jnp.float32, seed=9)[0] * (card.name in TURNING)}}
    leaves = {"up": {"kernel": om.Leaf("hidden", 0, 1)}}
    tx = optax.with_extra_args_support(card.make(0.1, leaves=leaves, **card.defaults | OF_FULL_RANK.get(card.name, {})))

    @jax.jit
    def update(grads, state):
        return tx.update(grads, state, params, value=1.0, **extra_args(card, grads))

    return update, tx.init(params)


def gradient(scale, seed):
    """One direction with a little noise."""
    return {"up": {"kernel": scale * (stack(jnp.float32)[0] + 0.1 * stack(jnp.float32, seed=seed)[0])}}


def finite(tree):
    return all(jnp.isfinite(x).all() for x in jax.tree.leaves(tree))


@sampled
def test_every_scale_goes_downhill_and_most_cards_do_not_see_it(card):
    update, start = ready(card)
    taken = {}
    for scale in (1.0, *SCALES):
        state = start
        for seed in (1, 2, 3):
            updates, state = update(gradient(scale, seed), state)
        assert finite((updates, state)), scale
        taken[scale] = updates["up"]["kernel"]
        # A tangent of a manifold keeps a part of the gradient alone.
        least = 0.1 if card.name in CONFINED else 0.2
        assert cosine(gradient(1.0, 3)["up"]["kernel"], taken[scale]) < -least, scale
        if card.name not in ABSOLUTE:
            assert cosine(taken[1.0], taken[scale]) > 0.9, scale
            size = jnp.linalg.norm(taken[scale]) / jnp.linalg.norm(taken[1.0])
            assert 0.8 < size < 1.25, (scale, size)


@sampled
def test_a_spike_leaves_no_trace_that_is_not_finite(card):
    update, start = ready(card)
    for spike in (1e19, 1e30):
        state = start
        for scale in (1.0, spike, 1.0, 1.0):
            updates, state = update(gradient(scale, 1), state)
            assert finite((updates, state)), (spike, scale)
