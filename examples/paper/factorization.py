"""Preconditioning by orthogonalisation (arXiv 2601.13474): iterations of a matrix factorisation against its condition.

f(X) = |X X^T - M|_F^2 / 4 for M of rank 8 with condition number kappa, X 24 x 8 from a small random start. Simplified
Muon is the polar factor of the gradient, without momentum, with a geometrically falling rate; Adam's rate falls
likewise, and gradient descent keeps its own. For each the fewest iterations, over a grid of first rates and of
horizons, after which the error is below 1e-6 of M's smallest eigenvalue.

    python examples/paper/factorization.py
"""

import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from matplotlib.figure import Figure
from paper.experiment import start

import optax_muon as om

SHAPE, RANK, START, LAST = (24, 8), 8, 1e-2, 1e-12
LEAVES = {"x": om.Leaf("hidden", reduction=0, output=1)}
FIRST = np.array([0.03, 0.1, 0.3, 1.0])
METHODS = ("gradient descent", "Adam", "simplified Muon")


def optimizer(name: str, rate, horizon: int) -> optax.GradientTransformation:
    """Build a method whose rate falls to a trillionth of the first, but for gradient descent."""
    if name == "gradient descent":
        return optax.sgd(rate)
    falling = lambda t: rate * LAST ** (t / horizon)  # noqa: E731
    if name == "Adam":
        return optax.adam(falling)
    return optax.chain(
        om.transforms.apply_to_matrices(om.linalg.SVDPolar(), leaves=LEAVES), optax.scale_by_learning_rate(falling)
    )


@functools.partial(jax.jit, static_argnames=("name", "horizon"))
def errors(target: Array, x: Array, *, name: str, horizon: int) -> Array:
    """Errors after every iteration, for all first rates; shape (rates, horizon)."""

    def run(rate):
        tx = optimizer(name, rate, horizon)
        params = {"x": x}

        def step(carry, _):
            params, state = carry
            gap = params["x"] @ params["x"].T - target
            updates, state = tx.update({"x": gap @ params["x"]}, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), jnp.linalg.norm(gap)

        return jax.lax.scan(step, (params, tx.init(params)), None, length=horizon)[1]

    return jax.vmap(run)(jnp.asarray(FIRST))


def iterations(name: str, kappa: float, horizons: list[int], seed: int) -> tuple[float, np.ndarray]:
    """Fewest iterations to the tolerance, infinite beyond the horizons; and the errors of that run."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=SHAPE))[0]
    target = basis * np.geomspace(1, 1 / kappa, RANK) @ basis.T
    x = START * np.linalg.qr(rng.normal(size=SHAPE))[0]
    best: tuple[float, np.ndarray] = (np.inf, np.array([np.nan]))
    for horizon in horizons:
        for path in np.asarray(errors(target, x, name=name, horizon=horizon)):
            below = np.flatnonzero(path <= 1e-6 / kappa)
            if below.size and below[0] < best[0]:
                best = (float(below[0]), path)
    return best


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    kappas = [1.0, 10.0] if experiment.quick else [1.0, 10.0, 100.0, 1000.0]
    falling = [100] if experiment.quick else [60, 100, 150, 250, 400, 700, 1500, 5000]
    long = [200] if experiment.quick else [40_000]
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    with jax.enable_x64(True):
        for kappa in kappas:
            for name in METHODS:
                steps, path = iterations(name, kappa, long if name == METHODS[0] else falling, experiment.seed)
                found[name].append(steps)
                if kappa == kappas[-2]:
                    left.loglog(np.arange(1, len(path) + 1), path, label=name)
    for name, steps in found.items():
        right.loglog(kappas, steps, "o-", label=name)
    left.set(title=f"condition number {kappas[-2]:g}", xlabel="iteration", ylabel="|X X^T - M|_F", ylim=(1e-10, None))
    right.set(title="iterations to the tolerance", xlabel="condition number of M", ylabel="iterations")
    for ax in (left, right):
        ax.legend(fontsize=8)
    experiment.save(
        figure,
        {
            "condition numbers": kappas,
            "iterations to 1e-6 of the smallest eigenvalue": found,
            "growth from the first to the last condition number": {n: s[-1] / s[0] for n, s in found.items()},
        },
    )


if __name__ == "__main__":
    main()
