"""Weights that stay where they are allowed to be."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.linalg import SpectralClip, SpectralDecay, SpectralNormalize
from optax_muon.transforms import project_weights

LEAVES = {"w": om.Leaf("hidden", 1, 2), "cut": om.Leaf("hidden", 0, 1, (4, 2))}
WEIGHTS = {"w": jax.random.normal(jax.random.key(0), (2, 3, 5)), "cut": jax.random.normal(jax.random.key(1), (3, 6))}
STEP = jax.tree.map(lambda w: 0.1 * w + 0.3, WEIGHTS)


def after(projection, **options):
    tx = project_weights(projection, leaves=LEAVES, **options)
    updates, _ = jax.jit(tx.update)(STEP, tx.init(WEIGHTS), WEIGHTS)
    new = optax.apply_updates(WEIGHTS, updates)
    return [np.asarray(x, np.float64) for x in (*new["w"], new["cut"][:, :4], new["cut"][:, 4:])]


def moved():
    return after(SpectralDecay(0.0))


@pytest.mark.parametrize(
    ("projection", "image"),
    [
        (SpectralClip(0.8), lambda s: np.minimum(s, 0.8)),
        (SpectralNormalize(0.8), lambda s: s / max(1, s[0] / 0.8)),
        (SpectralNormalize(100.0), lambda s: s),
        (SpectralDecay(0.1), lambda s: np.where(np.arange(len(s)) == 0, 0.9 * s, s)),
    ],
)
def test_the_weights_after_the_step_are_projected_one_by_one(projection, image):
    for before, new in zip(moved(), after(projection), strict=True):
        u, s, vh = np.linalg.svd(before, full_matrices=False)
        np.testing.assert_allclose(new, u * image(s) @ vh, atol=1e-5)


def test_the_cap_is_in_units_of_the_shape():
    for new in after(SpectralClip(0.5), shape_scale=om.shapes.Spectral()):
        cap = 0.5 * np.sqrt(new.shape[1] / new.shape[0])
        assert np.linalg.svd(new, compute_uv=False)[0] <= cap * (1 + 1e-5)


def test_a_projection_that_does_nothing_and_low_precision():
    weights = {name: np.asarray(w + STEP[name]) for name, w in WEIGHTS.items()}
    expected = [*weights["w"], weights["cut"][:, :4], weights["cut"][:, 4:]]
    for got, want in zip(moved(), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    low = jax.tree.map(lambda w: w.astype(jnp.bfloat16), WEIGHTS)
    tx = project_weights(SpectralClip(0.8), leaves=LEAVES)
    updates, _ = tx.update(low, tx.init(low), low)
    assert updates["w"].dtype == jnp.bfloat16


def test_refusals():
    tx = project_weights(SpectralClip(1.0), leaves=LEAVES)
    with pytest.raises(ValueError, match="parameters"):
        tx.update(STEP, tx.init(WEIGHTS))
    for make in (lambda: SpectralNormalize(0.0), lambda: SpectralDecay(1.5)):
        with pytest.raises(ValueError, match="Spectral"):
            make()
