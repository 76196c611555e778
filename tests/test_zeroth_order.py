"""Estimates of gradients: exact along a probe, right on average, in the subspace, and light."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon._estimates import _direction
from optax_muon.zeroth_order import Subspace, from_slopes, gradient, slopes
from tests.references.zeroth_order import estimate

KEY = jax.random.key(0)


def test_it_is_the_reference_s_estimate():
    """On a cubic, so that a difference is not its own limit."""
    with jax.enable_x64(True):
        w = np.random.default_rng(0).normal(size=(3, 4))
        params = {"up": {"kernel": jnp.asarray(w)}}
        for central in (True, False):
            got = gradient(
                lambda p: jnp.sum(p["up"]["kernel"] ** 3), params, KEY, radius=0.1, queries=3, central=central
            )
            probes = [np.asarray(_direction(params, KEY, j, None, None)["up"]["kernel"]) for j in range(3)]
            assert abs(np.corrcoef(probes[0].ravel(), probes[1].ravel())[0, 1]) < 0.9
            want = estimate(lambda x: np.sum(x**3), w, probes, 0.1, central)
            np.testing.assert_allclose(got["up"]["kernel"], want, atol=1e-12)


def test_on_a_linear_loss_it_is_unbiased_and_workers_may_share_slopes():
    with jax.enable_x64(True):
        g = np.random.default_rng(1).normal(size=(2, 3))
        params = {"up": {"kernel": jnp.zeros((2, 3))}}
        loss = lambda p: jnp.sum(g * p["up"]["kernel"])  # noqa: E731
        found = jax.jit(lambda key: slopes(loss, params, key, radius=3.0, queries=10_000))(KEY)
        z = np.asarray(_direction(params, KEY, 0, None, None)["up"]["kernel"])
        assert found[0] == pytest.approx(np.sum(g * z))
        mean = from_slopes(found, params, KEY)["up"]["kernel"]
        # An entry of <G, z> z has the variance |G|^2 + G_ij^2.
        deviation = np.sqrt((np.sum(g**2) + g**2) / 10_000)
        assert (np.abs(mean - g) < 4 * deviation).all()


def test_a_subspace_holds_the_estimate_and_its_polar_factor():
    params = {"up": {"kernel": jnp.zeros((5, 8)), "bias": jnp.zeros(4)}}
    g = jnp.asarray(np.random.default_rng(2).normal(size=(5, 8)), jnp.float32)
    loss = lambda p: jnp.sum(g * p["up"]["kernel"]) + jnp.sum(p["up"]["bias"])  # noqa: E731

    @jax.jit
    def make(key, of_basis):
        found = gradient(loss, params, key, queries=6, subspace=Subspace(2, of_basis))
        return found, om.linalg.SVDPolar().apply(found["up"]["kernel"])

    (a, step), (b, _), (c, _) = (make(jax.random.key(i), jax.random.key(j)) for i, j in ((0, 7), (1, 7), (1, 8)))
    bias = a["up"]["bias"]
    a, b, c = (x["up"]["kernel"] for x in (a, b, c))
    joined = (a, b), (a, b, step), (b, c)
    ranks = [np.linalg.matrix_rank(np.concatenate(some), tol=1e-3) for some in joined]
    assert ranks == [2, 2, 4]
    assert np.count_nonzero(bias) == 4


def test_no_estimate_is_kept_while_the_loss_runs():
    """Temporaries: a moved copy of the parameters and what drawing it takes, which more queries do not add to."""
    params = {f"layer{i}": {"kernel": jnp.ones((64, 64))} for i in range(4)}
    x = jnp.ones((1, 64))

    def loss(p):
        y = x
        for layer in p.values():
            y = jnp.tanh(y @ layer["kernel"])
        return jnp.sum(y)

    used = {}
    for q in (1, 8):
        compiled = jax.jit(lambda p, k, q=q: slopes(loss, p, k, queries=q)).lower(params, KEY).compile()
        used[q] = compiled.memory_analysis().temp_size_in_bytes
    size = 4 * 4 * 64 * 64
    assert used[8] < used[1] + size, (used, size)
    assert used[8] < 4 * size, (used, size)


def test_errors():
    with pytest.raises(ValueError, match="radius must be positive"):
        gradient(lambda p: p["w"][0], {"w": jnp.ones(2)}, KEY, radius=0.0)
    with pytest.raises(ValueError, match="queries must be a whole number"):
        gradient(lambda p: p["w"][0], {"w": jnp.ones(2)}, KEY, queries=0)
    with pytest.raises(TypeError, match="w: zeroth_order probes floating-point parameters, not int32"):
        gradient(lambda p: p["w"][0], {"w": jnp.ones(2, jnp.int32)}, KEY)
