"""What the papers on many workers claim, on quadratics whose optima differ between workers, and on clocks.

Every worker j has f_j(W) = 1/2 sum D_j (W - T_j)^2, and f is their mean. Rates are tuned over a grid and fall to zero.
A number is f less its minimum at the mean of all weights, and the workers' spread around it.

    python examples/workers/quadratics.py --out docs/records/workers
"""

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from provenance import provenance

import optax_muon as om
from optax_muon import transforms, workers

AXIS = "workers"
POLAR = om.linalg.SVDPolar()
RATES = (0.3, 0.1, 0.03, 0.01)


class Quadratics:
    """Quadratics of some workers, with diagonal curvatures between 0.1 and 1."""

    def __init__(self, count: int, shape: tuple[int, int], seed: int = 0, alike: bool = False):
        rng = np.random.default_rng(seed)
        targets, curves = rng.normal(size=(count, *shape)), rng.uniform(0.1, 1.0, size=(count, *shape))
        several = [0] * count if alike else range(count)
        self.targets, self.curves = (jnp.asarray(x[np.array(several)]) for x in (targets, curves))
        self.best = jnp.sum(self.curves * self.targets, axis=0) / jnp.sum(self.curves, axis=0)
        self.count, self.shape = count, shape

    def gradient(self, w: jax.Array, worker: Any) -> jax.Array:
        """Give one worker's gradient."""
        return self.curves[worker] * (w - self.targets[worker])

    def gap(self, w: jax.Array) -> jax.Array:
        """Give f less its minimum."""
        return 0.5 * jnp.sum(jnp.mean(self.curves, axis=0) * (w - self.best) ** 2)


def leaves(_):
    return {"up": {"kernel": om.Leaf("hidden", 0, 1)}}


def train(
    f: Quadratics,
    make: Callable,
    steps: int,
    masks: jax.Array | None = None,
    rates: Sequence[float] = RATES,
    end: float = 0,
) -> tuple[list, jax.Array]:
    """Run all workers with every rate; the best final gap plus spread, with its rate, and its gap at every step.

    ``masks``, (steps, workers): whether a worker takes a step of its own at each; ``end``: last rate over first.
    """

    def run(rate: Any) -> Any:
        def one(worker: Any) -> Any:
            tx = optax.with_extra_args_support(make(optax.linear_schedule(rate, end * rate, steps)))
            params: Any = {"up": {"kernel": jnp.zeros(f.shape)}}

            def step(carry, active):
                params, old, state = carry
                grads, last = (jax.tree.map(lambda w: active[worker] * f.gradient(w, worker), p) for p in (params, old))
                updates, state = tx.update(grads, state, params, grads_at_previous_params=last)
                moved: Any = optax.apply_updates(params, updates)
                return (moved, params, state), moved["up"]["kernel"]

            active = jnp.ones((steps, f.count)) if masks is None else masks
            return jax.lax.scan(step, (params, params, tx.init(params)), active)[1]

        found: Any = jax.vmap(one, axis_name=AXIS)(jnp.arange(f.count))
        mean = jnp.mean(found, axis=0)
        spread = jnp.mean(jnp.sum((found - mean) ** 2, axis=(2, 3)), axis=0)
        return jax.vmap(f.gap)(mean) + spread

    compiled = jax.jit(run)
    curves = jnp.stack([compiled(rate) for rate in rates])
    last = jnp.nan_to_num(curves[:, -1], nan=jnp.inf)
    best = int(jnp.argmin(last))
    return [float(last[best]), rates[best]], curves[best]


def compression(steps: int) -> dict:
    """Four workers, 12 x 10, a tenth of the entries."""
    f = Quadratics(4, (12, 10))
    tenth = functools.partial(transforms.top_k, 0.1, leaves=workers.own_matrices(leaves, AXIS))
    common = {"orthogonalizer": POLAR, "leaves": leaves, "axis_name": AXIS, "momentum": 0.9}

    def without(rate):
        """Compress, and forget what was left out."""
        orth = transforms.apply_to_matrices(POLAR, leaves=leaves)
        return optax.chain(
            optax.ema(0.9, debias=False), tenth(), workers.average_over(AXIS), orth, optax.scale_by_learning_rate(rate)
        )

    ways = {
        "whole": lambda rate: om.ef21_muon(rate, compressor_up=optax.identity(), **common),
        "EF21, a tenth": lambda rate: om.ef21_muon(rate, compressor_up=tenth(), **common),
        "a tenth, without an estimate": without,
    }
    return {name: train(f, make, steps)[0] for name, make in ways.items()}


def graphs(steps: int) -> dict:
    """Eight workers on a ring, 8 x 6."""
    f = Quadratics(8, (8, 6))
    common = {"orthogonalizer": POLAR, "leaves": leaves, "axis_name": AXIS, "momentum": 0.9}

    def local(rate):
        """Orthogonalise one's own momentum, and mix the weights."""
        return optax.chain(
            optax.ema(0.9, debias=False),
            transforms.apply_to_matrices(POLAR, leaves=leaves),
            optax.scale_by_learning_rate(rate),
            workers.mix_params(workers.Ring(), AXIS),
        )

    ways = {"local polar factors": local, "DeMuon": lambda rate: om.demuon(rate, **common)}
    for backbone in ("ed", "extra", "gt"):
        ways[f"SUDA, {backbone}"] = functools.partial(om.suda_muon, backbone=backbone, **common)
    return {name: train(f, make, steps)[0] for name, make in ways.items()}


