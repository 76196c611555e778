"""Claims about constrained steps that show at the size of a toy.

Five parts: what the dual of manifold Muon gains over one orthogonalisation; how far SSO leaves its sphere; what
Muon-OGD forgets; Local LMO beside Frank and Wolfe in a box; and the rates at which a softened step converges. Float64,
exact polar factors.

    python examples/paper/constraints.py
"""

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

SVD = om.linalg.SVDPolar()
LEAVES = {"w": om.Leaf("hidden", reduction=0, output=1)}
SHAPES = ((12, 6), (40, 10), (12, 12))
TAUS = np.linspace(0.05, 4.0, 80)  # rates in units of the bend over the curvature


def spectral(x: Array) -> Array:
    return jnp.linalg.norm(x, 2)


def dual(shape: tuple[int, int], draws: int, seed: int) -> dict[str, float]:
    """Mean decrease along tangent directions of spectral norm 1, as a share of the best one's."""

    def tangent(w: Array, x: Array) -> Array:
        return x - w @ (w.T @ x + x.T @ w) / 2

    @jax.jit
    def shares(w: Array, g: Array) -> dict[str, Array]:
        def oracle(steps: int) -> Array:
            return om.linalg.Constrained(om.linalg.Stiefel(), SVD, steps).apply(g, {}, weights=w)[0]

        directions = {"projection": g, "orth of it (SPEL)": oracle(0), "5 dual steps": oracle(5), "20": oracle(20)}
        best = jnp.sum(g * oracle(400))
        # What is not quite tangent is projected again, and all are brought to norm 1.
        found = {name: tangent(w, x) for name, x in directions.items()}
        return {name: jnp.sum(g * x) / spectral(x) / best for name, x in found.items()}

    rng = np.random.default_rng(seed)
    drawn = [
        shares(*map(jnp.asarray, (np.linalg.qr(rng.normal(size=shape))[0], rng.normal(size=shape))))
        for _ in range(draws)
    ]
    names = ("projection", "orth of it (SPEL)", "5 dual steps", "20")  # a jitted function gives them sorted
    return {name: float(np.mean([x[name] for x in drawn])) for name in names}


def drift(seed: int, rates: tuple[float, ...] = (0.1, 0.01, 0.001)) -> dict[str, dict[float, float]]:
    """How far one step leaves the sphere of spectral norm 1, before weights are brought back."""
    rng = np.random.default_rng(seed)
    w, m = jnp.asarray(rng.normal(size=(16, 10))), jnp.asarray(rng.normal(size=(16, 10)))
    w = w / spectral(w)
    found = {}
    for name, rounds in (("SSO", 40), ("MuonSphere", 0)):
        d = om.linalg.Constrained(om.linalg.Sphere(None), SVD, rounds).apply(m, {}, weights=w)[0]
        found[name] = {rate: float(abs(spectral(w - rate * d) - 1)) for rate in rates}
    return found


def norms(steps: int, seed: int) -> dict[str, list[float]]:
    """Spectral norm of a small network's first matrix along training, in units of its first."""
    rng = np.random.default_rng(seed)
    x, y = (jnp.asarray(rng.normal(size=(256, n))) for n in (16, 8))
    first = {"w": jnp.asarray(rng.normal(size=(16, 32)))}
    first = {"w": first["w"] * 2**0.5 / spectral(first["w"])}  # the sphere of radius 1 for 16 inputs and 32 outputs
    out = jnp.asarray(rng.normal(size=(32, 8))) / 32**0.5

    def path(tx: optax.GradientTransformation) -> list[float]:
        def step(carry, _):
            w, state = carry
            grads = jax.grad(lambda w: jnp.mean((jnp.tanh(x @ w["w"]) @ out - y) ** 2))(w)
            updates, state = tx.update(grads, state, w)
            w = jax.tree.map(jnp.add, w, updates)
            return (w, state), spectral(w["w"])

        run = jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), None, steps)[1])
        return (run(first) / spectral(first["w"])).tolist()

    same: dict[str, Any] = {"shape_scale": om.shapes.Spectral(), "leaves": LEAVES, "orthogonalizer": SVD}
    return {
        "Muon": path(om.muon(0.02, momentum=0.9, **same)),
        "SSO": path(om.sso(0.02, radius=1.0, power_steps=None, **same)),
    }


