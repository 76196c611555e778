"""Eight devices: collectives, bytes, FLOPs and memory of one compiled update, by layout.

Run: python -m tests.benchmarks.mesh [--peer | --memory | --asked], the last for these rows of the record alone
"""

import os
import sys

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import optax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.benchmarks import models, record
from tests.benchmarks.census import census

ONE, TWO = ((8,), ("fsdp",)), ((4, 2), ("fsdp", "tp"))


def megatron(name):
    return P("fsdp", "tp") if name in ("qkv", "up") else P("tp", "fsdp")


LAYOUTS = [
    ("8 devices, P(fsdp, -)", ONE, P("fsdp", None)),
    ("8 devices, P(-, fsdp)", ONE, P(None, "fsdp")),
    ("8 devices, replicated", ONE, P()),
    ("4 x 2, P(fsdp, tp)", TWO, P("fsdp", "tp")),
    ("4 x 2, Megatron", TWO, megatron),
    ("4 x 2, P((fsdp, tp), -)", TWO, P(("fsdp", "tp"), None)),
    ("4 x 2, P(-, fsdp)", TWO, P(None, "fsdp")),
]


def mesh_of(layout, kind):
    shape, names = layout
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


def row(name, how, tx, params):
    compiled = models.lower(tx, params).compile()
    found = census(compiled)
    kinds = "; ".join(f"{n} {kind}" for kind, (n, _) in sorted(found.collectives.items())) or "none"
    size = 4 * models.elements(params) / 8
    return {
        "layout": name,
        "shardings": how,
        "collectives": kinds,
        "MB": found.nbytes / 1e6,
        "of 2P/D": found.nbytes / (2 * size),
        "FLOPs of plain/8": found.flops / (models.plain(params) / 8),
        "temp of P/D": compiled.memory_analysis().temp_size_in_bytes / size,
    }


def layouts(layers=12, width=768):
    rows = []
    for name, shape, spec in LAYOUTS:
        for how, kind in (("known", AxisType.Explicit), ("Auto, no specs", AxisType.Auto)):
            params, leaves = models.gpt(layers, width, mesh_of(shape, kind), spec)
            rows.append(row(name, how, om.muon(0.02, leaves=leaves), params))
            print(rows[-1], flush=True)
    params, leaves = models.gpt(layers, width, mesh_of(TWO, AxisType.Auto), P(None, "fsdp"))
    tx = om.muon(0.02, leaves=leaves, placement=om.OverMesh(axes="fsdp"))
    rows.append(row("4 x 2, P(-, fsdp)", "Auto, no specs, axes=fsdp", tx, params))
    stacked = {"w": jax.ShapeDtypeStruct((16, width, width), "float32")}
    for how, kind in (("known", AxisType.Explicit), ("Auto, no specs", AxisType.Auto)):
        for name, shape, spec in (
            ("8 devices", ONE, P("fsdp")),
            ("4 x 2", TWO, P(("fsdp", "tp"))),
            ("4 x 2", TWO, P("fsdp")),
        ):
            sharding = jax.sharding.NamedSharding(mesh_of(shape, kind), spec)
            params = {"w": jax.ShapeDtypeStruct(stacked["w"].shape, "float32", sharding=sharding)}
            tx = om.muon(0.02, leaves={"w": om.Leaf("hidden", 1, 2)})
            entry = row(f"{name}, stack {spec}", how, tx, params)
            rows.append(entry | {"FLOPs of plain/8": "-"})
    return rows


ASKED = "Auto, no specs, ask_partitioner"


def asked(layers=12, width=768):
    """Rows of an Auto mesh whose partitioner tells the shardings."""
    rows = []
    for name, shape, spec in LAYOUTS:
        if name in ("8 devices, P(fsdp, -)", "8 devices, replicated", "4 x 2, Megatron"):
            params, leaves = models.gpt(layers, width, mesh_of(shape, AxisType.Auto), spec)
            tx = om.muon(0.02, leaves=leaves, placement=om.OverMesh(ask_partitioner=True))
            rows.append(row(name, ASKED, tx, params))
            print(rows[-1], flush=True)
    return rows


def peer(layers=12, width=768):
    params, _ = models.gpt(layers, width, mesh_of(ONE, AxisType.Auto), P("fsdp", None))
    return row("8 devices, P(fsdp, -)", "optax.contrib.muon, Auto", optax.contrib.muon(0.02), params)


def memory(layers=32, width=256, max_bytes=8 << 20):
    rows = []
    for limit in (max_bytes, 2 * max_bytes, 1 << 30):
        params, leaves = models.gpt(layers, width, mesh_of(ONE, AxisType.Explicit), P("fsdp", None))
        tx = om.muon(0.02, leaves=leaves, placement=om.OverMesh(max_bytes=limit))
        compiled = models.lower(tx, params, donate=True).compile()
        analysis, found = compiled.memory_analysis(), census(compiled)
        rows.append(
            {
                "max_bytes MB": limit / 1e6,
                "temp MB": analysis.temp_size_in_bytes / 1e6,
                "temp of max_bytes": analysis.temp_size_in_bytes / limit,
                "P/D MB": 4 * models.elements(params) / 8e6,
                "collectives": str({kind: n for kind, (n, _) in found.collectives.items()}),
                "aliased MB": analysis.alias_size_in_bytes / 1e6,
            }
        )
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    if "--memory" in sys.argv:
        record.write(
            "mesh_memory", "128 matrices on 8 devices, P(fsdp, -), donated: temporary memory per device", memory()
        )
    else:
        if "--asked" in sys.argv:
            rows = [x for x in record.known("mesh") if x["shardings"] != ASKED] + asked()
        else:
            rows = layouts() + asked() + ([peer()] if "--peer" in sys.argv else [])
        note = "Collectives, bytes (of results) and FLOPs (loops times trips) from compiled HLO, per device."
        record.write("mesh", "GPT-2 small's matrices (12 layers, d 768) on 8 devices, one update", rows, note)
