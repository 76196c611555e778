"""The oracle of a spectral ball cut by equations: strong duality, feasibility, closed forms, hostile input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg
from optax_muon.linalg import Constrained, Interference, Sphere, Stiefel

SVD = linalg.SVDPolar()


def orthonormal(seed, m, n):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(m, n)))[0]


# The constraint, the weights, and steps and rates that bring the dual to its minimum.
PROBLEMS = {
    "stiefel": (Stiefel(), orthonormal(0, 20, 5), {"steps": 60}),
    "stiefel-wide": (Stiefel(), orthonormal(0, 20, 5).T, {"steps": 60}),
    "sphere": (Sphere(None), np.random.default_rng(1).normal(size=(7, 5)), {"steps": 30}),
    "sphere-power": (Sphere(200), np.random.default_rng(1).normal(size=(5, 7)), {"steps": 30}),
    "interference": (
        Interference(orthonormal(2, 12, 3), orthonormal(3, 9, 2)),
        np.zeros((12, 9)),
        {"steps": 200, "rate": 0.5},
    ),
    "inputs": (Interference(orthonormal(2, 12, 3)), np.zeros((12, 5)), {"steps": 150, "rate": 1.0}),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_strong_duality_and_feasibility(name):
    constraint, weights, options = PROBLEMS[name]
    with jax.enable_x64(True):
        op = Constrained(constraint, SVD, **options)
        x = jnp.asarray(np.random.default_rng(5).normal(size=weights.shape))

        @jax.jit
        def solve(x, w):
            solved = op.solve(x, op.init(x.shape, x.dtype), w)
            equations = constraint.equations(w, op.init(x.shape, x.dtype))
            # Multipliers are in units of the root mean square singular value.
            size = jnp.linalg.norm(x) / min(x.shape) ** 0.5
            dual = jnp.linalg.norm(x + size * equations.adjoint(solved.multipliers), "nuc")
            pairing = equations.residual(x), equations.adjoint(solved.multipliers)
            return solved, dual, equations.residual(solved.direction), pairing

        solved, dual, residual, (lx, adjoint) = jax.tree.map(np.asarray, solve(x, jnp.asarray(weights)))
        x = np.asarray(x)
    assert np.abs(residual).max() < 1e-6
    np.testing.assert_allclose(np.vdot(x, solved.direction), dual, rtol=1e-6)
    assert np.linalg.norm(solved.direction, 2) < 1 + 1e-9
    np.testing.assert_allclose(np.vdot(lx, solved.multipliers), np.vdot(x, adjoint), rtol=1e-9)


def test_no_feasible_direction_goes_further():
    w = PROBLEMS["stiefel"][1]
    x = np.random.default_rng(5).normal(size=w.shape)
    with jax.enable_x64(True):
        op = Constrained(Stiefel(), SVD, steps=60)
        best = float(op.apply(jnp.asarray(x), {}, weights=jnp.asarray(w))[2].dual)
    for seed in range(200):
        d = x + 3 * np.random.default_rng(seed).normal(size=w.shape)
        d = d - w @ (w.T @ d + d.T @ w) / 2
        assert np.sum(x * d) / np.linalg.norm(d, 2) < best


def test_square_weights_and_protected_inputs_have_closed_forms():
    rng = np.random.default_rng(0)
    w, x = orthonormal(1, 6, 6), rng.normal(size=(6, 6))
    with jax.enable_x64(True):
        found = Constrained(Stiefel(), SVD, steps=1).apply(jnp.asarray(x), {}, weights=jnp.asarray(w))[0]
        skew = (w.T @ x - x.T @ w) / 2
        np.testing.assert_allclose(found, w @ np.asarray(SVD.apply(jnp.asarray(skew))), atol=1e-9)
        constraint, zeros, options = PROBLEMS["inputs"]
        v, x = constraint.inputs, rng.normal(size=zeros.shape)
        op = Constrained(constraint, SVD, **options)
        found = op.apply(jnp.asarray(x), op.init(x.shape, x.dtype))[0]
        np.testing.assert_allclose(found, SVD.apply(jnp.asarray(x - v @ (v.T @ x))), atol=1e-7)


def test_the_residual_of_the_sphere_grows_from_minus_one_to_one_and_a_jump_is_crossed():
    equations = Sphere(None).equations(jnp.asarray(PROBLEMS["sphere"][1], jnp.float32), {})
    x = jax.random.normal(jax.random.key(0), (7, 5))
    grid = jnp.linspace(-30.0, 30.0, 40)
    values = np.asarray([equations.residual(SVD.apply(x + equations.adjoint(a))) for a in grid])
    assert (np.diff(values) > -1e-5).all()
    np.testing.assert_allclose(values[[0, -1]], [-1, 1], atol=0.02)
    # The best direction has a singular value of zero here: the residual jumps from -1 to 1 at the root.
    found = Constrained(Sphere(None), SVD).apply(
        jnp.diag(jnp.array([2.0, 1.0])), {}, weights=jnp.diag(jnp.array([3.0, 0]))
    )
    np.testing.assert_allclose(found[0], jnp.diag(jnp.array([0.0, 1.0])), atol=1e-5)


@jax.disable_jit()
def test_a_warm_start_goes_on_where_the_last_call_stopped():
    constraint, weights, _ = PROBLEMS["interference"]
    x = jax.random.normal(jax.random.key(0), weights.shape)
    warm = Constrained(constraint, SVD, steps=3, rate=0.1, falling=False, warm_start=True)
    long = dataclasses.replace(warm, steps=6, warm_start=False)
    state = warm.init(x.shape, x.dtype)
    for _ in range(2):
        y, state, _ = warm.apply(x, state)
    np.testing.assert_allclose(y, long.apply(x, long.init(x.shape, x.dtype))[0], atol=1e-5)
    assert not warm.apply(jnp.zeros_like(x), state)[0].any()
    sphere = Constrained(Sphere(1), SVD, warm_start=True)
    w, state = jax.random.normal(jax.random.key(1), (5, 4)), sphere.init((5, 4), jnp.float32)
    for _ in range(60):
        state = state | sphere.constraint.equations(w, state).carried
    np.testing.assert_allclose(jnp.abs(state["right"]), jnp.abs(jnp.linalg.svd(w)[2][0]), atol=1e-3)


@pytest.mark.parametrize("name", ["stiefel", "sphere-power", "interference"])
def test_hostile_input(name):
    constraint, weights, _ = PROBLEMS[name]
    op = Constrained(constraint, SVD, steps=2)
    x = np.random.default_rng(5).normal(size=weights.shape).astype(np.float32)
    x = np.stack([x, 0 * x, x * 1e-30, x * 1e30, x, x[:, :1] * x[:1]])
    x[4, 0, 0] = np.nan
    more = {"weights": jnp.broadcast_to(jnp.asarray(weights, jnp.float32), x.shape)} if op.takes else {}

    @jax.jit
    def apply(x, more):
        return op.apply(x, op.init(x.shape, x.dtype), **more)[::2]

    y, info = apply(jnp.asarray(x), more)
    assert np.isfinite(np.delete(y, 4, 0)).all()
    assert np.isnan(y[4]).any()
    assert not y[1].any()
    for i in (2, 3):
        np.testing.assert_allclose(y[i], y[0], atol=1e-4)
    np.testing.assert_allclose(info.dual[3], info.dual[0] * 1e30, rtol=1e-4)
    narrow = apply(jnp.asarray(x[:1], jnp.bfloat16), {k: v[:1] for k, v in more.items()})[0]
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow[0].astype(jnp.float32), y[0], atol=0.1)
    if constraint.needs_weights:
        for w in (jnp.zeros_like(more["weights"][:1]), 1e30 * more["weights"][:1], 1e-30 * more["weights"][:1]):
            if name == "sphere-power" or not w.any():
                assert jnp.isfinite(apply(jnp.asarray(x[:1]), {"weights": w})[0]).all()
    empty = jnp.zeros((0, 4))
    assert Constrained(Stiefel()).apply(empty, {}, weights=empty)[0].shape == (0, 4)


def test_what_does_not_fit_is_an_error_that_says_what_would():
    with pytest.raises(ValueError, match=r"inputs have shape \(3, 2\); matrices of shape \(4, 6\) need \(4, k\)"):
        Constrained(Interference(np.ones((3, 2)))).init((4, 6), jnp.float32)
    with pytest.raises(ValueError, match="power_steps"):
        Sphere(0)
    with pytest.raises(ValueError, match="steps"):
        Constrained(Stiefel(), steps=-1)
