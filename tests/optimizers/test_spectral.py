"""Optimizers that replace Muon's polar factor by another function of the singular values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness, spectral
from tests.references.spectra import spectra

FOUR = {name: harness.CASES[name] for name in ("square", "tall", "wide", "stacked")}
LEAVES = {name: case.leaf for name, case in FOUR.items()}
RATE = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}
SVD = om.linalg.SVDPolar()


def jordan(out, fan_in):
    return np.sqrt(max(1, out / fan_in))


def one(out, fan_in):
    return 1.0


RULES = {
    "htmuon": (
        functools.partial(om.htmuon, power=om.linalg.SpectralPower(0.25)),
        {"direction": spectral.by_svd(lambda s: s**0.25), "scale": jordan},
    ),
    "pion": (
        functools.partial(om.pion, promotions=2),
        {"direction": spectral.high_pass(2), "scale": lambda out, fan_in: 2 * np.sqrt(max(out, fan_in))},
    ),
    "freon": (functools.partial(om.freon, c=2 / 3), {"direction": spectral.freon(2 / 3), "scale": one, "heavy": True}),
    "kaon": (om.kaon, {"direction": spectral.kaon, "scale": one, "heavy": True}),
    "mucon": (
        functools.partial(om.mucon, maximum=0.5),
        {"direction": spectral.by_svd(lambda s: np.minimum(s, 0.5)), "scale": jordan},
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_reference_in_x64(name):
    make, options = RULES[name]
    with jax.enable_x64(True):
        # Kaon doubles every difference a step, rounding included.
        tolerance = 1e-9 if name == "kaon" else 1e-10
        expected = functools.partial(spectral.run, **options, **RATE)
        harness.assert_matches(make(leaves=LEAVES, **RATE), expected, cases=FOUR, tolerance=tolerance)


def test_spectra_reference_in_x64():
    options = {"learning_rate": 0.1, "maximum": 2.0, "scale": 0.5, "weight_decay": 0.05}
    with jax.enable_x64(True):
        harness.assert_matches(om.spectra(leaves=LEAVES, **options), functools.partial(spectra, **options), cases=FOUR)


def update(make, x, **options):
    params = {"w": x}
    tx = make(1.0, **options)
    return -jax.jit(tx.update)(params, tx.init(params), params)[0]["w"]


X = jax.random.normal(jax.random.key(0), (5, 8))


@pytest.mark.parametrize("power", [0.0, 0.125, 1.0])
def test_htmuon_is_homogeneous_of_its_power(power):
    make = functools.partial(update, om.htmuon, power=om.linalg.SpectralPower(power), weight_decay=0.0)
    np.testing.assert_allclose(make(100 * X), 100**power * make(X), rtol=1e-4, atol=1e-5)
    if power == 0:
        np.testing.assert_allclose(make(X), update(om.muon, X, orthogonalizer=SVD), atol=1e-5)


def test_htmuon_between_its_turns_is_muon():
    tx = om.htmuon(1.0, interval=2, orthogonalizer=SVD, nesterov=False, momentum=0.0, weight_decay=0.0)
    params = {"w": X}
    state, step, out = tx.init(params), jax.jit(tx.update), []
    for _ in range(3):
        updates, state = step(params, state, params)
        out.append(-updates["w"])
    polar = np.sqrt(8 / 5) * SVD.apply(X)
    np.testing.assert_allclose(out[0], polar, atol=1e-5)
    np.testing.assert_array_equal(out[0], out[2])
    assert jnp.abs(out[1] - polar).max() > 1e-2  # the authors count from one, and act where P divides


def test_pion_head_by_head():
    kernel = jax.random.normal(jax.random.key(0), (6, 2, 4)) * jnp.array([1.0, 100.0])[None, :, None]
    whole = {"leaves": {"w": om.Leaf("hidden", 0, (1, 2))}}
    heads = {"leaves": {"w": om.Leaf("hidden", 0, 2)}}
    options = {"promotions": 5, "weight_decay": 0.0, "shape_scale": om.shapes.Constant(1.0)}
    by_head = update(om.pion, kernel, **heads, **options)
    for i in range(2):
        np.testing.assert_allclose(by_head[:, i], update(om.pion, kernel[:, i], **options), atol=1e-5)
    # over the whole matrix the small head is filtered away
    together = update(om.pion, kernel, **whole, **options | {"promotions": 2})
    assert jnp.abs(together[:, 0]).max() < 1e-2 < jnp.abs(by_head[:, 0]).max()


@pytest.mark.parametrize(("promotions", "cutoff"), list(enumerate((0.8165, 0.5230, 0.2957, 0.1605, 0.0860))))
def test_pion_cut_offs(promotions, cutoff):
    keep = om.linalg.HighPass(promotions, steps=promotions + 40)
    for s, image in ((cutoff * 1.001, 1.0), (cutoff * 0.999, 0.0)):
        rest = np.sqrt((1 - s**2) / 400)  # far below the cut-off, to make up the norm
        spectrum = jnp.asarray([s, *[rest] * 400], jnp.float32)
        assert abs(float(keep.scalar(spectrum)[0]) - image) < 1e-3


def test_freon_at_its_marks():
    np.testing.assert_allclose(update(om.freon, X, c=0.5), SVD.apply(X), atol=1e-5)
    np.testing.assert_allclose(update(om.freon, X, c=0.0), np.sqrt(5) * X / jnp.linalg.norm(X), atol=1e-5)
    np.testing.assert_allclose(update(om.freon, 1e-20 * X, c=0.7), update(om.freon, X, c=0.7), atol=1e-4)


def test_kaon_stays_below_its_bound_and_keeps_the_vectors():
    y = update(om.kaon, X)
    assert jnp.linalg.svd(y, compute_uv=False).max() < 0.9988
    cross = jnp.linalg.svd(X, full_matrices=False)[0].T @ y @ jnp.linalg.svd(X, full_matrices=False)[2].T
    np.testing.assert_allclose(cross, jnp.diag(jnp.diagonal(cross)), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (6, 9)])
def test_kaon_does_not_move_what_has_rank_one(shape):
    m, n = (jax.random.normal(jax.random.key(i), (size,)) for i, size in enumerate(shape))
    assert jnp.linalg.norm(update(om.kaon, jnp.outer(m, n))) < 1e-3


def test_mucon_and_spectra_at_their_ends():
    options = {"nesterov": False, "momentum": 0.0, "shape_scale": om.shapes.Constant(1.0)}
    np.testing.assert_allclose(update(om.mucon, X, maximum=1e6, **options), X, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(update(om.mucon, 1e6 * X, **options), SVD.apply(X), atol=1e-4)
    base = {"base": optax.identity()}
    root = np.sqrt(8 / 5)  # of outputs over inputs
    np.testing.assert_allclose(update(om.spectra, X, maximum=1e6, **base), root * X, atol=1e-5)
    np.testing.assert_allclose(update(om.spectra, X.T, maximum=1e6, **base), X.T, atol=1e-5)
    np.testing.assert_allclose(update(om.spectra, 1e6 * X, maximum=2.0, **base), 2 * root * SVD.apply(X), atol=1e-4)
    assert jnp.linalg.svd(update(om.spectra, 50 * X, maximum=2.0), compute_uv=False).max() < 2 * root


def test_low_rank_muon_sketches_large_matrices_alone():
    options = {"rank": 3, "threshold": 6, "orthogonalizer": SVD, "weight_decay": 0.0}
    options |= {"momentum": 0.0, "nesterov": False, "shape_scale": om.shapes.Constant(1.0)}
    np.testing.assert_allclose(update(om.low_rank_muon, X, **options), SVD.apply(X), atol=1e-5)
    large = jax.random.normal(jax.random.key(1), (7, 9))
    y = update(om.low_rank_muon, large, **options)
    s = jnp.linalg.svd(y, compute_uv=False)
    np.testing.assert_allclose(s, [1, 1, 1, 0, 0, 0, 0], atol=1e-5)
    # it is the polar factor of what it sees: <M, O> = |P M|_*, P the projection onto the range of O
    projection = y @ y.T
    seen = jnp.linalg.svd(projection @ large, compute_uv=False).sum()
    np.testing.assert_allclose(jnp.sum(y * large), seen, rtol=1e-4)
    edge = jnp.linalg.svd(update(om.low_rank_muon, large[:6], **options), compute_uv=False)
    np.testing.assert_allclose(edge, [1, 1, 1, 0, 0, 0], atol=1e-5)  # from the threshold on, itself included
    low = large[:, :3] @ jax.random.normal(jax.random.key(2), (3, 9))
    np.testing.assert_allclose(update(om.low_rank_muon, low, **options), SVD.apply(low), atol=1e-3)


def test_refusals():
    with pytest.raises(ValueError, match="threshold"):
        om.low_rank_muon(0.02, rank=10, threshold=9)
    for make in (om.htmuon, om.pion, om.freon, om.kaon, om.mucon, om.low_rank_muon):
        with pytest.raises(ValueError, match="momentum"):
            make(0.02, momentum=1.0)
