"""Nuclear rank against stable rank on random features (arXiv 2512.04299): when does a spectral step win?

f(W) = ||W A - Y||_F^2 / 2n with A = relu(V X) or swiglu features, Gaussian V and X, Y = W# A. Gradient descent steps
by n / ||A||_op^2, the spectral step by ||G||_* n / ||A||_F^2. The criterion says that the spectral step gains more in
one step where the gradient's nuclear rank is at least the stable rank of A; both decreases are measured at every point
of gradient descent's run. SpecGD is also restarted from points of that run.

    python examples/paper/random_features.py
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

FEATURES = 100


def features(rng: np.random.Generator, kind: str, inputs: int = 50, samples: int = 400) -> np.ndarray:
    """Draw A (features, samples)."""
    x = rng.normal(size=(inputs, samples))
    v, gate = rng.normal(size=(2, FEATURES, inputs)) / np.sqrt(inputs)
    if kind == "relu":
        return np.maximum(v @ x, 0)
    hidden = gate @ x
    return (v @ x) * hidden / (1 + np.exp(-hidden))


def losses(a: jax.Array, y: jax.Array):
    """Make the loss and the steps of both methods; the spectral one also gives the gradient's nuclear rank."""
    n, energy, top = a.shape[1], jnp.sum(a**2), jnp.linalg.norm(a, 2) ** 2
    polar = om.linalg.SVDPolar()

    def loss(w):
        return jnp.sum((w @ a - y) ** 2) / (2 * n)

    def descend(w):
        return w - n / top * jax.grad(loss)(w)

    def spectral(w):
        grad = jax.grad(loss)(w)
        o = polar.apply(grad)
        nuclear = jnp.sum(grad * o)
        return w - nuclear * n / energy * o, nuclear**2 / jnp.sum(grad**2)

    return loss, descend, spectral


def run(a: jax.Array, y: jax.Array, w: jax.Array, steps: int, method: str) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Run a method; give its points, and what was measured at each."""
    loss, descend, spectral = losses(a, y)

    def step(w, _):
        seen, (there, rank) = {"loss": loss(w)}, spectral(w)
        if method == "SpecGD":
            return there, (w, seen)
        down = descend(w)
        seen |= {"nuclear rank": rank, "gains": loss(w) - jnp.stack([loss(down), loss(there)])}
        return down, (w, seen)

    return jax.lax.scan(step, w, length=steps)[1]


def experiment_on(rng: np.random.Generator, kind: str, steps: int, restarts: int) -> dict:
    a = jnp.asarray(features(rng, kind))
    y = jnp.asarray(rng.normal(size=(FEATURES, FEATURES)) / 10) @ a
    compiled = jax.jit(run, static_argnames=("steps", "method"))
    points, gd = compiled(a, y, jnp.zeros((FEATURES, FEATURES)), steps, "GD")
    starts = np.linspace(0, steps, restarts, endpoint=False).astype(int)
    spectral = {int(at): np.asarray(compiled(a, y, points[at], steps, "SpecGD")[1]["loss"]) for at in starts}
    rank, input_rank = np.asarray(gd["nuclear rank"]), float(om.diagnostics.stable_rank(a))
    predicted, actual = rank >= input_rank, np.asarray(gd["gains"][:, 1] >= gd["gains"][:, 0])
    return {
        "gd": np.asarray(gd["loss"]),
        "spectral": spectral,
        "rank": rank,
        "input rank": input_rank,
        "numbers": {
            "stable rank of the inputs": input_rank,
            "nuclear rank at the start": rank[0],
            "nuclear rank, smallest and largest": [rank.min(), rank.max()],
            "criterion holds, share of GD's points": predicted.mean(),
            "spectral step gains more, share of GD's points": actual.mean(),
            "where the criterion holds the spectral step gains more": actual[predicted].mean()
            if predicted.any()
            else 0,
            "prediction is right, share": np.mean(predicted == actual),
            "loss after 10 steps": {"GD": gd["loss"][min(10, steps - 1)], "SpecGD": spectral[0][min(10, steps - 1)]},
            "final loss": {"GD": gd["loss"][-1], "SpecGD": spectral[0][-1]},
        },
    }


def draw(results: dict[str, dict]) -> Figure:
    figure = Figure(figsize=(6 * len(results), 7), layout="constrained")
    axes = figure.subplots(2, len(results), squeeze=False, sharex="col")
    for column, (kind, result) in zip(axes.T, results.items(), strict=True):
        steps = len(result["gd"])
        column[0].semilogy(result["gd"], color="black", label="GD")
        for at, values in result["spectral"].items():
            column[0].semilogy(
                np.arange(at, steps), values[: steps - at], color="tab:blue", alpha=1 if at == 0 else 0.4
            )
        column[0].plot([], [], color="tab:blue", label="SpecGD, also restarted from GD's points")
        column[0].set(title=f"{kind} features", ylabel="loss")
        column[0].legend()
        column[1].semilogy(result["rank"], label="nuclear rank of the gradient along GD")
        column[1].axhline(result["input rank"], color="tab:red", label="stable rank of the inputs")
        column[1].set(xlabel="iteration")
        column[1].legend()
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    rng = np.random.default_rng(experiment.seed)
    kinds = {"relu": 5} if experiment.quick else {"relu": 1000, "swiglu": 400}
    with jax.enable_x64(True):
        results = {kind: experiment_on(rng, kind, steps, 1 if experiment.quick else 3) for kind, steps in kinds.items()}
    experiment.save(draw(results), {kind: result["numbers"] for kind, result in results.items()})


if __name__ == "__main__":
    main()
