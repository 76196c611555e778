"""Claims of practice that show at the size of a toy: Newton-Muon, NAMO, Aurora, cautious decay, bases, error feedback.

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
FREE = om.shapes.Constant(1.0)


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
            return make(falling, orthogonalizer=SVD, shape_scale=FREE, leaves=LEAVES)

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
            rate, orthogonalizer=SVD, shape_scale=FREE, leaves=LEAVES
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


def decayed(steps: int, seed: int) -> dict[str, tuple[float, float]]:
    """Final loss and spectral norm, by the decay: of a target whose singular values are 3, at lambda = 0.5."""
    target = jnp.asarray(3 * np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 6)))[0])
    found = {}
    for name, decay in (("none", 0.0), ("plain", 0.5), ("cautious", om.transforms.cautious_decay(0.5))):
        tx = om.muon(
            optax.linear_schedule(0.05, 0.0, steps),
            orthogonalizer=SVD,
            weight_decay=decay,
            shape_scale=FREE,
            leaves=LEAVES,
        )

        def step(carry, _, tx=tx):
            params, state = carry
            updates, state = tx.update({"w": params["w"] - target}, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        run = jax.jit(lambda w, step=step, tx=tx: jax.lax.scan(step, (w, tx.init(w)), None, steps)[0][0]["w"])
        w = run({"w": jnp.zeros((8, 6))})
        found[name] = float(0.5 * jnp.sum((w - target) ** 2)), float(jnp.linalg.norm(w, 2))
    return found


def bases(lengths: tuple[int, ...], seed: int) -> dict[str, dict[int, float]]:
    """Mean nuclear norm of the gradient over runs of K steps of rate 1 / sqrt(K), by the bases in which Adam works."""
    target = jnp.asarray(np.random.default_rng(seed).normal(size=(10, 12)))
    curvature = jnp.geomspace(0.1, 1.0, 10)[:, None]
    kinds = {"axes": om.linalg.IdentityBasis(), "random": om.linalg.RandomBasis(seed), "SOAP's": om.linalg.EigenBasis()}
    found: dict[str, dict[int, float]] = {}
    for name, basis in kinds.items():
        turned = om.transforms.rotated(optax.scale_by_adam(0.9, 0.99, eps=1.0), basis, leaves=LEAVES)
        for steps in lengths:

            def step(carry, key, turned=turned, steps=steps):
                params, state = carry
                grads = curvature * (params["w"] - target)
                noisy = grads + jax.random.normal(key, grads.shape)
                updates, state = turned.update({"w": noisy}, state, params)
                moved = jax.tree.map(lambda w, u: w - u / jnp.sqrt(steps), params, updates)
                return (moved, state), jnp.sum(jnp.linalg.svd(grads, compute_uv=False))

            def run(keys, step=step, turned=turned):
                first = {"w": jnp.zeros((10, 12))}
                return jax.lax.scan(step, (first, turned.init(first)), keys)[1]

            norms = jax.jit(run)(jax.random.split(jax.random.key(seed), steps))
            found.setdefault(name, {})[steps] = float(jnp.mean(norms))
    return found


def feedback(steps: int, every: int) -> dict[str, list[float]]:
    """Loss along two blocks of c |W11 + W22| + |W11 - W22|, the second three times as steep; the least is 0."""
    c, leaf = 1 / 38, om.Leaf("hidden", reduction=1, output=2)
    steep = jnp.array([1.0, 3.0])
    leaves = {"w": leaf}

    def sums(w):
        diagonal = jnp.diagonal(w, axis1=1, axis2=2)
        return diagonal[:, 0] + diagonal[:, 1], diagonal[:, 0] - diagonal[:, 1]

    def gradient(w):
        total, apart = (jnp.sign(x) for x in sums(w))
        return steep[:, None, None] * jax.vmap(jnp.diag)(jnp.stack([c * total + apart, c * total - apart], 1))

    common = {"orthogonalizer": SVD, "momentum": 0.9, "leaves": leaves}
    ways = {
        "Muon": om.muon(lambda t: 1 / (t + 1), nesterov=False, shape_scale=FREE, **common),
        "EF-MuonMax": om.ef_muon_max(lambda t: (t + 1) ** -0.5, **common),
    }
    first = {"w": jnp.stack([jnp.diag(jnp.array([1 + jnp.log(2.0), 1 - jnp.log(2.0)]))] * 2)}
    found = {}
    for name, tx in ways.items():

        def step(carry, _, tx=tx):
            params, state = carry
            total, apart = sums(params["w"])
            updates, state = tx.update({"w": gradient(params["w"])}, state, params)
            value = jnp.sum(steep * (c * jnp.abs(total) + jnp.abs(apart)))
            return (jax.tree.map(jnp.add, params, updates), state), value

        path = jax.jit(lambda p, step=step, tx=tx: jax.lax.scan(step, (p, tx.init(p)), None, steps)[1])(first)
        found[name] = np.asarray(path)[every - 1 :: every].tolist()
    return found


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    part, seed = 20 if experiment.quick else 1, experiment.seed
    lengths = (10, 20) if experiment.quick else (100, 400, 1600, 6400)
    with jax.enable_x64(True):
        regression = {condition: newton_muon(condition, 400 // part, seed) for condition in CONDITIONS}
        noise = namo(4000 // part, seed)
        spread = aurora(seed)
        decay = decayed(2000 // part, seed)
        nuclear = bases(lengths, seed)
        stuck = feedback(20_000 // part, 100 // part)
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    (left, middle, right), (d, e, f) = figure.subplots(2, 3)
    for name in ("Muon", "Newton-Muon"):
        left.loglog(CONDITIONS, [regression[c][name] for c in CONDITIONS], "o-", label=name)
    left.set(title="regression, rates tuned", xlabel="condition of the inputs", ylabel="final loss")
    for name, losses in noise.items():
        middle.loglog(RATES, losses, "o-", label=name)
    middle.set(title="quadratic in noise", xlabel="rate", ylabel="final loss")
    right.semilogy(list(spread), list(spread.values()), "o-", label="Aurora")
    right.set(title="12 x 7 Gaussian", xlabel="iterations", ylabel="spread of squared row norms")
    d.bar(list(decay), [norm for _, norm in decay.values()], label="spectral norm at the end")
    d.axhline(3, color="k", linestyle=":", label="of the target")
    d.set(title="weight decay 0.5", ylim=(0, 4))
    for name, row in nuclear.items():
        e.loglog(list(row), list(row.values()), "o-", label=f"bases: {name}")
    e.set(title="Adam in any bases, rate 1 / sqrt(K)", xlabel="steps K", ylabel="mean nuclear norm of the gradient")
    for name, path in stuck.items():
        f.semilogy((np.arange(len(path)) + 1) * (100 // part), path, label=name)
    f.set(title="a nonsmooth function", xlabel="step", ylabel="loss")
    for ax in (left, middle, right, d, e, f):
        ax.legend(fontsize=8)
    numbers = {
        "regression: best final loss by condition": regression,
        "regression: Muon / Newton-Muon": {c: found["Muon"] / found["Newton-Muon"] for c, found in regression.items()},
        "noise: final loss by rate": {name: dict(zip(RATES, x, strict=True)) for name, x in noise.items()},
        "Aurora: spread by iterations": spread,
        "decay: final loss and spectral norm": decay,
        "bases: mean nuclear norm by steps": nuclear,
        "bases: slope over the last two": {
            name: float(np.log(row[lengths[-1]] / row[lengths[-2]]) / np.log(lengths[-1] / lengths[-2]))
            for name, row in nuclear.items()
        },
        "nonsmooth: loss after a tenth of the steps, and after all": {
            name: (path[len(path) // 10 - 1], path[-1]) for name, path in stuck.items()
        },
    }
    experiment.save(figure, numbers)


if __name__ == "__main__":
    main()
