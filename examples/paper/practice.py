"""Claims of practice that show at the size of a toy: Newton-Muon, NAMO, Aurora.

Linear regression from inputs of a given condition number, minibatches of 128 without noise in the targets; a quadratic
with unit noise in every entry of the gradient and a constant rate; the spread of the squared row norms of a tall
Gaussian's balanced polar factor. Float64, exact polar factors.

    python examples/paper/practice.py
"""

import pathlib
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from matplotlib.figure import Figure
from paper.experiment import start

import optax_muon as om

CONDITIONS = (1.0, 100.0, 10_000.0)
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)  # of the quadratic
SVD = om.linalg.SVDPolar()
LEAVES = {"w": om.Leaf("hidden", reduction=0, output=1)}


def train(make: Callable[[Array], optax.GradientTransformation], gradient: Callable, loss: Callable, shape, steps):
    """Give the final loss as a function of the rate, from zero weights; ``gradient(w, key)`` -> gradient and extras."""

    def run(rate: Array) -> Array:
        tx = optax.with_extra_args_support(make(rate))
        params = {"w": jnp.zeros(shape)}

        def step(carry, key):
            params, state = carry
            grads, extra = gradient(params["w"], key)
            updates, state = tx.update({"w": grads}, state, params, **extra)
            return (jax.tree.map(jnp.add, params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(jax.random.key(0), steps))
        return loss(params["w"])

    return jax.jit(lambda rates: jax.lax.map(run, rates))


def newton_muon(condition: float, steps: int, seed: int) -> dict[str, float]:
    """Best final losses of a regression from 24 inputs of this condition number to 16 outputs."""
    rng = np.random.default_rng(seed)
    turn, target = np.linalg.qr(rng.normal(size=(24, 24)))[0], rng.normal(size=(24, 16))
    root = jnp.asarray(turn * np.geomspace(1, 1 / condition, 24) ** 0.5 @ turn.T)

    def loss(w):
        return 0.5 * jnp.sum((root @ (w - target)) ** 2)

    def gradient(w, key):
        x = jax.random.normal(key, (128, 24)) @ root
        return x.T @ (x @ (w - target)) / 128, {"input_moments": {"w": x.T @ x / 128}}

    rates, found = np.geomspace(0.03, 0.6, 8), {}
    for name, make in (("Muon", om.muon), ("Newton-Muon", om.newton_muon)):

        def built(rate, make=make):
            falling = optax.linear_schedule(rate, 0.0, steps)
            return make(falling, orthogonalizer=SVD, shape_scale=om.shapes.Constant(1.0), leaves=LEAVES)

        found[name] = float(np.nanmin(train(built, gradient, loss, (24, 16), steps)(jnp.asarray(rates))))
    return found


def namo(steps: int, seed: int) -> dict[str, list[float]]:
    """Final losses at every rate, on a quadratic of curvatures from 0.1 to 1."""
    target = jnp.asarray(np.random.default_rng(seed).normal(size=(10, 12)))
    curvature = jnp.geomspace(0.1, 1.0, 10)[:, None]
    loss = lambda w: 0.5 * jnp.sum(curvature * (w - target) ** 2)  # noqa: E731

    def gradient(w, key):
        return curvature * (w - target) + jax.random.normal(key, w.shape), {}

    found = {}
    for name, make in (("Muon", om.muon), ("NAMO", om.namo)):
        built = lambda rate, make=make: make(  # noqa: E731
            rate, orthogonalizer=SVD, shape_scale=om.shapes.Constant(1.0), leaves=LEAVES
        )
        found[name] = np.asarray(train(built, gradient, loss, (10, 12), steps)(jnp.asarray(RATES))).tolist()
    return found


def aurora(seed: int, iterations: tuple[int, ...] = (1, 2, 3, 5, 20)) -> dict[int, float]:
    """Coefficient of variation of the squared row norms of a balanced 12 x 7 Gaussian."""
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(12, 7)))
    found = {}
    for count in iterations:
        u, _, _ = om.linalg.Balanced(SVD, count).apply(x, ())
        squares = jnp.sum(u**2, axis=1)
        found[count] = float(jnp.std(squares) / jnp.mean(squares))
    return found


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    part = 20 if experiment.quick else 1
    with jax.enable_x64(True):
        regression = {condition: newton_muon(condition, 400 // part, experiment.seed) for condition in CONDITIONS}
        noise = namo(4000 // part, experiment.seed)
        spread = aurora(experiment.seed)
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name in ("Muon", "Newton-Muon"):
        left.loglog(CONDITIONS, [regression[c][name] for c in CONDITIONS], "o-", label=name)
    left.set(title="regression, rates tuned", xlabel="condition of the inputs", ylabel="final loss")
    for name, losses in noise.items():
        middle.loglog(RATES, losses, "o-", label=name)
    middle.set(title="quadratic in noise", xlabel="rate", ylabel="final loss")
    right.semilogy(list(spread), list(spread.values()), "o-", label="Aurora")
    right.set(title="12 x 7 Gaussian", xlabel="iterations", ylabel="spread of squared row norms")
    for ax in (left, middle, right):
        ax.legend()
    numbers = {
        "regression: best final loss by condition": regression,
        "regression: Muon / Newton-Muon": {c: found["Muon"] / found["Newton-Muon"] for c, found in regression.items()},
        "noise: final loss by rate": {name: dict(zip(RATES, x, strict=True)) for name, x in noise.items()},
        "Aurora: spread by iterations": spread,
    }
    experiment.save(figure, numbers)


if __name__ == "__main__":
    main()
