"""Messages that are small or seldom, on quadratics whose optima differ between workers: MARINA and DiLoCo.

A number is f less its minimum at the mean of all weights, and the workers' spread around it; rates are tuned over a
grid and fall to zero.

    python examples/workers/messages.py --out docs/records/workers
"""

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from provenance import provenance
from workers.quadratics import AXIS, POLAR, Quadratics, leaves, train

import optax_muon as om
from optax_muon import transforms, workers


def changes(steps: int) -> dict:
    """Four workers, 12 x 10: Gluon on MARINA's estimate from a tenth of the entries, drawn anew at every step.

    With every final gap the share of the entries that was sent, and that which the way had sent when its gap first was
    a thousandth of the first one; None where it never was.
    """
    f = Quadratics(4, (12, 10))
    tenth = functools.partial(transforms.random_k, 0.1, unbiased=True, leaves=workers.own_matrices(leaves, AXIS))
    orth = transforms.apply_to_matrices(POLAR, leaves=leaves)

    def chained(estimate: Callable[[], optax.GradientTransformation]) -> Callable:
        return lambda rate: optax.chain(estimate(), orth, optax.scale_by_learning_rate(rate))

    def estimated(p: float) -> Callable[[], optax.GradientTransformation]:
        return lambda: workers.marina(tenth(), p, AXIS, leaves=leaves)

    ways = {
        "whole": (chained(lambda: workers.average_over(AXIS)), 1.0),
        "a tenth, without an estimate": (chained(lambda: optax.chain(tenth(), workers.average_over(AXIS))), 0.1),
        **{f"MARINA, p = {p}": (chained(estimated(p)), p + (1 - p) / 10) for p in (0.3, 0.1, 0.03)},
    }
    found, goal = {}, 1e-3 * float(f.gap(jnp.zeros(f.shape)))
    for name, (make, share) in ways.items():
        best, curve = train(f, make, steps)
        below = np.flatnonzero(np.asarray(curve) <= goal)
        sent = share * (int(below[0]) + 1) if below.size else None
        found[name] = {"gap": best[0], "rate": best[1], "share": share, "whole gradients sent to the goal": sent}
    return found


def meetings(steps: int) -> dict:
    """Eight workers, 8 x 6, Adam inside: DiLoCo and plain averages at a few periods, beside the mean of gradients."""
    f = Quadratics(8, (8, 6))

    def together(rate):
        return optax.chain(workers.average_over(AXIS), optax.adam(rate))

    def apart(rate, period, outer, momentum):
        return om.diloco(outer, optax.adam(rate), period=period, momentum=momentum, axis_name=AXIS, leaves=leaves)

    ways = {"mean of gradients": together}
    for period in (10, 30, 100):
        ways[f"DiLoCo, {period}"] = functools.partial(apart, period=period, outer=0.7, momentum=0.9)
        ways[f"averages, {period}"] = functools.partial(apart, period=period, outer=1.0, momentum=0.0)
    return {name: train(f, make, steps)[0] for name, make in ways.items()}


def main(argv: list[str] | None = None) -> None:
    """Run both, and write ``messages.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/workers"), help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the smallest run, to see that it works")
    args = parser.parse_args(argv)
    with jax.enable_x64(True):
        numbers = {"MARINA": changes(20 if args.quick else 500), "DiLoCo": meetings(20 if args.quick else 600)}
    args.out.mkdir(parents=True, exist_ok=True)
    record = {**provenance(), "quick": args.quick, "numbers": numbers}
    (args.out / "messages.json").write_text(json.dumps(record, indent=1) + "\n")
    for name, ways in numbers.items():
        print(name, json.dumps(ways))


if __name__ == "__main__":
    main()
