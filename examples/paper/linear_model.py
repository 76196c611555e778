"""A linear model on digits, on word features and on Gaussian features: whose Hessian has low rank, and who wins.

The first version of the paper does not have this experiment and its second was not at hand: this is our reading. Least
squares ||X (W - W*)||_F^2 / 2N with a Gaussian target has the Hessian X^T X / N for each output, so the spectrum of the
data decides. Both methods have their step tuned, gradient descent up to its limit 2/L; Muon's decays linearly.

    python examples/paper/linear_model.py
"""

import collections
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import images
import jax
import jax.numpy as jnp
import numpy as np
from gpt.texts import shakespeare
from matplotlib.figure import Figure
from paper.experiment import start

import optax_muon as om

SIDE = 14  # digits are averaged over 2 x 2 pixels, so that every data set has 196 features
OUTPUTS = 32


def digits() -> np.ndarray:
    """Pixels of the digits at half the resolution."""
    pixels = images.mnist().train
    return pixels.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)).reshape(len(pixels), -1).astype(np.float64)


def words(count: int = 2000) -> np.ndarray:
    """Features of frequent words: log(1 + how often each of the 196 most frequent words follows within two places)."""
    tokens = re.findall(r"[a-z']+", shakespeare().lower())
    frequent = [word for word, _ in collections.Counter(tokens).most_common(count)]
    ids = {word: i for i, word in enumerate(frequent)}
    sequence = np.array([ids.get(token, -1) for token in tokens])
    table = np.zeros((count, SIDE * SIDE))
    for distance in (1, 2):
        word, context = sequence[:-distance], sequence[distance:]
        seen = (word >= 0) & (context >= 0) & (context < SIDE * SIDE)
        np.add.at(table, (word[seen], context[seen]), 1)
    return np.log1p(table)


def gaussian(rng: np.random.Generator, count: int = 4000) -> np.ndarray:
    """Independent features, whose spectrum is flat."""
    return rng.normal(size=(count, SIDE * SIDE))


def descend(hessian: jax.Array, target: jax.Array, rates: jax.Array, steps: int, muon: bool) -> dict[str, jax.Array]:
    """Gap at every step, of all rates at once; for Muon also both sides of the paper's condition."""
    polar = om.linalg.SVDPolar()

    def step(w, t):
        grad = hessian @ (w - target)
        gap = jnp.sum((w - target) * grad, axis=(1, 2)) / 2
        if not muon:
            return w - rates[:, None, None] * grad, {"gap": gap}
        o = polar.apply(grad)
        nuclear, squares = jnp.sum(grad * o, axis=(1, 2)), jnp.sum(grad**2, axis=(1, 2))
        seen = {"gap": gap, "curvature": jnp.sum(o * (hessian @ o), axis=(1, 2)), "rank": nuclear**2 / squares}
        return w - (rates * (1 - t / steps))[:, None, None] * o, seen

    return jax.lax.scan(step, jnp.zeros((len(rates), *target.shape)), jnp.arange(steps + 1))[1]


def compare(features: np.ndarray, rng: np.random.Generator, steps: int, grid: int) -> dict:
    """Tune both methods on one data set."""
    hessian = features.T @ features / len(features)
    values = np.linalg.eigvalsh(hessian)[::-1]
    target = rng.normal(size=(len(hessian), OUTPUTS))
    run = jax.jit(descend, static_argnames=("steps", "muon"))
    rates = {
        "GD": np.geomspace(0.5, 1.99, grid) / values[0],
        "Muon": np.geomspace(0.3, 30, grid) * np.linalg.norm(target, 2) / steps,
    }
    seen = {}
    for name, each in rates.items():
        result = run(jnp.asarray(hessian), jnp.asarray(target), jnp.asarray(each), steps, name == "Muon")
        result = {k: np.nan_to_num(np.asarray(x), nan=np.inf) for k, x in result.items()}
        best = int(np.argmin(result["gap"][-1]))
        seen[name] = {k: x[:, best] for k, x in result.items()} | {"rate": each[best], "edge": best in (0, grid - 1)}
    left = seen["Muon"]["curvature"] / values[0]
    trace = values[:OUTPUTS].sum()  # largest ||H A||_* of a 196 x 32 matrix with ||A||_op <= 1
    numbers = {
        "L": values[0],
        "L_*": trace,
        "stable rank of the Hessian": values.sum() / values[0],
        "D_F^2 L / (D_op^2 L_*)": np.sum(target**2) / np.linalg.norm(target, 2) ** 2 * values[0] / trace,
        "gap at the start": seen["GD"]["gap"][0],
        "final gap": {name: s["gap"][-1] for name, s in seen.items()},
        "GD / Muon": seen["GD"]["gap"][-1] / seen["Muon"]["gap"][-1],
        "rate": {name: s["rate"] for name, s in seen.items()},
        "rate at the edge of its grid": {name: s["edge"] for name, s in seen.items()},
        "condition holds, share of Muon's steps": np.mean(left <= seen["Muon"]["rank"]),
    }
    return {"values": values, "gaps": {name: s["gap"] for name, s in seen.items()}, "numbers": numbers}


def draw(results: dict[str, dict]) -> Figure:
    figure = Figure(figsize=(14, 4), layout="constrained")
    spectrum, *axes = figure.subplots(1, 1 + len(results))
    for (name, result), ax in zip(results.items(), axes, strict=True):
        spectrum.semilogy(np.maximum(result["values"] / result["values"][0], 1e-8), label=name)
        for method, gap in result["gaps"].items():
            ax.semilogy(np.maximum(gap / gap[0], 1e-16), label=method)
        ax.set(title=f"{name} features", xlabel="iteration", ylabel="gap / gap at the start")
        ax.legend()
    spectrum.set(title="eigenvalues of X^T X", xlabel="index", ylabel="over the largest")
    spectrum.legend()
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    rng = np.random.default_rng(experiment.seed)
    steps, grid = (5, 2) if experiment.quick else (300, 10)
    data = {"digit": digits(), "Gaussian": gaussian(rng)}
    if not experiment.quick:
        data["word"] = words()
    with jax.enable_x64(True):
        results = {name: compare(features, rng, steps, grid) for name, features in data.items()}
    experiment.save(draw(results), {name: result["numbers"] for name, result in results.items()})


if __name__ == "__main__":
    main()
