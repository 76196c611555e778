"""TPU pods, compiled ahead of time on a machine without one: FLOPs, bytes and compile time per chip.

Needs ``pip install 'jax[tpu]'`` in an environment of its own; nothing runs on a TPU.
Run: python -m tests.benchmarks.pods 8x8 [16x16] [--peer]
"""

import os
import sys

os.environ.update(
    TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="true", JAX_PLATFORMS="cpu", TPU_WORKER_HOSTNAMES="localhost",
    TPU_ACCELERATOR_TYPE="v5litepod-8",
)  # fmt: skip

import re
import time

import jax
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.linalg._flops import count_flops
from tests.benchmarks import models, record

BF16 = om.linalg.BFLOAT16
RECIPES = {
    "muon, best(YOU_2025) in bf16": om.linalg.best(om.linalg.YOU_2025, arithmetic=BF16),
    "muon, best(default table) in bf16: plain": om.linalg.best(arithmetic=BF16),
}


def pod(shape):
    devices = topologies.get_topology_desc(f"v5e:{shape}", "tpu").devices
    kinds = {"Explicit": AxisType.Explicit, "Auto": AxisType.Auto}
    return {k: jax.sharding.Mesh(np.array(devices), ("fsdp",), axis_types=(kind,)) for k, kind in kinds.items()}


def measured(name, shape, tx, params, leaves=None, op=None):
    start = time.process_time()
    compiled = models.lower(tx, params).compile()
    seconds = time.process_time() - start
    text = compiled.as_text()
    kinds = {k: len(re.findall(rf" {k}(?:-start)?\(", text)) for k in ("all-to-all", "all-gather", "all-reduce")}
    chips, state = int(np.prod([int(n) for n in shape.split("x")])), jax.eval_shape(tx.init, params)
    row = {"pod": f"v5e {shape}", "program": name, "compile CPU s": seconds}
    row |= {"collectives in the text": str({k: n for k, n in kinds.items() if n})}
    if op is None:
        flops, size = float(compiled.cost_analysis()["flops"]), "-"  # unrolled: XLA's count is right
    else:
        flops = count_flops(tx.update, params, state, params)
        size = om.placement_report(params, op, leaves=leaves).nbytes / 1e6
    share = models.plain(params) / chips
    bound = 8e-6 * models.elements(params) / chips
    return row | {"FLOPs of plain / chips": flops / share, "planned MB": size, "bound MB": bound}


if __name__ == "__main__":
    rows = []
    for shape in [argument for argument in sys.argv[1:] if not argument.startswith("--")]:
        meshes = pod(shape)
        params, leaves = models.gpt(16, 1024, meshes["Explicit"], P("fsdp", None))
        for name, op in RECIPES.items():
            tx = om.muon(0.02, orthogonalizer=op, leaves=leaves)
            rows.append(measured(name, shape, tx, params, leaves, op))
            print(rows[-1], flush=True)
        if "--peer" in sys.argv:
            params, _ = models.gpt(16, 1024, meshes["Auto"], P("fsdp", None))
            rows.append(measured("optax.contrib.muon", shape, optax.contrib.muon(0.02), params))
            print(rows[-1], flush=True)
    note = "FLOPs of muon from its trace, loops times trips; MB: by the plan, received per chip, teams included."
    record.write("pods", "Compiled for TPU pods: 16 layers, d 1024, P(fsdp, -), one update", rows, note)
