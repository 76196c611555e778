"""Parts that act on singular values: clips, sketches, the degenerate oracle, flatness, and scales of shapes.

Spectral clipping on a quadratic with outliers of rank one in its gradients; what a random subspace sees of a spectrum;
Muon by an inexact oracle where the smallest singular value vanishes; the largest stable step beside the flatness of the
gradient; and the best rate of an MLP at growing widths by several scales of shapes.

    python examples/paper/spectral_parts.py
"""

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from images import mnist
from matplotlib.figure import Figure
from paper import network
from paper.experiment import start

import optax_muon as om

SVD = om.linalg.SVDPolar()
QUINTIC = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)
LEAVES = {"w": om.Leaf("hidden", reduction=0, output=1)}
WIDE = {f"w{i}": {"kernel": om.Leaf("hidden", reduction=0, output=1)} for i in (1, 2, 3)}
CAPS = np.geomspace(0.3, 30, 5)
RATES = np.geomspace(1e-3, 1.0, 10)  # of the widths
SCALES = {"no scale": om.shapes.Constant(1.0), "RMSMatch": om.shapes.RMSMatch(0.2), "Spectral": om.shapes.Spectral()}


def clipping(steps: int, seed: int) -> dict[str, Any]:
    """Best median loss over rates and caps, of 16 runs, of SGD with momentum under outliers of rank one."""
    target = jnp.asarray(np.random.default_rng(seed).normal(size=(12, 10)))
    curvature = jnp.geomspace(0.1, 1.0, 12)[:, None]
    clip = om.transforms.clip_by_spectral_norm
    ways: dict[str, Any] = {
        "none": lambda cap: optax.identity(),
        "Frobenius norm": lambda cap: om.transforms.clip_by_frobenius_norm(cap, leaves=LEAVES),
        "singular values": lambda cap: clip(cap, leaves=LEAVES),
        "singular values, quantile of the past": lambda cap: clip(om.linalg.QuantileThreshold(), leaves=LEAVES),
    }

    def outlier(key):
        """Make the noise: in a tenth of the steps a pair of two-sided Pareto variables of index 1.1 along one pair."""
        where, left, right, size = jax.random.split(key, 4)
        u, v = (x / jnp.linalg.norm(x) for x in (jax.random.normal(left, (12, 1)), jax.random.normal(right, (1, 10))))
        return jax.random.bernoulli(where, 0.1) * 5 * jax.random.pareto(size, 1.1) * u @ v

    def ends(clip, rate, cap):
        tx = optax.chain(clip(cap), optax.sgd(optax.linear_schedule(rate, 0.0, steps), momentum=0.9))

        def run(key):
            params = {"w": jnp.zeros((12, 10))}

            def step(carry, key):
                params, state = carry
                updates, state = tx.update({"w": curvature * (params["w"] - target) + outlier(key)}, state, params)
                return (jax.tree.map(jnp.add, params, updates), state), None

            (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, steps))
            return jnp.sum(curvature * (params["w"] - target) ** 2) / jnp.sum(curvature * target**2)

        return jnp.quantile(jax.vmap(run)(jax.random.split(jax.random.key(seed), 16)), jnp.array([0.5, 0.9]))

    found = {}
    for name, way in ways.items():
        caps = CAPS if name in ("Frobenius norm", "singular values") else CAPS[:1]
        tried = np.array([(rate, cap) for rate in (0.003, 0.01, 0.03, 0.1) for cap in caps])
        every = jax.jit(lambda tried, way=way: jax.lax.map(lambda x: ends(way, *x), tried))
        table = np.asarray(every(tried))
        best = int(np.argmin(table[:, 0]))
        found[name] = dict(
            zip(("median", "nine in ten below", "rate", "cap"), [*table[best], *tried[best]], strict=True)
        )
    return found