def continual(steps: int, seed: int) -> dict[str, tuple[float, float]]:
    """Loss on the old and on the new task of a linear layer, after training on the new one."""
    rng = np.random.default_rng(seed)
    v = np.linalg.qr(rng.normal(size=(16, 4)))[0]
    old, new = (jnp.asarray(rng.normal(size=(200, n)) @ basis) for n, basis in ((4, v.T), (16, np.eye(16))))
    start, goal = (jnp.asarray(0.5 * rng.normal(size=(16, 10))) for _ in range(2))

    def losses(tx: optax.GradientTransformation) -> tuple[float, float]:
        def step(carry, _):
            w, state = carry
            updates, state = tx.update({"w": new.T @ (new @ (w["w"] - goal)) / 200}, state, w)
            return (jax.tree.map(jnp.add, w, updates), state), None

        run = jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), None, steps)[0][0]["w"])
        w = run({"w": start})
        before, after = (float(jnp.sum((x @ (w - to)) ** 2) / 400) for x, to in ((old, start), (new, goal)))
        return before, after

    rate = optax.linear_schedule(0.03, 0.0, steps)  # too short a way to the new task's optimum
    inputs = {"w": om.linalg.Interference(v)}
    found = {"unprotected": losses(om.muon_ogd(rate, subspaces={}, orthogonalizer=SVD, leaves=LEAVES))}
    for count, dual_rate in ((1, 1e-4), (1, 0.01), (5, 0.05), (10, 0.1), (10, 1.0)):
        how: dict[str, Any] = {"dual_steps": count, "dual_rate": dual_rate, "orthogonalizer": SVD, "leaves": LEAVES}
        found[f"{count} x {dual_rate:g}"] = losses(om.muon_ogd(rate, subspaces=inputs, **how))
    outside = optax.stateless_with_tree_map(lambda g, _: g - v @ (v.T @ g))
    free = om.muon(rate, momentum=0.0, nesterov=False, shape_scale=om.shapes.Constant(1.0), orthogonalizer=SVD)
    found["closed form"] = losses(optax.chain(outside, free))
    return found


