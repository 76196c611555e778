"""One TPU chip by the compiler's own clock: cycles and temporary memory of an update, beside optax.contrib.muon.

Needs ``pip install 'jax[tpu]'`` in an environment of its own; nothing runs on a TPU. Rows of an earlier run stay in the
record unless they are measured again.
Run: python -m tests.benchmarks.one_chip [row ...] [--chip v5p:2x2x1]
"""

import math
import sys

import optax

import optax_muon as om
from tests.benchmarks import ahead, record

PEER, OURS = "optax.contrib.muon", "om.muon"
SHARE = "cycles of optax.contrib.muon's"
# Name of a row -> shape of a matrix -> how many.
ROWS = {
    "8 x (1024, 4096)": {(1024, 4096): 8},
    "32 x (1024, 4096)": {(1024, 4096): 32},
    "8 x (2048, 8192)": {(2048, 8192): 8},
    "48 small": {(256, 768): 12, (256, 256): 12, (256, 1024): 12, (1024, 256): 12},
    "GPT-2 small": {(768, 768): 48, (768, 3072): 12, (3072, 768): 12},
}


# So few large ones stand in the program one after another, so that one of them tells the price of all.
ALIKE = ("8 x (2048, 8192)",)


def whole(tx, counts, topology):
    """The update of all matrices, as it is compiled."""
    shapes = [shape for shape, count in counts.items() for _ in range(count)]
    return ahead.measured(ahead.update(tx, ahead.matrices(shapes), topology), topology)


def in_proportion(tx, counts, topology):
    """The smallest program with as many of each shape, relative to one another, counted as often as it occurs.

    For programs that compute leaf after leaf, each in kernels of its own.
    """
    times = math.gcd(*counts.values())
    cost = whole(tx, {shape: count // times for shape, count in counts.items()}, topology)
    summed = [name for name in ("Mcycles", "ms", "asynchronous copies MB") if isinstance(cost[name], float)]
    return {**cost, **{name: times * cost[name] for name in summed}}


def rows(name, counts, topology):
    """Rows of the peer and of this library's default."""
    ours = in_proportion if name in ALIKE else whole
    programs = {PEER: (in_proportion, optax.contrib.muon(0.02)), OURS: (ours, om.muon(0.02))}
    return described(name, topology, {program: cost(tx, counts, topology) for program, (cost, tx) in programs.items()})


def described(name, topology, costs):
    """Rows of a record, the peer's first, with the ratio of cycles."""
    found = []
    for program, cost in costs.items():
        row = {"matrices": name, "chip": topology.split(":")[0], "program": program}
        row |= {key: cost[key] for key in ("Mcycles", "ms", "temp MB", "asynchronous copies MB", "without estimate")}
        both = isinstance(row["Mcycles"], float) and found
        row[SHARE] = row["Mcycles"] / found[0]["Mcycles"] if both else "-"
        found.append(row)
    return found


def write(new):
    """Put rows in the record, in place of those of the same matrices and chip."""
    replaced = {(row["matrices"], row["chip"]) for row in new}
    kept = [row for row in record.known("one_chip") if (row["matrices"], row["chip"]) not in replaced]
    notes = (
        "Cycles by the compiler's own estimate, loops times trips; collectives and asynchronous copies are not in it. "
        "Where the program holds one matrix after another, the smallest with the same proportions of shapes is compiled "
        "and counted as often as it occurs."
    )
    record.write("one_chip", "One TPU chip, compiled only: one update of float32 matrices", [*kept, *new], notes)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    topology = "v5e:2x2"
    if "--chip" in arguments:
        at = arguments.index("--chip")
        topology = arguments[at + 1]
        del arguments[at : at + 2]
    for name in arguments or ROWS:
        write(rows(name, ROWS[name], topology))