def sketches(shape: tuple[int, int], ranks: tuple[int, ...], seed: int) -> dict[str, dict[str, dict[int, float]]]:
    """Share of the nuclear norm that a step along the sketched polar factor decreases, by fall of the spectrum."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(n, shape[0])))[0] for n in shape)
    found: dict[str, dict[str, dict[int, float]]] = {}
    for fall in (0.5, 1.0, 2.0):
        s = np.arange(1, shape[0] + 1) ** -fall
        x = jnp.asarray(u * s @ v.T)
        found[f"i^-{fall:g}"] = rows = {"the largest": {}, **{f"{h} power steps": {} for h in (0, 1, 2)}}
        for rank in ranks:
            rows["the largest"][rank] = float(s[:rank].sum() / s.sum())
            for h in (0, 1, 2):
                op = om.linalg.RandomizedPolar(rank, oversample=0, power_steps=h, orthogonalizer=SVD)
                _, _, info = op.apply(jnp.stack([x] * 8), (), key=jax.random.split(jax.random.key(seed), 8))
                rows[f"{h} power steps"][rank] = float(jnp.mean(info.dual) / s.sum())
    return found


def degenerate(steps: int, seed: int) -> dict[str, Any]:
    """Error and gap of the oracle on diag(1/2, e/2), and Muon towards a target of singular values from 1 to 1e-8."""
    polar, gap = {}, {}
    for e in (1.0, 1e-2, 1e-4, 1e-6, 1e-8):
        x = jnp.diag(jnp.array([0.5, e / 2]))
        polar[e] = float(jnp.linalg.norm(QUINTIC.apply(x) - jnp.eye(2), 2))
        gap[e] = float(om.diagnostics.lmo_gap(x, QUINTIC))
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, 10)))[0] for n in (12, 10))
    target = jnp.asarray(left * np.geomspace(1, 1e-8, 10) @ right.T)
    found: dict[str, Any] = {"polar error": polar, "gap": gap}
    for name, orth in (("exact", SVD), ("quintic", QUINTIC)):
        tx = om.muon(
            lambda t: 0.1 * (1 - t / steps), orthogonalizer=orth, shape_scale=om.shapes.Constant(1.0), leaves=LEAVES
        )

        def step(carry, _, tx=tx, orth=orth):
            params, state = carry
            grads = jax.tree.map(lambda w: w - target, params)
            updates, state = tx.update(grads, state, params)
            g = grads["w"]
            error = jnp.linalg.norm(orth.apply(g) - SVD.apply(g), 2)
            return (jax.tree.map(jnp.add, params, updates), state), (error, om.diagnostics.lmo_gap(g, orth))

        params = {"w": jnp.zeros((12, 10))}
        (params, _), (error, gaps) = jax.jit(
            lambda p, step=step, tx=tx: jax.lax.scan(step, (p, tx.init(p)), None, steps)
        )(params)
        ends = jnp.linalg.norm(params["w"] - target), jnp.max(error), jnp.max(gaps)
        found[name] = dict(zip(("final distance", "largest polar error", "largest gap"), map(float, ends), strict=True))
    return found


def flatness(draws: int, seed: int) -> dict[str, list[float]]:
    """Compare stable steps with the bound, for spectra of all flatness: curvature alike, and falling along one side."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {"flatness": [], "alike": [], "falling": []}
    for fall in np.linspace(0, 4, draws):
        u, v = (np.linalg.qr(rng.normal(size=(n, 10)))[0] for n in (12, 10))
        g = jnp.asarray(u * np.arange(1, 11) ** -fall @ v.T)
        o = u @ v.T
        found["flatness"].append(float(om.diagnostics.spectral_flatness(g)))
        for name, h in (("alike", np.ones(12)), ("falling", np.geomspace(1, 0.01, 12))):
            # One step of length t lowers the quadratic while t < 2 <G, O> / <O, H O>; the curvature's norm is 1.
            stable = 2 * float(jnp.sum(g * o)) / float(np.sum(h[:, None] * o**2))
            found[name].append(stable / float(om.diagnostics.largest_stable_step(g, 1.0)))
    return found


def steepest(seed: int) -> dict[str, float]:
    """Shampoo without its sums less the oracle; and the best of random points of the ball as a share of the oracle."""
    rng, norm = np.random.default_rng(seed), om.norms.Spectral(SVD)
    g, points = rng.normal(size=(6, 6)), rng.normal(size=(4096, 6, 6))
    points /= np.linalg.norm(points, 2, (1, 2))[:, None, None]
    sides = (q * w**-0.25 @ q.T for w, q in map(np.linalg.eigh, (g @ g.T, g.T @ g)))
    apart = next(sides) @ g @ next(sides) - np.asarray(norm.lmo(jnp.asarray(g), 1.0))
    share = np.max(np.sum(points * g, (1, 2))) / float(norm.dual(jnp.asarray(g)))
    return {"Shampoo less the oracle": float(np.linalg.norm(apart)), "best random point": float(share)}