def overlapping(rounds: Sequence[int]) -> dict:
    """Eight workers of one f, of 8 to 1 steps, and as many again while half of the entries are on their way."""
    f = Quadratics(8, (4, 5), alike=True)
    count, half = f.count, 8
    t = np.arange(2 * half * max(rounds))
    speed = np.arange(count, 0, -1)
    # A worker of n steps in the time of eight takes one whenever n t / 8 passes a whole number.
    own = np.floor((t[:, None] + 1) * speed / half) > np.floor(t[:, None] * speed / half)
    waiting = own & (t % (2 * half) < half)[:, None]
    merge = functools.partial(workers.merge_overlapped, 2 * half, AXIS, overlap=half, fraction=0.5, leaves=leaves)

    def overwriting(rate):
        """Take the mean as it arrives: what was done in the meantime is lost where entries were sent."""
        merged = merge()

        def update_fn(updates, state, params=None):
            before, kept = state
            out, after = merged.update(updates, before, params)
            count = after.count  # pyright: ignore[reportAttributeAccessIssue]
            moved = jax.tree.map(jnp.add, params, updates)
            kept = jax.tree.map(lambda k, m: jnp.where((count + half) % (2 * half) == 0, m, k), kept, moved)
            back = jax.tree.map(lambda o, u, k, m: o + jnp.where(o != u, k - m, 0), out, updates, kept, moved)
            return back, (after, kept)

        return optax.chain(
            optax.scale_by_learning_rate(rate),
            optax.GradientTransformation(lambda params: (merged.init(params), params), update_fn),
        )

    ways = {
        "kept": (lambda rate: optax.chain(optax.scale_by_learning_rate(rate), merge()), own),
        "overwritten": (overwriting, own),
        "waiting": (lambda rate: optax.chain(optax.scale_by_learning_rate(rate), merge()), waiting),
    }
    found = {}
    for name, (make, masks) in ways.items():
        _, curve = train(f, make, len(t), jnp.asarray(masks, float), rates=(0.03,), end=1)
        found[name] = [float(curve[2 * half * r - 1]) for r in rounds]
    return found


def clocks(time: float, seeds: int) -> dict:
    """Eight workers of linearly and root growing times, 12 x 10, noisy gradients of one function; a mean over seeds."""
    f = Quadratics(1, (12, 10))
    start = {"up": {"kernel": jnp.zeros(f.shape)}}
    schemes = {
        "Ringmaster": [workers.Ringmaster(r) for r in (2, 8)],
        "Rennala": [workers.Rennala(b) for b in (2, 8)],
        "delay-adaptive": [workers.DelayAdaptive()],
    }
    found = {}
    for noise in (0.3, 2.0):

        def gradient(params, key, worker, noise=noise):
            del worker
            return jax.tree.map(lambda w: f.gradient(w, 0) + noise * jax.random.normal(key, w.shape), params)

        for name, seconds in {"linear": range(1, 9), "root": np.sqrt(np.arange(1, 9))}.items():
            clock = workers.Clock([float(s) for s in seconds], 0.05)
            row = {}
            for scheme, forms in schemes.items():
                gaps = [
                    np.mean([
                        float(f.gap(workers.simulate(
                            om.muon(rate, leaves=leaves, orthogonalizer=om.linalg.NewtonSchulz()), start, gradient,
                            clock=clock, scheme=form, time=time, seed=seed).params["up"]["kernel"]))
                        for seed in range(seeds)])
                    for form in forms for rate in (0.2, 0.05)
                ]  # fmt: skip
                row[scheme] = float(min(gaps))
            found[f"{name} clocks, noise {noise}"] = row
    return found


def rescaled(time: float) -> dict:
    """Two workers, one three times as slow, optima +1 and -1; where each scheme ends."""
    optimum = jnp.array([1.0, -1.0])
    return {
        type(scheme).__name__: float(
            workers.simulate(
                optax.sgd(2e-3), {"w": jnp.ones(())}, lambda p, key, i: {"w": p["w"] - optimum[i]},
                clock=workers.Clock([1.0, 3.0]), scheme=scheme, time=time).params["w"])
        for scheme in (workers.Vanilla(), workers.Rescaled())
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Run all, and write ``quadratics.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/workers"), help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the smallest run, to see that it works")
    parser.add_argument("--only", nargs="*", help="names of experiments; all")
    args = parser.parse_args(argv)
    quick = args.quick
    experiments = {
        "EF21": lambda: compression(20 if quick else 500),
        "graphs": lambda: graphs(20 if quick else 600),
        "LOSCAR": lambda: overlapping((1, 2) if quick else (5, 10, 20, 60)),
        "clocks": lambda: clocks(4 if quick else 60, 1 if quick else 2),
        "Rescaled": lambda: rescaled(30 if quick else 3000),
    }
    path = args.out / "quadratics.json"
    before = json.loads(path.read_text())["numbers"] if path.exists() else {}
    with jax.enable_x64(True):
        for name in args.only or experiments:
            before[name] = experiments[name]()
            print(name, json.dumps(before[name]), flush=True)
            args.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**provenance(), "quick": quick, "numbers": before}, indent=1) + "\n")


if __name__ == "__main__":
    main()
