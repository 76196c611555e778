"""Preconditioning by orthogonalisation (arXiv 2601.13474): iterations against the condition number, in two cases.

Factorisation: f(X) = |X X^T - M|_F^2 / 4 for M of rank 8 with condition number kappa, X 24 x 8 from a small random
start; until the error is below 1e-6 of M's smallest eigenvalue. In context: a linear transformer of one layer predicts
x_q^T Q (1/N) sum_i x_i y_i for y = w^T x, with w ~ N(0, I) and x ~ N(0, S), S of condition number kappa and N = 40; Q
starts at zero, until it is right within a thousandth in every direction. Simplified Muon is the polar factor of the
gradient, without momentum, with a geometrically falling rate; Adam's rate falls likewise, and gradient descent keeps
its own. For each the fewest iterations over a grid of first rates and of horizons.

And two factors of a product, |A B - M|_F^2 / 2, 24 x 8 and 8 x 20, from (A, B) and from (10 A, B / 10), which are one
point to Intrinsic Muon (2605.09238) and to Riemannion (2507.12142): until the error is below 1e-6 of M's smallest.

    python examples/paper/factorization.py
"""

import functools
import pathlib
import sys
from typing import Any

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
FACTORS = {name: om.Leaf("hidden", reduction=0, output=1) for name in ("lora_a", "lora_b")}
FIRST = np.array([0.03, 0.1, 0.3, 1.0])
WIDTH, LENGTH = 12, 40  # of the covariance, and points in a context
CASES = ("factorisation", "in context")
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


def in_context(covariance: Array, length: int) -> Array:
    """Give E[C^2] of the sample covariance C of so many normal points."""
    return (1 + 1 / length) * covariance @ covariance + jnp.trace(covariance) / length * covariance


@functools.partial(jax.jit, static_argnames=("case", "name", "horizon"))
def errors(matrix: Array, x: Array, unit: Array, *, case: str, name: str, horizon: int) -> Array:
    """Errors after every iteration, for all first rates in this unit; shape (rates, horizon).

    ``matrix`` is M, and the error the Frobenius norm of what X X^T lacks; or it is S, and the error that of Q in the
    direction that is worst, relative.
    """
    second = in_context(matrix, LENGTH)
    back = second @ jnp.linalg.inv(matrix)  # the inverse of the best Q

    def gradient(x):
        if case == "factorisation":
            gap = x @ x.T - matrix
            return gap @ x, jnp.linalg.norm(gap)
        return matrix @ x @ second - matrix @ matrix, jnp.linalg.norm(x @ back - jnp.eye(len(x)), 2)

    def run(rate):
        tx = optimizer(name, rate, horizon)
        params = {"x": x}

        def step(carry, _):
            params, state = carry
            grads, error = gradient(params["x"])
            updates, state = tx.update({"x": grads}, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), error

        return jax.lax.scan(step, (params, tx.init(params)), None, length=horizon)[1]

    return jax.vmap(run)(unit * jnp.asarray(FIRST))


def iterations(case: str, name: str, kappa: float, horizons: list[int], seed: int) -> tuple[float, np.ndarray]:
    """Fewest iterations to the tolerance, infinite beyond the horizons; and the errors of that run."""
    rng = np.random.default_rng(seed)
    unit = 1.0
    if case == "factorisation":
        basis = np.linalg.qr(rng.normal(size=SHAPE))[0]
        matrix = basis * np.geomspace(1, 1 / kappa, RANK) @ basis.T
        x, tolerance = START * np.linalg.qr(rng.normal(size=SHAPE))[0], 1e-6 / kappa
    else:
        basis = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
        matrix = basis * np.geomspace(1, 1 / kappa, WIDTH) @ basis.T
        x, tolerance = np.zeros((WIDTH, WIDTH)), 1e-3
        if name != METHODS[0]:  # a step of Muon or Adam has a length of its own, and the best Q is not of size 1
            unit = float(np.linalg.norm(matrix @ np.linalg.inv(in_context(jnp.asarray(matrix), LENGTH)), 2))
    best: tuple[float, np.ndarray] = (np.inf, np.array([np.nan]))
    for horizon in horizons:
        paths = errors(jnp.asarray(matrix), jnp.asarray(x), jnp.asarray(unit), case=case, name=name, horizon=horizon)
        for path in np.asarray(paths):
            below = np.flatnonzero(path <= tolerance)
            if below.size and below[0] < best[0]:
                best = (float(below[0]), path)
    return best


