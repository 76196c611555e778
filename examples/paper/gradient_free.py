"""Steps from values of the loss alone: MeZO, ZO-Muon, AdaNAGED; and the parameter-free sign.

MeZO on quadratics of growing dimension, with four curved directions or with all, and the memory of its estimate beside
that of a backward pass. A matrix is fitted to a target of rank 3 from a budget of losses. Lengths of steps that follow
from the run, beside every constant of a grid. Float64, exact polar factors.

    python examples/paper/gradient_free.py
"""

import pathlib
import sys
from collections.abc import Callable
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

SVD = om.linalg.SVDPolar()
LEAVES = {"w": om.Leaf("hidden", reduction=0, output=1)}
GRID = {False: np.geomspace(0.03, 3, 7), True: np.geomspace(0.003, 0.3, 7)}  # relative rates: of SGD, of ZO-Muon
SIGN_RATES = np.geomspace(1e-5, 1e3, 33)
QUERIES = 8


def dimension(d: int, flat: float, seeds: int) -> float:
    """Count MeZO's steps to a hundredth of the first loss; four curvatures are 1 and the others ``flat``."""
    curvature = jnp.where(jnp.arange(d) < 4, 1.0, flat)
    first = {"w": (jnp.arange(d) < 4).astype(float)}
    rate = 1 / (jnp.sum(curvature) + 2)  # the best for one probe

    def value(params):
        return 0.5 * jnp.sum(curvature * params["w"] ** 2)

    def run(key):
        def step(carry):
            params, t = carry
            grads = om.zeroth_order.gradient(value, params, jax.random.fold_in(key, t))
            return jax.tree.map(lambda w, g: w - rate * g, params, grads), t + 1

        return jax.lax.while_loop(lambda carry: value(carry[0]) > 0.01 * value(first), step, (first, 0))[1]

    return float(jnp.mean(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), seeds))))


def memory(depth: int, width: int = 64, batch: int = 4096) -> dict[str, float]:
    """Read the temporary bytes of a gradient and of its estimate off the compiled programs, in units of the weights."""
    params = {f"w{i}": jax.ShapeDtypeStruct((width, width), jnp.float32) for i in range(depth)}
    x = jax.ShapeDtypeStruct((batch, width), jnp.float32)

    def value(params, x):
        for name in params:
            x = jnp.tanh(x @ params[name])
        return jnp.mean(x**2)

    def estimate(params, x):
        return om.zeroth_order.gradient(lambda p: value(p, x), params, jax.random.key(0))

    made = {"backward pass": jax.grad(value), "estimate": estimate, "loss alone": value}
    found = {}
    for name, f in made.items():
        analysis = jax.jit(f).lower(params, x).compile().memory_analysis()
        assert analysis is not None
        found[name] = analysis.temp_size_in_bytes / (4 * depth * width**2)
    return found


class Fit:
    """A matrix that starts at zero and is to reach a target of rank 3, the curvatures of each side over a range."""

    def __init__(self, shape: tuple[int, int], condition: float, seed: int):
        rng = np.random.default_rng(seed)
        self.target = jnp.asarray(rng.normal(size=(shape[0], 3)) @ rng.normal(size=(3, shape[1])))
        left, right = (np.geomspace(1, 1 / condition, n) for n in shape)
        self.curvature = jnp.asarray(left[:, None] * right)
        self.size = float(jnp.linalg.norm(self.target))

    def value(self, params: Any) -> Array:
        """Give the loss, 1 at the start."""
        return jnp.sum(self.curvature * (params["w"] - self.target) ** 2) / jnp.sum(self.curvature * self.target**2)

    def ends(self, make: Callable, estimate: Callable, steps: int, rates: Any) -> np.ndarray:
        """Give the final losses, the mean over three keys."""

        def run(rate, key):
            tx = make(optax.linear_schedule(rate, 0.0, steps))
            first = {"w": jnp.zeros(self.target.shape)}

            def step(carry, t):
                params, state = carry
                updates, state = tx.update(estimate(self.value, params, key, t), state, params)
                return (jax.tree.map(jnp.add, params, updates), state), None

            (params, _), _ = jax.lax.scan(step, (first, tx.init(first)), jnp.arange(steps))
            return self.value(params)

        keys = jax.random.split(jax.random.key(1), 3)
        every = jax.jit(lambda rates: jax.lax.map(lambda r: jnp.mean(jax.vmap(lambda k: run(r, k))(keys)), rates))
        return np.asarray(every(jnp.asarray(rates)))

    def noise(self, estimate: Callable) -> dict[str, float]:
        """Measure an estimate's squared error, relative to the gradient's square, and its cosine with the gradient."""
        start_at = {"w": jnp.zeros(self.target.shape)}
        true = jax.grad(self.value)(start_at)["w"]
        g = jax.jit(jax.vmap(lambda key: estimate(self.value, start_at, key, 0)["w"]))(
            jax.random.split(jax.random.key(2), 200)
        )
        cosine = jnp.sum(g * true, (1, 2)) / jnp.linalg.norm(g, axis=(1, 2)) / jnp.linalg.norm(true)
        error = jnp.sum((g - true) ** 2, (1, 2)) / jnp.sum(true**2)
        return {"squared error": float(jnp.mean(error)), "cosine": float(jnp.mean(cosine))}


