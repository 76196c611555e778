"""Several TPU chips, compiled ahead of time: cycles of one update beside the bytes of its collectives.

Needs ``pip install 'jax[tpu]'`` in an environment of its own; nothing runs on a TPU. Cycles are the compiler's own
estimate of a chip's kernels, loops by their trips; collectives are not in them. Rows of an earlier run stay in the
record unless they are compiled again.
Run: python -m tests.benchmarks.mesh_cycles [2x2 | 8x8] [--only PROGRAM]
"""

import argparse
import time

from tests.benchmarks import ahead, cycles  # first, as it says

import jax  # isort: skip
import numpy as np
import optax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.benchmarks import models, record

SIZES = {"2x2": (4, 1024), "8x8": (16, 1024)}  # chips: layers and width of the matrices
PEER = "optax.contrib.muon, Auto"
PROGRAMS = {
    PEER: (AxisType.Auto, lambda leaves: optax.contrib.muon(0.02)),
    "om.muon, Explicit": (AxisType.Explicit, lambda leaves: om.muon(0.02, leaves=leaves)),
    "om.muon, Auto": (AxisType.Auto, lambda leaves: om.muon(0.02, leaves=leaves)),
}
NOTES = (
    "Float32 matrices qkv, proj, up and down of every layer, sharded P(fsdp, -), momentum donated. Cycles by the "
    "compiler's own estimate, loops times trips; of them those of kernels that are or hold a matrix product. Bytes are "
    "those of the collectives' results, per chip; 2P/D is the least that can be received, in float32."
)


def row(shape, name):
    """Compile one update and read it."""
    (layers, width), (kind, make) = SIZES[shape], PROGRAMS[name]
    mesh = jax.sharding.Mesh(np.array(ahead.devices(f"v5e:{shape}")).reshape(-1), ("fsdp",), axis_types=(kind,))
    params, leaves = models.gpt(layers, width, mesh, P("fsdp", None))
    start = time.process_time()
    text = models.lower(make(leaves), params, donate=True).compile().as_text()
    return described(shape, name, text, time.process_time() - start)


def described(shape, name, text, seconds):
    """Read a compiled program, which took so many seconds to make."""
    (layers, width), cost = SIZES[shape], cycles.read(text, ("dot_general",))
    bound = 8 * models.elements(models.gpt(layers, width)[0]) / len(ahead.devices(f"v5e:{shape}"))
    return {
        "pod": f"v5e {shape}",
        "layers x width": f"{layers} x {width}",
        "program": name,
        "Mcycles": "-" if cost.cycles is None else cost.cycles / 1e6,
        "of them products": cost.scopes["dot_general"] / 1e6,
        "without estimate": ", ".join(cost.unknown) or "-",
        "collectives": "; ".join(f"{n} {kind}" for kind, n in sorted(cost.collectives.items())),
        "MB": cost.nbytes / 1e6,
        "of 2P/D": cost.nbytes / bound,
        "HLO lines": text.count("\n"),
        "compile CPU s": seconds,
    }


def compared(rows):
    """The rows, pod by pod in the order of the programs, with the share of the peer's cycles."""
    order = list(PROGRAMS)
    rows = sorted(rows, key=lambda row: (row["pod"], order.index(row["program"])))
    peers = {row["pod"]: row["Mcycles"] for row in rows if row["program"] == PEER}
    share = "cycles of the peer's"
    for row in rows:
        both = isinstance(row["Mcycles"], float) and isinstance(peers.get(row["pod"]), float)
        row[share] = row["Mcycles"] / peers[row["pod"]] if both else "-"
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("pods", nargs="*", default=["2x2"])
    parser.add_argument("--only", choices=list(PROGRAMS), action="append")
    args = parser.parse_args()
    for pod in args.pods:
        for program in args.only or PROGRAMS:
            new = row(pod, program)
            kept = [x for x in record.known("mesh_cycles") if (x["pod"], x["program"]) != (new["pod"], program)]
            record.write("mesh_cycles", "One update on several TPU chips, compiled only", compared([*kept, new]), NOTES)
