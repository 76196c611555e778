"""SignSGD against SGD (arXiv 2605.06615), and the lifting that makes Muon equal SignSGD.

Deterministic: f = 1/2 sum_i L_i x_i^2 in 5000 dimensions, L_1 = 1000, all others 1. Stochastic: f = ||x||^2 / 2 in 100
dimensions with noise N(0, 100^2) on the first coordinate alone. The paper's text gives no step sizes: constant steps
are tuned on a grid for the mean l1 norm of the gradient along the run.

    python examples/paper/signsgd.py
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from paper.experiment import start

import optax_muon as om


def run(curvature: jax.Array, noise: jax.Array, rates: jax.Array, key: jax.Array, steps: int, sign: bool) -> jax.Array:
    """l1 norm of the true gradient at every step, for all rates at once, from a Gaussian x."""

    def step(x, key):
        grad = curvature * x
        seen = grad + noise * jax.random.normal(key, curvature.shape)
        return x - rates[:, None] * (jnp.sign(seen) if sign else seen), jnp.sum(jnp.abs(grad), axis=1)

    first, key = jax.random.split(key)
    x = jnp.broadcast_to(jax.random.normal(first, curvature.shape), (len(rates), curvature.size))
    return jax.lax.scan(step, x, jax.random.split(key, steps))[1]


def compare(curvature: np.ndarray, noise: np.ndarray, steps: int, grid: int, seeds: int) -> dict:
    """Tune both methods; the curve is the mean over seeds at the best step."""
    compiled = jax.jit(jax.vmap(run, (None, None, None, 0, None, None)), static_argnums=(4, 5))
    ranges = {"SGD": np.geomspace(1e-5, 1, grid) * 2 / curvature.max(), "SignSGD": np.geomspace(1e-4, 1, grid)}
    result = {}
    for name, rates in ranges.items():
        keys = jax.random.split(jax.random.key(0), seeds)
        arrays = map(jnp.asarray, (curvature, noise, rates))
        curves = np.asarray(compiled(*arrays, keys, steps, name == "SignSGD")).mean(axis=0)
        means = np.nan_to_num(curves.mean(axis=0), nan=np.inf)
        best = int(np.argmin(means))
        result[name] = {
            "curve": curves[:, best],
            "mean": means[best],
            "rate": rates[best],
            "edge": best in (0, grid - 1),
        }
    return result


def lifting(rng: np.random.Generator, steps: int) -> float:
    """Largest difference between SignSGD on f and Muon on F(W) = f(diag(Q W P^T)), in the coordinates of f."""
    m, n = 4, 6
    q, p = np.linalg.qr(rng.normal(size=(m, m)))[0], np.linalg.qr(rng.normal(size=(n, m)))[0].T
    curvature = rng.exponential(size=m)

    def f(x):
        return jnp.sum(curvature * x**2) / 2 + jnp.sum(jnp.cos(x))

    def coordinates(w):
        return jnp.diag(q @ w @ p.T)

    muon = om.muon(0.1, momentum=0.0, orthogonalizer=om.linalg.SVDPolar(), shape_scale=om.shapes.Constant(1.0))
    sign = optax.sign_sgd(0.1)
    x = jnp.asarray(rng.normal(size=m))
    w = {"w": jnp.asarray(q.T @ np.diag(x) @ p)}
    states, worst = (muon.init(w), sign.init(x)), 0.0

    @jax.jit
    def step(w, x, states):
        updates, lifted = muon.update(jax.grad(lambda w: f(coordinates(w["w"])))(w), states[0], w)
        w = optax.apply_updates(w, updates)
        updates, flat = sign.update(jax.grad(f)(x), states[1], x)
        return w, optax.apply_updates(x, updates), (lifted, flat)

    for _ in range(steps):
        w, x, states = step(w, x, states)
        worst = max(worst, float(jnp.max(jnp.abs(coordinates(w["w"]) - x))))
    return worst


def draw(results: dict[str, dict]) -> Figure:
    figure = Figure(figsize=(12, 4), layout="constrained")
    for (name, result), ax in zip(results.items(), figure.subplots(1, 2), strict=True):
        for method, seen in result.items():
            ax.semilogy(seen["curve"], label=f"{method}, step {seen['rate']:.2g}: mean {seen['mean']:.3g}")
        ax.set(title=name, xlabel="iteration", ylabel="l1 norm of the gradient")
        ax.legend()
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    d, steps, grid, seeds = (50, 20, 3, 2) if experiment.quick else (5000, 500, 40, 10)
    steep = np.ones(d)
    steep[0] = 1000
    sparse = np.zeros(100)
    sparse[0] = 100
    with jax.enable_x64(True):
        results = {
            f"one curvature of 1000 among {d}": compare(steep, np.zeros(d), steps, grid, 1),
            "noise on one of 100 coordinates": compare(np.ones(100), sparse, steps, grid, seeds),
        }
        difference = lifting(np.random.default_rng(experiment.seed), 2 if experiment.quick else 20)
    numbers = {
        name: {
            "mean l1 norm": {method: seen["mean"] for method, seen in result.items()},
            "SGD / SignSGD": result["SGD"]["mean"] / result["SignSGD"]["mean"],
            "step": {method: seen["rate"] for method, seen in result.items()},
            "step at the edge of its grid": {method: seen["edge"] for method, seen in result.items()},
        }
        for name, result in results.items()
    }
    densities = {
        "sparse noise": om.diagnostics.density(jnp.asarray(sparse)),
        "Gaussian": om.diagnostics.density(jax.random.normal(jax.random.key(0), (d,))),
    }
    lifted = {"lifting: largest |diag(Q W P^T) - x| of Muon against SignSGD": difference}
    experiment.save(draw(results), {**numbers, **lifted, "density": densities})


if __name__ == "__main__":
    main()