def probe(queries: int, rank: int | None = None, period: int = 20) -> Callable:
    """Give an estimator, ``estimate(value, params, key, t)``; no queries is the gradient itself."""

    def estimate(value, params, key, t):
        if not queries:
            return jax.grad(value)(params)
        subspace = None
        if rank is not None:
            subspace = om.zeroth_order.Subspace(rank, jax.random.fold_in(key, 10_000_000 + t // period))
        how: dict[str, Any] = {"central": queries == 1, "radius": 1e-4, "subspace": subspace, "leaves": LEAVES}
        return om.zeroth_order.gradient(value, params, jax.random.fold_in(key, t), queries=queries, **how)

    return estimate


def matrix(condition: float, losses: int, seed: int) -> dict[str, dict[str, Any]]:
    """Fit from so many losses, by all rates; with the errors of the estimates."""
    problem = Fit((20, 16), condition, seed)
    ways: dict[str, tuple[int, int | None]] = {
        "MeZO": (1, None),
        f"SGD, {QUERIES} probes": (QUERIES, None),
        "ZO-Muon, all directions": (QUERIES, None),
        "ZO-Muon, subspace of 8": (QUERIES, 8),
        "ZO-Muon, subspace of 4": (QUERIES, 4),
    }
    found: dict[str, dict[str, Any]] = {}
    common = {"orthogonalizer": SVD, "leaves": LEAVES}
    curved = float(jnp.sum(problem.curvature * problem.target**2))
    for name, (queries, rank) in ways.items():
        muon = name.startswith("ZO-Muon")
        # In units of the length of the target, or of the step that the sum of all curvatures allows.
        unit = problem.size if muon else curved / 2 * queries / float(jnp.sum(problem.curvature))
        make = (lambda rate: om.zo_muon(rate, **common)) if muon else optax.sgd
        estimate = probe(queries, rank)
        ends = problem.ends(make, estimate, losses // (2 if queries == 1 else queries + 1), unit * GRID[muon])
        found[name] = {"losses by rate": ends.tolist(), "best": float(np.nanmin(ends)), **problem.noise(estimate)}
    free = lambda rate: om.adanaged(first_step=1e-3 * problem.size, **common)  # noqa: E731
    for queries in (QUERIES, 64, 0):
        steps = losses // (queries + 1 if queries else QUERIES + 1)
        end = problem.ends(free, probe(queries), steps, [1.0])
        found[f"AdaNAGED, {queries} probes" if queries else "AdaNAGED, exact gradients"] = {"best": float(end[0])}
    return found


def signs(steps: int, seed: int) -> dict[str, dict[str, Any]]:
    """Sign steps on a quadratic in three units of length: all constant rates, and the parameter-free length."""
    rng = np.random.default_rng(seed)
    curvature, far = jnp.asarray(np.geomspace(0.1, 1, 48).reshape(8, 6)), jnp.asarray(rng.normal(size=(8, 6)))
    found: dict[str, dict[str, Any]] = {}
    for unit in (0.01, 1.0, 100.0):

        def run(tx, unit=unit):
            params = {"w": jnp.zeros((8, 6))}

            def step(carry, _):
                params, state = carry
                updates, state = tx.update({"w": curvature * (params["w"] - unit * far)}, state, params)
                return (jax.tree.map(jnp.add, params, updates), state), None

            (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), None, steps)
            return jnp.sum(curvature * (params["w"] / unit - far) ** 2) / jnp.sum(curvature * far**2)

        constant = jax.jit(jax.vmap(lambda r, run=run: run(optax.chain(optax.scale_by_sign(), optax.scale(-r)))))
        free = optax.chain(om.transforms.parameter_free(om.norms.Max(), 1e-3, leaves=LEAVES), optax.scale(-1.0))
        ends = np.asarray(constant(jnp.asarray(SIGN_RATES)))
        found[f"{unit:g}"] = {
            "best constant rate": float(SIGN_RATES[np.argmin(ends)]),
            "loss at it": float(ends.min()),
            "parameter-free": float(jax.jit(lambda run=run, free=free: run(free))()),
            "losses": ends.tolist(),
        }
    kept = int(np.argmin(found["1"]["losses"]))
    for row in found.values():
        row["loss at the best rate of unit 1"] = row["losses"][kept]
    return found


def draw(found: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(14, 7.5), layout="constrained")
    a, b, last, *panels = figure.subplots(2, 3).ravel()
    panels.pop().set_axis_off()
    for name, steps in found["dimension"].items():
        a.loglog(list(steps), list(steps.values()), "o-", label=name)
    a.set(title="MeZO on a quadratic", xlabel="dimension", ylabel="steps to a hundredth of the loss")
    for name in found["memory"][2]:
        b.loglog(list(found["memory"]), [row[name] for row in found["memory"].values()], "o-", label=name)
    b.set(title="temporary memory of an MLP", xlabel="layers", ylabel="in units of the weights")
    for ax, (condition, rows) in zip(panels, found["matrix"].items(), strict=False):
        for name, row in rows.items():
            if "losses by rate" in row:
                ax.loglog(GRID[name.startswith("ZO-Muon")], row["losses by rate"], "o-", markersize=3, label=name)
        ax.axhline(rows[f"AdaNAGED, {QUERIES} probes"]["best"], color="k", linestyle=":", label="AdaNAGED")
        ax.set(title=f"rank 3, condition {condition:g}", xlabel="rate, relative", ylabel="final loss", ylim=(None, 3))
    for i, (unit, row) in enumerate(found["signs"].items()):
        last.loglog(SIGN_RATES, row["losses"], f"C{i}-", label=f"unit {unit}, constant rate")
        last.axhline(row["parameter-free"], color=f"C{i}", linestyle=":")
    last.set(title="sign steps; dotted: parameter-free", xlabel="rate", ylabel="final loss, relative", ylim=(None, 10))
    for ax in (a, b, *panels, last):
        ax.legend(fontsize=8)
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    quick, seed = experiment.quick, experiment.seed
    found: dict[str, Any] = {"memory": {depth: memory(depth) for depth in ((2,) if quick else (2, 4, 8, 16))}}
    sizes = (8,) if quick else (32, 128, 512)
    kinds = {"four curved directions": lambda d: 0.0, "the others 1 / d": lambda d: 1 / d, "all alike": lambda d: 1.0}
    with jax.enable_x64(True):
        found["dimension"] = {n: {d: dimension(d, flat(d), 8) for d in sizes} for n, flat in kinds.items()}
        found["matrix"] = {c: matrix(c, 180 if quick else 2700, seed) for c in ((1.0,) if quick else (1.0, 30.0))}
        found["signs"] = signs(20 if quick else 1000, seed)
    figure = draw(found)
    for row in found["signs"].values():
        del row["losses"]
    experiment.save(
        figure,
        {
            "MeZO: steps to a hundredth of the loss, by dimension": found["dimension"],
            "temporary bytes over those of the weights, by layers": found["memory"],
            "target of rank 3, 20 x 16, by condition of each side": found["matrix"],
            "sign steps, by unit of length": found["signs"],
        },
    )


if __name__ == "__main__":
    main()
