"""Bounds of arXiv 2505.23737 along runs on its quadratic, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.linalg import SVDPolar

SPECTRA = {
    "decaying": 10.0 ** (-np.arange(6) / 2),
    "one large": np.array([1e2, 1, 1, 1, 1, 1]),
    "flat": np.ones(6),
}
STEPS = 150


def problem(name):
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    return basis @ np.diag(SPECTRA[name]) @ basis.T, rng.uniform(-5, 5, (6, 8))


def algorithm_one(eta, beta=0.0):
    average = om.transforms.first_gradient_ema(beta)
    return optax.chain(average, om.transforms.apply_to_matrices(SVDPolar()), optax.scale_by_learning_rate(eta))


MAKE = {
    "constant": algorithm_one,
    "momentum": functools.partial(algorithm_one, beta=0.9),
    "adaptive": functools.partial(om.polargrad, orthogonalizer=SVDPolar(), momentum=0.0),
}


def run(name, kind, eta):
    """Run an optimizer and record gap, gradient norm, curvature of Muon's step and distance at every iterate."""
    with jax.enable_x64(True):
        return [np.asarray(x) for x in descend(*problem(name), eta, kind=kind)]


@functools.partial(jax.jit, static_argnames="kind")
def descend(q, target, eta, kind):
    tx, params = MAKE[kind](eta), {"w": jnp.zeros_like(target)}

    def loss(params):
        away = params["w"] - target
        return jnp.sum(away * (q @ away)) / 2

    def step(carry, _):
        params, state = carry
        grads = jax.grad(loss)(params)
        o = SVDPolar().apply(grads["w"])
        nuclear, curvature = jnp.sum(grads["w"] * o), jnp.sum(o * (q @ o))
        seen = loss(params), nuclear, curvature, jnp.linalg.norm(params["w"] - target, 2)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), seen

    return jax.lax.scan(step, (params, tx.init(params)), length=STEPS + 1)[1]


@pytest.mark.parametrize("name", SPECTRA)
def test_constant_step_corollary_4_4_and_theorem_4_8(name):
    q, target = problem(name)
    trace, gap = np.trace(q), np.sum(target * (q @ target)) / 2
    for kind, beta in (("constant", 0.0), ("momentum", 0.9)):
        eta = np.sqrt((1 - beta) * gap / (STEPS * trace))
        _, nuclear, curvature, _ = run(name, kind, eta)
        mean = nuclear[:STEPS].mean()
        assert mean <= gap / (STEPS * eta) + trace * eta / 2 + 2 * beta * eta * trace / (1 - beta)
        assert np.all(curvature <= trace * (1 + 1e-9))  # J_t <= L_*
        if beta == 0:  # the third derivative vanishes, so theorem 4.8 has two terms
            bound = gap / (STEPS * eta) + eta * curvature[:STEPS].mean() / 2
            assert mean <= bound * (1 + 1e-9)
            assert bound <= (gap / (STEPS * eta) + trace * eta / 2) * (1 + 1e-9)


@pytest.mark.parametrize("name", SPECTRA)
def test_theorem_4_11_and_corollary_c_1_bound_the_loss(name):
    q, target = problem(name)
    trace = np.trace(q)
    eta = 0.02 * np.linalg.norm(target, 2)
    gap, _, curvature, distance = run(name, "constant", eta)
    d, t = distance.max(), np.arange(STEPS + 1)
    constant = (1 - eta / d) ** t * gap[0] + trace * d * eta / 2
    assert np.all(gap <= constant)
    weights = (1 - eta / d) ** np.arange(STEPS - 1, -1, -1) * eta / d
    assert gap[-1] <= (1 - eta / d) ** STEPS * gap[0] + eta * d * (weights @ curvature[:STEPS]) / 2

    adaptive = run(name, "adaptive", 1 / trace)
    gap, d = adaptive[0], np.maximum.accumulate(adaptive[3])
    assert np.all(gap <= 2 * trace * gap[0] * d**2 / (2 * trace * d**2 + t * gap[0]) * (1 + 1e-9))
    assert adaptive[3].max() == pytest.approx(adaptive[3][0])  # the distance never exceeds the first


def test_adaptive_step_is_polargrad():
    q, target = problem("decaying")
    w, trace = np.zeros_like(target), np.trace(q)
    gaps = []
    for _ in range(STEPS + 1):
        grad = q @ (w - target)
        gaps.append(np.sum((w - target) * grad) / 2)
        u, s, vh = np.linalg.svd(grad, full_matrices=False)
        w = w - s.sum() / trace * (u @ vh)
    polar = run("decaying", "adaptive", 1 / trace)
    np.testing.assert_allclose(polar[0], gaps, rtol=1e-7)


@pytest.mark.parametrize("name", SPECTRA)
def test_lemma_4_6(name):
    q, _ = problem(name)
    rng = np.random.default_rng(0)
    trace, largest = np.trace(q), np.linalg.norm(q, 2)
    for _ in range(20):
        a = rng.normal(size=(6, 8)) * rng.exponential(size=8) ** 3
        weighted, dual = np.sqrt(np.sum(a * (q @ a))), np.sqrt(np.sum(a * np.linalg.solve(q, a)))
        assert np.linalg.norm(a, "nuc") <= np.sqrt(trace) * dual * (1 + 1e-12)
        assert weighted <= np.sqrt(trace) * np.linalg.norm(a, 2) * (1 + 1e-12)
        assert np.linalg.norm(a) <= np.sqrt(largest) * dual * (1 + 1e-12)
        assert np.linalg.norm(q @ a, "nuc") <= trace * np.linalg.norm(a, 2) * (1 + 1e-12)
    orthogonal = np.eye(6, 8)  # L_* = tr Q is attained
    assert np.linalg.norm(q @ orthogonal, "nuc") == pytest.approx(trace)
