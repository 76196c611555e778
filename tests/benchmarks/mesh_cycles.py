"""Several TPU chips, compiled ahead of time: cycles of one update beside the bytes of its collectives.

Needs ``pip install 'jax[tpu]'`` in an environment of its own; nothing runs on a TPU. Cycles are the compiler's own
estimate of a chip's kernels, loops by their trips; collectives are not in them.
Run: python -m tests.benchmarks.mesh_cycles [2x2] [8x8]
"""

import sys
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
BF16 = om.linalg.best(om.linalg.JORDAN_2024, arithmetic=om.linalg.BFLOAT16)
PROGRAMS = {
    "muon, best(JORDAN_2024) in bf16": lambda leaves: om.muon(0.02, orthogonalizer=BF16, leaves=leaves),
    "the same, exchanged in float32": lambda leaves: om.muon(
        0.02, orthogonalizer=BF16, leaves=leaves, placement=om.OverMesh(exchange_dtype="float32")
    ),
    "optax.contrib.muon": lambda leaves: optax.contrib.muon(0.02),
}


def row(shape, kind, name):
    """Compile one update of P("fsdp", None) matrices and read it."""
    layers, width = SIZES[shape]
    mesh = jax.sharding.Mesh(np.array(ahead.devices(f"v5e:{shape}")).reshape(-1), ("fsdp",), axis_types=(kind,))
    params, leaves = models.gpt(layers, width, mesh, P("fsdp", None))
    start = time.process_time()
    compiled = models.lower(PROGRAMS[name](leaves), params, donate=True).compile()
    seconds, text = time.process_time() - start, compiled.as_text()
    cost = cycles.read(text)
    bound = 8 * models.elements(params) / mesh.size
    return {
        "pod": f"v5e {shape}",
        "mesh": kind.name,
        "program": name,
        "Mcycles": "-" if cost.cycles is None else cost.cycles / 1e6,
        "without estimate": len(cost.unknown),
        "collectives": "; ".join(f"{n} {kind}" for kind, n in sorted(cost.collectives.items())),
        "MB": cost.nbytes / 1e6,
        "of 2P/D in float32": cost.nbytes / bound,
        "HLO lines": text.count("\n"),
        "compile CPU s": seconds,
    }


if __name__ == "__main__":
    rows = []
    for shape in sys.argv[1:] or ["2x2"]:
        for name in PROGRAMS:
            for kind in (AxisType.Auto,) if "optax" in name else (AxisType.Explicit, AxisType.Auto):
                rows.append(row(shape, kind, name))
                print(rows[-1], flush=True)
    record.write("mesh_cycles", "Cycles of one update on several chips, P(fsdp, -), momentum donated", rows)
