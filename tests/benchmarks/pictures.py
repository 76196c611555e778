"""Pictures of docs/sharding.md: drawn from the planner itself and from the records.

Run: python -m tests.benchmarks.pictures
"""

import json

import jax
import matplotlib.pyplot as plt
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.placement._placement import Work
from optax_muon.placement._sharding import find_layout
from tests.benchmarks import models
from tests.benchmarks.record import RECORDS

COLOURS = {(768, 3072): "#4c72b0", (768, 2304): "#dd8452", (768, 768): "#55a868"}


def schedule(layers, width, devices):
    params, _ = models.gpt(layers, width, jax.sharding.AbstractMesh((devices,), ("fsdp",)), P("fsdp", None))
    leaf, arrays = om.Leaf("hidden", 0, 1), jax.tree.leaves(params)
    works = [Work(x, leaf, path=str(i)) for i, x in enumerate(arrays)]
    layouts = [find_layout(x, leaf) for x in arrays]
    return om.OverMesh().schedule(om.linalg.best(), works, layouts)[0]


def plan(path):
    """Which device computes which matrix, run by run; the area is the work."""
    (group,) = schedule(12, 768, 8).groups
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    at, labelled = 0.0, set()
    for run in group.rounds[0]:
        width, device = om.linalg.best().flops(*run.shape) / 1e9, 0
        for part in run.parts:
            for _ in range(part.start, part.stop):
                shape = part.item.kind.shape
                name = None if shape in labelled else f"{shape[0]} x {shape[1]}"
                labelled.add(shape)
                style = {
                    "color": COLOURS[shape],
                    "edgecolor": "white",
                    "hatch": "///" if part.item.kind.turned else None,
                }
                axes.barh(device, width, left=at, height=0.9, label=name, **style)
                device += 1
        axes.text(at + width / 2, -0.85, f"run of {run.shape[1]}", ha="center", fontsize=8)
        at += width
    axes.set(xlabel="GFLOP on each device, one run after another", ylabel="device", ylim=(7.7, -1.3))
    axes.set_title(
        "48 matrices on 8 devices: sorted by shape, cut into runs of eight (hatched: computed transposed)", fontsize=10
    )
    axes.set_yticks(range(8))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def exchange(path, devices=4):
    """Where the rows of four matrices are: cut over devices, whole on their owners, in teams of two."""
    colours = plt.get_cmap("tab10").colors
    schemes = {
        "before and after: every device\nholds a part of every matrix": lambda d: [(j, d, 1, 0) for j in range(4)],
        "in between: every device\nowns a whole matrix": lambda d: [(d, j, 1, 0) for j in range(4)],
        "two matrices: teams of two,\nhalf of the columns each": lambda d: [(d // 2, j, 0.5, d % 2) for j in range(4)],
        "split over a batch axis:\nnothing travels": lambda d: [(d, j, 1, 0) for j in range(4)],
    }
    figure, panels = plt.subplots(1, len(schemes), figsize=(11, 3.2), layout="constrained")
    for axes, (title, pieces) in zip(panels, schemes.items(), strict=True):
        for d in range(devices):
            axes.text(1.2 * d + 0.5, -0.35, f"device {d}", ha="center", fontsize=7)
            for place, (matrix, part, width, offset) in enumerate(pieces(d)):
                shade = (*colours[matrix], 0.4 + 0.2 * part)
                box = plt.Rectangle((1.2 * d + 0.5 * offset, place), width, 0.92, facecolor=shade, edgecolor="white")
                axes.add_patch(box)
                middle = (1.2 * d + 0.5 * offset + width / 2, place + 0.46)
                axes.text(*middle, f"{'ABCD'[matrix]}{part}", ha="center", va="center", fontsize=7)
        axes.set(xlim=(-0.1, 1.2 * devices), ylim=(4.1, -0.6))
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    figure.savefig(path, dpi=150)


def traffic(path):
    """Bytes of the collectives by layout, against the bound."""
    rows = json.loads((RECORDS / "mesh" / "record.json").read_text())["rows"]
    rows = [row for row in rows if "stack" not in row["layout"] and "axes" not in row["shardings"]]
    layouts = [*dict.fromkeys(row["layout"] for row in rows)]
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    for i, (how, colour) in enumerate({"known": "#4c72b0", "Auto, no specs": "#dd8452"}.items()):
        mine = {row["layout"]: row for row in rows if row["shardings"] == how}
        places = [y + 0.4 * i for y in range(len(layouts))]
        axes.barh(places, [mine[name]["MB"] for name in layouts], height=0.38, color=colour, label=f"optax_muon, {how}")
        for y, name in zip(places, layouts, strict=True):
            axes.text(mine[name]["MB"] * 1.03, y, mine[name]["collectives"], va="center", fontsize=7)
    peer = [row for row in rows if row["shardings"].startswith("optax")]
    for row in peer:
        axes.barh(-0.4, row["MB"], height=0.38, color="#999999", label="optax.contrib.muon, Auto")
        axes.text(row["MB"] * 0.97, -0.4, row["collectives"], va="center", ha="right", fontsize=7)
    bound = rows[0]["MB"] / rows[0]["of 2P/D"]
    axes.axvline(bound, color="black", linestyle=":", linewidth=1, label="2P/D")
    axes.set(xscale="log", xlabel="MB per device and update, log scale", xlim=(50, 6000))
    axes.set_yticks([y + 0.2 for y in range(len(layouts))], layouts, fontsize=8)
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    exchange(RECORDS / "mesh" / "exchange.png")
    plan(RECORDS / "mesh" / "plan.png")
    traffic(RECORDS / "mesh" / "bytes.png")
