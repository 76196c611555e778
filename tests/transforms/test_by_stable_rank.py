"""Two transformations by the stable rank of each matrix, and LionMuon's trigger made of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.transforms import where_low_rank
from tests.references.polar import polar

LEAVES = {"w": om.Leaf("hidden", reduction=1, output=2)}


def spectra(rng, *rows):
    """Make matrices, 6 x 5, of given singular values."""
    turn = lambda n: np.linalg.qr(rng.normal(size=(n, n)))[0]  # noqa: E731
    return np.stack([turn(6)[:, :5] * np.array(s) @ turn(5) for s in rows])


def test_the_border_is_between_the_ranks():
    x = {"w": jnp.asarray(spectra(np.random.default_rng(0), [1, 0.4, 0.4, 0.4, 0.4], [1, 0.2, 0.2, 0.2, 0.2]))}
    for share, expected in ((0.36, [2, 2]), (0.28, [1, 2]), (0.21, [1, 1])):  # stable ranks 1.64 and 1.16 of 5
        tx = where_low_rank(share, optax.scale(2.0), optax.identity(), power_steps=20, leaves=LEAVES)
        updates, _ = jax.jit(tx.update)(x, tx.init(x))
        np.testing.assert_allclose(updates["w"], np.array(expected)[:, None, None] * x["w"], rtol=1e-6)


def lion_muon_by_rank(weights, gradients, share, rate, sign_rate, decay):
    """The authors' loop in NumPy, with exact stable ranks."""
    w, m, chosen = weights.copy(), np.zeros_like(weights), []
    for g in gradients:
        d, m = 0.9 * m + 0.1 * g, 0.99 * m + 0.01 * g
        for i, matrix in enumerate(d):
            s = np.linalg.svd(matrix, compute_uv=False)
            low = (s**2).sum() / s[0] ** 2 <= share * min(matrix.shape)
            chosen.append(low)
            eta = rate if low else sign_rate
            w[i] = (1 - eta * decay) * w[i] - eta * (polar(matrix) if low else np.sign(matrix))
    return w, chosen


def test_lion_muon_by_its_trigger():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(2, 6, 5))
    flat, steep = [1, 0.9, 0.9, 0.8, 0.8], [1, 0.05, 0.05, 0.02, 0.01]
    gradients = [spectra(rng, *rows) for rows in ((flat, steep), (flat, steep), (steep, flat))]
    expected, chosen = lion_muon_by_rank(weights, gradients, 0.5, 0.1, 0.02, 0.3)
    assert {True, False} == set(chosen)
    with jax.enable_x64(True):
        low = optax.chain(
            om.transforms.apply_to_matrices(om.linalg.SVDPolar(), leaves=LEAVES), optax.add_decayed_weights(0.3)
        )
        rest = optax.chain(optax.scale_by_sign(), optax.add_decayed_weights(0.3), optax.scale(0.2))
        tx = optax.chain(
            om.transforms.two_rate_ema(0.9, 0.99),
            where_low_rank(0.5, low, rest, leaves=LEAVES),
            optax.scale_by_learning_rate(0.1),
        )
        params = {"w": jnp.asarray(weights)}
        state, update = tx.init(params), jax.jit(tx.update)
        for g in gradients:
            updates, state = update({"w": jnp.asarray(g)}, state, params)
            params = {"w": params["w"] + updates["w"]}
        np.testing.assert_allclose(params["w"], expected, atol=1e-12)


def test_sizes_zeros_and_nan():
    x = jnp.stack([jnp.ones((6, 5)) * 1e-30, jnp.eye(6, 5) * 1e30, jnp.zeros((6, 5)), jnp.full((6, 5), jnp.nan)])
    tx = where_low_rank(0.5, optax.scale(2.0), optax.identity(), leaves=LEAVES)
    updates, _ = jax.jit(tx.update)({"w": x}, tx.init({"w": x}))
    np.testing.assert_array_equal(updates["w"], jnp.array([2.0, 1.0, 1.0, 1.0])[:, None, None] * x)


def test_refusals():
    for share in (0.0, -1.0):
        with pytest.raises(ValueError, match="share"):
            where_low_rank(share, optax.identity(), optax.identity())
    with pytest.raises(ValueError, match="power_steps"):
        where_low_rank(0.1, optax.identity(), optax.identity(), power_steps=0)
    with pytest.raises(ValueError, match="bias"):
        where_low_rank(0.1, optax.identity(), optax.identity()).init({"bias": jnp.zeros(3)})