def box(steps: int, seed: int, size: float) -> dict[str, list[float]]:
    """Gaps to the best point of a box of a quadratic in 30 dimensions, of condition 20, by step."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    q, goal = jnp.asarray(turn * np.geomspace(1, 20, 30) @ turn.T), jnp.asarray(rng.normal(size=30))
    domain = om.norms.Box(-size, size)

    def value(w: Array) -> Array:
        return 0.5 * (w - goal) @ q @ (w - goal)

    def local(w: Array, count: int) -> tuple[Array, Array]:
        tx = om.local_lmo(2 / 21, domain=domain, proportional=True, leaves={"w": om.Leaf("vector")})
        state = tx.init({"w": w})

        def step(w, _):
            updates, _ = tx.update({"w": q @ (w - goal)}, state, {"w": w})
            return jax.tree.map(jnp.add, {"w": w}, updates)["w"], value(w)

        return jax.jit(lambda w: jax.lax.scan(step, w, None, count))(w)

    def frank_wolfe(w: Array) -> Array:
        def step(w, _):
            g = q @ (w - goal)
            way = -size * jnp.sign(g) - w
            share = jnp.clip(-(g @ way) / (way @ q @ way), 0, 1)  # the best on the way
            return w + share * way, value(w)

        return jax.jit(lambda w: jax.lax.scan(step, w, None, steps)[1])(w)

    zero = jnp.zeros(30)
    best = value(local(zero, 20 * steps)[0])
    paths = {"Frank and Wolfe": frank_wolfe(zero), "Local LMO": local(zero, steps)[1]}
    return {name: np.maximum(np.asarray(path - best), 1e-16).tolist() for name, path in paths.items()}


def phases(steps: int) -> dict[str, list[float]]:
    """Distances from the minimum of squares of curvature tau after many steps of rate 1, bend 1: the last two."""
    leaf, found = {"w": om.Leaf("hidden", reduction=1, output=2)}, {}
    curvature = jnp.asarray(TAUS)[:, None, None]
    for name, eps in (("softened", 1.0), ("Muon", 0.0)):
        tx = om.proximal_muon(1.0, radius=jnp.inf, eps=eps, momentum=0.0, leaves=leaf)

        def step(w, _, tx=tx):
            updates, _ = tx.update({"w": curvature * w}, tx.init({"w": w}), {"w": w})
            return jax.tree.map(jnp.add, {"w": w}, updates)["w"], None

        first = {"softened": 1.0, "Muon": 0.3}[name] + jnp.zeros_like(curvature)
        last = jax.jit(lambda w, step=step: jax.lax.scan(step, w, None, steps)[0])(first)
        found[name] = np.abs(np.asarray(curvature * last)[:, 0, 0]).tolist()  # u = a x / eps
    return found


def draw(found: dict) -> Figure:
    figure = Figure(figsize=(14, 7.5), layout="constrained")
    (a, b, c), (d, e, f) = figure.subplots(2, 3)
    for i, (shape, shares) in enumerate(found["dual"].items()):
        a.bar(np.arange(len(shares)) + 0.27 * (i - 1), list(shares.values()), 0.25, label=shape)
        a.set_xticks(range(len(shares)), list(shares), fontsize=8)
    a.set(title="manifold Muon", ylabel="decrease, share of the best", ylim=(0.6, 1.02))
    for name, table in found["drift"].items():
        b.loglog(list(table), list(table.values()), "o-", label=name)
    b.set(title="leaving the sphere in one step", xlabel="rate", ylabel="| norm - 1 |")
    for name, path in found["norms"].items():
        c.plot(path, label=name)
    c.set(title="spectral norm in training", xlabel="step", ylabel="in units of the first", yscale="log")
    for name, (old, new) in found["continual"].items():
        shown = max(old, 1e-3), new  # a closed form forgets nothing but rounding
        d.loglog(*shown, "o")
        below = name == "unprotected"  # another point is where it is
        d.annotate(name, shown, xytext=(5, -10 if below else 4), textcoords="offset points", fontsize=8)
    d.set(title="Muon-OGD: steps x rate of the dual", xlabel="loss on the old task", ylabel="loss on the new task")
    d.margins(0.25)
    for where, paths in found["box"].items():
        for name, path in paths.items():
            e.semilogy(path, "-" if name == "Local LMO" else "--", label=f"{name}, optimum {where}")
    e.set(title="30 dimensions in a box", xlabel="step", ylabel="gap")
    f.plot(TAUS, found["phases"]["softened"], label="softened")
    f.plot(TAUS, found["phases"]["Muon"], label="Muon")
    over = TAUS[TAUS > 2]
    f.plot(over, ((over / 2) ** 4 - 1) ** 0.25, "k:", label="two-cycle, theory")
    f.set(title="constant rate on a square", xlabel="rate x curvature / bend", ylabel="where it ends")
    for ax in (a, b, c, e, f):
        ax.legend(fontsize=8)
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    part, seed = 10 if experiment.quick else 1, experiment.seed
    with jax.enable_x64(True):
        found = {
            "dual": {f"{m} x {n}": dual((m, n), max(2, 20 // part), seed) for m, n in SHAPES},
            "drift": drift(seed),
            "norms": norms(300 // part, seed),
            "continual": continual(200 // part, seed),
            "box": {where: box(200 // part, seed, size) for where, size in (("inside", 4.0), ("on the boundary", 0.7))},
            "phases": phases(2000 // part),
        }
    figure = draw(found)
    ends = {name: (min(path), max(path)) for name, path in found["norms"].items()}
    numbers = {
        "manifold Muon: decrease, share of the best": found["dual"],
        "drift of one step": found["drift"],
        "spectral norm in training: smallest and largest": ends,
        "continual: loss on old and new task": found["continual"],
        "box: gap after all steps": {w: {n: p[-1] for n, p in paths.items()} for w, paths in found["box"].items()},
        "phases: rate -> end": {f"{tau:.2f}": x for tau, x in zip(TAUS, found["phases"]["softened"], strict=True)},
    }
    experiment.save(figure, numbers)


if __name__ == "__main__":
    main()
