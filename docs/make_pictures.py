"""Draws the pictures of the landing page and of the architecture page.

Run after changing one: python docs/make_pictures.py
"""

import pathlib
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

HERE = pathlib.Path(__file__).parent / "pictures"
INK, PALE, LINE = "#1f2933", "#f3f5f8", "#8a94a6"
BLUE, SAND = "#2f6fb7", "#b7791f"
MATRICES = {"A": "#2f6fb7", "B": "#6aa9e0", "C": "#c2571a", "D": "#eba15f"}
DEVICES = 4


def canvas(width: float, height: float) -> tuple[Any, Any]:
    """Make a picture whose unit is an inch."""
    figure = plt.figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def box(axes: Any, x: float, y: float, width: float, height: float, text: str, fill: str, **kwargs: Any) -> None:
    """Draw a box with its text in the middle."""
    style = {"boxstyle": "round,pad=0,rounding_size=0.07", "facecolor": fill, "edgecolor": "none"}
    axes.add_patch(FancyBboxPatch((x, y), width, height, **style))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", **({"color": INK, "fontsize": 9} | kwargs))


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], color: str = LINE, **kwargs: Any) -> None:
    """Draw an arrow."""
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "color": color, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, **(style | kwargs)))


def save(figure: Any, name: str) -> None:
    """Write the picture, the same bytes for the same drawing."""
    HERE.mkdir(exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = name
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def overview() -> None:
    """Draw a model's parameters on their way to two optimizers."""
    figure, axes = canvas(6.4, 2.8)
    rows = [("embed/embedding", SAND), ("attention/query/kernel", BLUE), ("mlp/up/kernel", BLUE),
            ("mlp/up/bias", SAND), ("mlp/down/kernel", BLUE), ("lm_head/kernel", SAND)]  # fmt: skip
    for i, (name, color) in enumerate(rows):
        y = 2.34 - 0.36 * i
        axes.add_patch(Rectangle((0.1, y - 0.12), 0.07, 0.24, color=color))
        axes.text(0.25, y, name, va="center", fontsize=9, color=INK, family="monospace")
        target = (2.6, 1.73) if color == BLUE else (2.6, 0.38)
        arrow(axes, (2.05, y), target, color, alpha=0.55, connectionstyle="arc3,rad=0")
    axes.text(0.1, 2.66, "parameters, by role", fontsize=9, color=LINE, va="center")
    axes.text(2.65, 2.66, "hidden matrices: one chain", fontsize=9, color=BLUE, va="center")
    axes.add_patch(
        FancyBboxPatch((2.65, 1.05), 3.65, 1.36, boxstyle="round,pad=0,rounding_size=0.07", fc=PALE, ec="none")
    )
    stages = [("momentum", 0.78), ("map", 0.92), ("shape\nscale", 0.55), ("decay", 0.5), ("rate", 0.42)]
    x = 2.74
    for name, width in stages:
        box(
            axes,
            x,
            1.15,
            width,
            1.16,
            "" if name == "map" else name,
            "#dbe8f6" if name == "map" else "white",
            fontsize=8.5,
        )
        if name == "map":
            spectra(axes, x, 1.15, width)
        x += width + 0.08
    axes.text(2.65, 0.84, "everything else", fontsize=9, color=SAND, va="center")
    box(axes, 2.65, 0.1, 3.65, 0.55, "AdamW, or the optimizer you have", "#f7ead4")
    save(figure, "overview")


def spectra(axes: Any, x: float, y: float, width: float) -> None:
    """Draw singular values before and after the map."""
    before = np.array([1.0, 0.62, 0.36, 0.2, 0.1, 0.05])
    for side, values in enumerate([before, np.ones(6)]):
        for i, value in enumerate(values):
            left = x + 0.07 + side * (width / 2) + i * 0.055
            axes.add_patch(Rectangle((left, y + 0.4), 0.042, 0.62 * value, color=BLUE if side else LINE))
    arrow(axes, (x + 0.4, y + 0.71), (x + 0.53, y + 0.71), INK, mutation_scale=6)
    axes.text(x + width / 2, y + 0.2, "orthogonalise", ha="center", va="center", fontsize=8.5, color=INK)


def layers() -> None:
    """Draw the rooms of the package; each imports from those below it alone."""
    figure, axes = canvas(5.6, 4.3)
    floors = [
        [("optimizers", "one paper, one file:\na card and a chain", 0.1, 3.1), ("diagnostics", "", 3.3, 1.8)],
        [("transforms", "one kind of state each;\n_lift.py: trees to matrices", 0.1, 3.1), ("workers", "", 3.3, 1.8)],
        [("placement", "on which device, in which order;\nbuckets, exchange", 0.1, 5.0)],
        [("matrices", "which array is which matrix:\nroles, axes, partition, Flax", 0.1, 5.0)],
        [("norms", "value, dual, oracle", 0.1, 3.0), ("shapes", "", 3.2, 1.9)],
        [("linalg", "arrays alone, (*batch, m, n) to (*batch, m, n):\northogonal, spectral, subspace", 0.1, 5.0)],
    ]
    colors = ["#dbe8f6", "#e6eef8", "#fbeedb", "#fbeedb", "#e9f2e6", "#dcecd6"]
    for i, (floor, color) in enumerate(zip(floors, colors, strict=True)):
        y = 3.62 - 0.7 * i
        for name, about, x, width in floor:
            box(axes, x, y, width, 0.6, "", color)
            axes.text(x + 0.12, y + 0.3, name, va="center", fontsize=10, color=INK, weight="bold")
            if width > 2:
                axes.text(x + 1.15, y + 0.3, about, va="center", fontsize=8.5, color=INK)
    arrow(axes, (5.32, 4.2), (5.32, 0.14), INK)
    axes.text(5.45, 2.15, "imports", rotation=270, va="center", ha="center", fontsize=9, color=INK)
    save(figure, "layers")


def tile(axes: Any, name: str, x: float, y: float, number: int | None, unit: float) -> None:
    """Draw rows of one matrix: all of them, or those that device ``number`` holds. Axes: (rows, columns)."""
    rows, columns = (8, 32) if name in "AB" else (32, 8)
    share = rows // DEVICES
    shown = range(DEVICES) if number is None else [number]
    for place, k in enumerate(shown):
        top = y - (place + 1) * share * unit
        axes.add_patch(
            Rectangle((x, top), columns * unit, share * unit, facecolor=MATRICES[name], edgecolor="white", lw=0.8)
        )
        if number is not None:
            axes.text(
                x + columns * unit / 2,
                top + share * unit / 2,
                f"{name}{k}",
                ha="center",
                va="center",
                fontsize=7,
                color="white",
            )


def exchange() -> None:
    """Draw four matrices on four devices: tiles, the way out, a run, the way back."""
    figure, axes = canvas(5.6, 4.85)
    unit, left, width = 0.026, 1.02, 1.12
    for d in range(DEVICES):
        axes.text(left + d * width + 0.48, 4.68, f"device {d}", ha="center", fontsize=9, color=INK)
        axes.add_patch(Rectangle((left + d * width - 0.02, 0.1), 1.0, 4.48, facecolor=PALE, edgecolor="none"))
    steps = [
        (4.14, "sharded", "one tile of\nevery matrix"),
        (2.82, "arrived", "all tiles of\none matrix"),
        (1.78, "computed", "one run: four\nwhole matrices"),
        (0.62, "returned", "one tile of\nevery result"),
    ]
    for y, name, about in steps:
        axes.text(0.06, y + 0.14, name, fontsize=9.5, weight="bold", color=INK, va="center")
        axes.text(0.06, y - 0.13, about, fontsize=8, color=INK, va="center")
    for d in range(DEVICES):
        x = left + d * width + 0.06
        for y in (4.48, 0.97):
            own(axes, x, y, d, unit)
        name = "ABCD"[d]
        tile(axes, name, x if name in "AB" else x + 0.31, 3.25 if name in "CD" else 2.94, None, unit)
        axes.add_patch(Rectangle((x, 1.68), 32 * unit, 8 * unit, facecolor=MATRICES[name], edgecolor=INK, lw=1))
        axes.text(
            x + 16 * unit,
            1.68 + 4 * unit,
            f"orth({name}ᵀ)" if name in "CD" else f"orth({name})",
            ha="center",
            va="center",
            fontsize=8,
            color="white",
        )
        arrow(axes, (left + d * width + 0.48, 2.32), (left + d * width + 0.48, 1.98), INK)
    for y, text in (
        (3.46, "all-to-all: every device sends 4 tiles of 64 floats, 1024 bytes"),
        (1.33, "all-to-all back: the same again"),
    ):
        box(axes, left - 0.02, y - 0.1, 4.36, 0.22, text, "#d9dee7", fontsize=8)
    save(figure, "exchange")


def own(axes: Any, x: float, y: float, device: int, unit: float) -> None:
    """Draw the tiles that a device holds: two of (2, 32), two of (8, 8), 64 numbers each."""
    for name, dx, dy in (("A", 0, 0), ("B", 0, 0.2), ("C", 0.08, 0.42), ("D", 0.52, 0.42)):
        tall = 3 if name in "AB" else 1  # drawn three times as high as it is, for the letters
        rows, columns = (2 * tall, 32) if name in "AB" else (8, 8)
        axes.add_patch(
            Rectangle(
                (x + dx, y - dy - rows * unit),
                columns * unit,
                rows * unit,
                facecolor=MATRICES[name],
                edgecolor="white",
                lw=0.8,
            )
        )
        axes.text(
            x + dx + columns * unit / 2,
            y - dy - rows * unit / 2,
            f"{name}{device}",
            ha="center",
            va="center",
            fontsize=7.5,
            color="white",
        )


def places() -> None:
    """Draw remainders that share one row of places."""
    figure, axes = canvas(5.6, 1.75)
    for row, (y, label, held) in enumerate([(1.22, "apart", ["AB", "CD"]), (0.35, "together", ["ABCD"])]):
        axes.text(0.06, y, label, fontsize=9.5, weight="bold", color=INK, va="center")
        for s, names in enumerate(held):
            for p in range(DEVICES):
                x = 1.02 + 2.3 * s + 0.52 * p
                name = names[p] if p < len(names) else None
                box(
                    axes,
                    x,
                    y - 0.2,
                    0.46,
                    0.4,
                    name or "0",
                    MATRICES[name] if name else PALE,
                    color="white" if name else LINE,
                )
        if row:
            axes.text(3.3, y, "no device is idle", fontsize=8.5, color=INK, va="center")
    axes.text(1.02, 1.6, "places 0 to 3", fontsize=8, color=LINE, va="center")
    axes.text(3.32, 1.6, "places 0 to 3", fontsize=8, color=LINE, va="center")
    save(figure, "places")


if __name__ == "__main__":
    mpl.use("svg")
    overview()
    layers()
    exchange()
    places()