@functools.partial(jax.jit, static_argnames=("name", "horizon"))
def products(target: Array, size: Array, *, name: str, horizon: int) -> tuple[Array, Array]:
    """Errors and products after every iteration, for all first rates, from (c A, B / c) with c the size."""
    make: Any = {"Intrinsic Muon": om.intrinsic_muon, "Riemannion": om.riemannion, "Muon on the factors": om.muon}[name]
    options = {} if name == "Intrinsic Muon" else {"momentum": 0.0}
    keys = jax.random.split(jax.random.key(0))
    first = {"lora_a": 0.1 * size * jax.random.normal(keys[0], (24, RANK))}
    first["lora_b"] = 0.1 / size * jax.random.normal(keys[1], (RANK, 20))

    def run(rate):
        tx = make(
            lambda t: rate * LAST ** (t / horizon), orthogonalizer=om.linalg.SVDPolar(), leaves=FACTORS, **options
        )

        def step(carry, _):
            params, state = carry
            product = params["lora_a"] @ params["lora_b"]
            gap = product - target
            grads = {"lora_a": gap @ params["lora_b"].T, "lora_b": params["lora_a"].T @ gap}
            updates, state = tx.update(grads, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), (jnp.linalg.norm(gap), product)

        return jax.lax.scan(step, (first, tx.init(first)), None, length=horizon)[1]

    return jax.vmap(run)(jnp.asarray(FIRST))


def factors(kappas: list[float], horizons: list[int], seed: int) -> dict[str, dict[str, Any]]:
    """Fewest iterations from both starts by condition number, and how far apart one run's products were at most."""
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, Any]] = {}
    for name in ("Muon on the factors", "Intrinsic Muon", "Riemannion"):
        found[name] = {"(A, B)": [], "(10 A, B / 10)": [], "apart": 0.0}
        for kappa in kappas:
            left, right = (np.linalg.qr(rng.normal(size=(n, RANK)))[0] for n in (24, 20))
            target = jnp.asarray(left * np.geomspace(1, 1 / kappa, RANK) @ right.T)
            counts = {1.0: np.inf, 10.0: np.inf}
            for horizon in horizons:
                runs = [products(target, jnp.asarray(c), name=name, horizon=horizon) for c in counts]
                for c, (paths, _) in zip(counts, runs, strict=True):
                    ends = [np.flatnonzero(path <= 1e-6 / kappa) for path in np.asarray(paths)]
                    counts[c] = min([counts[c], *(float(below[0]) for below in ends if below.size)])
                apart = float(jnp.max(jnp.linalg.norm(runs[0][1] - runs[1][1], axis=(2, 3))))
                found[name]["apart"] = max(found[name]["apart"], apart)
            for start_at, count in zip(("(A, B)", "(10 A, B / 10)"), counts.values(), strict=True):
                found[name][start_at].append(count)
    return found


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    kappas = [1.0, 10.0] if experiment.quick else [1.0, 10.0, 100.0, 1000.0]
    falling = [100] if experiment.quick else [60, 100, 150, 250, 400, 700, 1500, 5000]
    long = [200] if experiment.quick else [40_000]
    found: dict[str, dict[str, list[float]]] = {case: {name: [] for name in METHODS} for case in CASES}
    figure = Figure(figsize=(14, 4), layout="constrained")
    left, *panels = figure.subplots(1, 3)
    with jax.enable_x64(True):
        products_found = factors(kappas[::2], falling if experiment.quick else [400], experiment.seed)
        for case in CASES:
            for kappa in kappas:
                for name in METHODS:
                    steps, path = iterations(
                        case, name, kappa, long if name == METHODS[0] else falling, experiment.seed
                    )
                    found[case][name].append(steps)
                    if case == CASES[0] and kappa == kappas[-2]:
                        left.loglog(np.arange(1, len(path) + 1), path, label=name)
    left.set(title=f"condition number {kappas[-2]:g}", xlabel="iteration", ylabel="|X X^T - M|_F", ylim=(1e-10, None))
    for ax, (case, rows) in zip(panels, found.items(), strict=True):
        for name, steps in rows.items():
            ax.loglog(kappas, steps, "o-", label=name)
        ax.set(title=f"iterations to the tolerance, {case}", xlabel="condition number", ylabel="iterations")
    for ax in (left, *panels):
        ax.legend(fontsize=8)
    first, second = found.values()
    experiment.save(
        figure,
        {
            "condition numbers": kappas,
            "iterations to 1e-6 of the smallest eigenvalue": first,
            "growth from the first to the last condition number": {n: s[-1] / s[0] for n, s in first.items()},
            "in context: iterations to a thousandth in every direction": second,
            f"two factors: iterations at condition {' and '.join(f'{k:g}' for k in kappas[::2])}": products_found,
        },
    )


if __name__ == "__main__":
    main()