def widths(sizes: tuple[int, ...], steps: int, seed: int) -> dict[str, dict[int, list[float]]]:
    """Training losses of an MLP by scale, width and rate."""
    digits = mnist(seed)
    x = jnp.asarray(digits.train.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196))
    y = jnp.asarray(digits.train_labels)
    made: dict[str, Any] = {
        name: optax.chain(
            optax.ema(0.9, debias=False),
            om.transforms.scale_by_lmo(om.norms.Spectral(om.linalg.best()), leaves=WIDE),
            om.transforms.scale_by_shape(scale, leaves=WIDE),
        )
        for name, scale in SCALES.items()
    }
    found: dict[str, dict[int, list[float]]] = {}
    for name, direction in {**made, "Adam": optax.scale_by_adam()}.items():
        for width in sizes:
            first = network.create(seed, (196, width, width, 10))

            def run(rate, first=first, direction=direction):
                def step(carry, key):
                    (params, state), t = carry
                    chosen = jax.random.choice(key, len(y), (128,))
                    grads = jax.grad(network.loss)(params, x[chosen], y[chosen])
                    updates, state = direction.update(grads, state, params)
                    now = rate * (1 - t / steps)
                    return ((jax.tree.map(lambda w, u: w - now * u, params, updates), state), t + 1), None

                keys = jax.random.split(jax.random.key(seed), steps)
                ((params, _), _), _ = jax.lax.scan(step, ((first, direction.init(first)), 0), keys)
                return network.loss(params, x[:1024], y[:1024])

            losses = jax.jit(lambda rates, run=run: jax.lax.map(run, rates))(jnp.asarray(RATES, jnp.float32))
            found.setdefault(name, {})[width] = np.nan_to_num(np.asarray(losses), nan=np.inf).tolist()
    return found


def draw(found: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(14, 7.5), layout="constrained")
    (a, b, c), (d, *last) = figure.subplots(2, 3)
    a.bar(range(len(found["clipping"])), [row["median"] for row in found["clipping"].values()], color="C0")
    a.set_xticks(range(len(found["clipping"])), [n.replace(", ", ",\n") for n in found["clipping"]], fontsize=8)
    a.set(title="SGD under outliers of rank one", ylabel="median final loss, relative", yscale="log")
    for i, (fall, rows) in enumerate(found["sketches"].items()):
        for how, mark in (("the largest", "-"), ("0 power steps", ":"), ("2 power steps", "--")):
            b.plot(list(rows[how]), list(rows[how].values()), f"C{i}{mark}", label=f"{fall}, {how}")
    b.set(title="randomised polar factor", xlabel="rank", ylabel="share of the nuclear norm", xscale="log")
    for kind in ("polar error", "gap"):
        c.loglog(list(found["degenerate"][kind]), list(found["degenerate"][kind].values()), "o-", label=kind)
    c.set(title="quintic on diag(1/2, e/2)", xlabel="e", ylabel="error")
    for name in ("alike", "falling"):
        d.plot(found["flatness"]["flatness"], found["flatness"][name], ".", label=f"curvature {name}")
    d.set(title="largest stable step over its bound", xlabel="flatness of the gradient", ylim=(0, None))
    for ax, name in zip(last, ("no scale", "Spectral"), strict=True):
        for width, losses in found["widths"][name].items():
            ax.semilogx(RATES, losses, "o-", markersize=3, label=f"width {width}")
        ax.set(title=f"MLP, {name}", xlabel="rate", ylabel="training loss", ylim=(0, 2.5))
    for ax in (b, c, d, *last):
        ax.legend(fontsize=8)
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    quick, seed = experiment.quick, experiment.seed
    found: dict[str, Any] = {"widths": widths((8,) if quick else (24, 64, 192), 2 if quick else 60, seed)}
    with jax.enable_x64(True):
        found["clipping"] = clipping(20 if quick else 1000, seed)
        found["sketches"] = sketches((128, 256), (4,) if quick else (4, 16, 64), seed)
        found["degenerate"] = degenerate(20 if quick else 400, seed)
        found["flatness"], found["steepest"] = flatness(4 if quick else 40, seed), steepest(seed)
    tried = found["widths"].items()
    stable = {name: (min(x), max(x)) for name, x in found["flatness"].items()}
    experiment.save(
        draw(found),
        {
            "clipping under outliers": found["clipping"],
            "randomised polar factor: share of the nuclear norm, by rank": found["sketches"],
            "degenerate oracle": found["degenerate"],
            "flatness, and stable steps over the bound: least and most": stable,
            "steepest descent": found["steepest"],
            "widths: best rate": {n: {w: RATES[int(np.argmin(y))] for w, y in rows.items()} for n, rows in tried},
            "widths: loss by rate": {
                n: {w: dict(zip(RATES, y, strict=True)) for w, y in rows.items()} for n, rows in tried
            },
        },
    )


if __name__ == "__main__":
    main()
