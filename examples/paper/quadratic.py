"""The quadratic of figure 3: f(W) = 1/2 tr((W - W*)^T Q (W - W*)), 15 x 20, on four spectra of Q.

Gradient descent at 1/L against Muon (exact polar factor, no momentum) with a constant, a linearly decaying and the
adaptive step ||G||_* / L_*. Q = I is the negative control: there Muon must lose. Steps are tuned on a grid.

    python examples/paper/quadratic.py --out runs/paper/quadratic
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from paper.experiment import start

import optax_muon as om

ROWS, COLUMNS = 15, 20
SPECTRA = {
    "10^(-i/2)": 10.0 ** (-np.arange(ROWS) / 2),
    "1000, then 1": np.array([1e3] + [1.0] * (ROWS - 1)),
    "1 to 1e-4": np.geomspace(1, 1e-4, ROWS),
    "identity": np.ones(ROWS),
}
METHODS = ("GD, 1/L", "Muon, constant", "Muon, decaying", "Muon, adaptive")


def draws(rng: np.random.Generator, eigenvalues: np.ndarray, count: int) -> np.ndarray:
    """Ratio D_F^2 L / (D_op^2 L_*) for random targets."""
    singular = np.linalg.svd(rng.uniform(-50, 50, (count, ROWS, COLUMNS)), compute_uv=False)
    distances = np.sum(singular**2, axis=1) / singular[:, 0] ** 2
    return distances * eigenvalues.max() / eigenvalues.sum()


def run(q: jax.Array, target: jax.Array, method: str, rates: jax.Array, steps: int) -> dict[str, jax.Array]:
    """Descend with all rates at once; record the gap and what the theorems speak of, arrays (steps + 1, rates)."""
    largest, trace, polar = jnp.linalg.eigvalsh(q)[-1], jnp.trace(q), om.linalg.SVDPolar()

    def step(w, t):
        grad = q @ (w - target)
        o = polar.apply(grad)
        nuclear = jnp.sum(grad * o, axis=(1, 2))
        seen = {
            "gap": jnp.sum((w - target) * grad, axis=(1, 2)) / 2,
            "distance": jnp.linalg.norm(w - target, 2, axis=(1, 2)),
            "curvature": jnp.sum(o * (q @ o), axis=(1, 2)),
            "nuclear_rank": nuclear**2 / jnp.sum(grad**2, axis=(1, 2)),
        }
        size = {
            "Muon, constant": rates,
            "Muon, decaying": rates * (1 - t / steps),
            "Muon, adaptive": rates * nuclear / trace,
        }
        if method == METHODS[0]:
            return w - rates[:, None, None] * grad / largest, seen
        return w - size[method][:, None, None] * o, seen

    w = jnp.zeros((len(rates), *target.shape))
    return jax.lax.scan(step, w, jnp.arange(steps + 1))[1]


def spectrum(rng: np.random.Generator, eigenvalues: np.ndarray, steps: int, seeds: int, count: int) -> dict:
    """All methods on one spectrum; the first seed's curves are kept."""
    compiled = jax.jit(run, static_argnames=("method", "steps"))
    grid = jnp.asarray(np.geomspace(0.02, 2, 16))  # 4000 steps of 0.06 go as far as the target is
    curves, gaps, checks = {}, {method: [] for method in METHODS}, []
    for seed in range(seeds):
        basis = np.linalg.qr(rng.normal(size=(ROWS, ROWS)))[0]
        q, target = jnp.asarray(basis * eigenvalues @ basis.T), jnp.asarray(rng.uniform(-50, 50, (ROWS, COLUMNS)))
        for method in METHODS:
            tuned = method in METHODS[1:3]
            seen = compiled(q, target, method, grid if tuned else jnp.ones(1), steps)
            seen = {k: np.asarray(x) for k, x in seen.items()}
            best = int(np.argmin(np.nan_to_num(seen["gap"][-1], nan=np.inf)))
            gaps[method].append(float(seen["gap"][-1, best]))
            if seed == 0:
                curves[method] = {k: x[:, best] for k, x in seen.items()}
            if method == METHODS[3]:
                checks.append(theorem({k: x[:, 0] for k, x in seen.items()}, eigenvalues))
    ratio = draws(rng, eigenvalues, count)
    return {
        "curves": curves,
        "ratio": ratio,
        "numbers": {
            "L": eigenvalues.max(),
            "L_*": eigenvalues.sum(),
            "ratio min, median, max": [ratio.min(), np.median(ratio), ratio.max()],
            "share of draws above 2": np.mean(ratio > 2),
            "gap at the start": curves[METHODS[0]]["gap"][0],
            "final gap, each seed": gaps,
            **{key: [check[key] for check in checks] for key in checks[0]},
        },
    }


def theorem(seen: dict[str, np.ndarray], eigenvalues: np.ndarray) -> dict[str, float]:
    """Check T4.11 for the adaptive step, and the condition and J_t <= L_* along its run."""
    gap, trace = seen["gap"], eigenvalues.sum()
    distance, t = np.maximum.accumulate(seen["distance"]), np.arange(len(gap))
    bound = 2 * trace * gap[0] * distance**2 / (2 * trace * distance**2 + t * gap[0])
    moving = gap > 1e-20 * gap[0]  # later gradients are rounding
    left = seen["curvature"] / eigenvalues.max()
    return {
        "T4.11: largest gap / bound": np.max(gap / bound),
        "condition: largest left / right": np.max((left / seen["nuclear_rank"])[moving]),
        "largest J_t / L_*": np.max(seen["curvature"] / trace),
        "largest distance / first": np.max(seen["distance"]) / seen["distance"][0],
    }


def draw(results: dict[str, dict]) -> Figure:
    figure = Figure(figsize=(14, 8.5), layout="constrained")
    axes = figure.subplots(3, len(results))
    for column, (name, result) in zip(axes.T, results.items(), strict=True):
        for method, seen in result["curves"].items():
            column[0].semilogy(np.maximum(seen["gap"], 1e-14), label=method)
            column[1].semilogy(seen["distance"], label=method)
        column[0].set(title=f"eigenvalues of Q: {name}", xlabel="iteration", ylabel="f(W) - f*")
        column[1].set(xlabel="iteration", ylabel="||W - W*||_op")
        column[2].hist(result["ratio"], bins=60)
        column[2].axvline(1, color="black", ls="--")
        column[2].set(xlabel="D_F^2 L / (D_op^2 L_*); Muon right of 1", ylabel="draws of W*", xlim=(0, None))
    axes[0, 0].legend()
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    steps, seeds, count = (40, 1, 200) if experiment.quick else (4000, 3, 10_000)
    spectra = dict(list(SPECTRA.items())[::3]) if experiment.quick else SPECTRA
    rng = np.random.default_rng(experiment.seed)
    with jax.enable_x64(True):
        results = {name: spectrum(rng, values, steps, seeds, count) for name, values in spectra.items()}
    experiment.save(draw(results), {name: result["numbers"] for name, result in results.items()})


if __name__ == "__main__":
    main()
