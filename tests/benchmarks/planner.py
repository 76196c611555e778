"""The planner on 240 matrices and 1,024 devices.

Run: python -m tests.benchmarks.planner
"""

import time

import jax
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.benchmarks import models, record

if __name__ == "__main__":
    rows = []
    for devices, layers, width in ((8, 12, 768), (64, 16, 1024), (256, 16, 1024), (1024, 60, 4096)):
        params, leaves = models.gpt(layers, width, jax.sharding.AbstractMesh((devices,), ("fsdp",)), P("fsdp", None))
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            report = om.placement_report(params, leaves=leaves)
            best = min(best, time.perf_counter() - start)
        print(report)
        rows.append(
            {
                "devices": devices,
                "matrices": 4 * layers,
                "seconds": best,
                "FLOPs of plain / devices": report.flops / (report.plain / devices),
                "bytes of bound": report.nbytes / report.bound,
                "teams of": max(entry.team for entry in report.rows),
            }
        )
    record.write("planner", "Planning one update, best of three", rows)
