"""The tables and the iterations: scalar images, accuracy on hard spectra, FLOPs and time on this machine.

Run: python -m tests.benchmarks.orthogonalization [tables] [images] [accuracy] [time]
"""

import datetime
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from optax_muon import linalg
from tests.benchmarks import record
from tests.linalg.spectra import hard

DATE = f"Measured {datetime.date.today()}. "
NANOGPT, EIGHT = linalg.POLAR_EXPRESS_NANOGPT_2025, linalg.POLAR_EXPRESS_PAPER_2025.with_safety(1.01)
ARITHMETICS = (
    linalg.FLOAT32,
    linalg.Arithmetic(precision=jax.lax.Precision.HIGH),
    linalg.FLOAT16,
    linalg.BFLOAT16,
)
SPECTRA = ("gaussian", "decay to 1e-3", "decay to 1e-5", "half zero", "rank 2", "1 over 0.03", "4 over 0.001")


def image_lines():
    """Lines of the table of images in docs/orthogonalization.md."""
    for table in linalg.TABLES:
        spans = ["{:.3f} to {:.3f}".format(*table.image(lower)) for lower in (1e-2, 1e-3)]
        numbers = f"{table.steps} | {table.degree} | {table.safety:g} | {table.slope:.0f}"
        yield f"| `{table.name}` | {numbers} | {spans[0]} | {spans[1]} |"


def restart_lines():
    """Lines of its table of restarts: after which steps, and the FLOPs of plain at four times as long as wide."""
    for table in linalg.TABLES:
        yield f"| `{table.name}` | " + " | ".join(restarts(table, arithmetic) for arithmetic in ARITHMETICS) + " |"


def restarts(table, arithmetic):
    """One cell."""
    room = table.survives(arithmetic.significand_bits or 8)
    op = linalg.GramNewtonSchulz(table if room else table.with_safety(1.01), arithmetic=arithmetic)
    where = "plain" if len(op.restarts_used) == table.steps - 1 else ", ".join(map(str, op.restarts_used)) or "none"
    return f"{where} ({op.flops(256, 1024) / op.plain.flops(256, 1024):.2f})" + ("" if room else " *")


def images(panels=9, columns=3):
    """One plot per table: the image of normalised singular values on a log axis."""
    folder = record.RECORDS / "orthogonalization"
    folder.mkdir(parents=True, exist_ok=True)
    s = np.geomspace(1e-5, 1, 4001)
    for part in range(0, len(linalg.TABLES), panels):
        tables = linalg.TABLES[part : part + panels]
        rows = -(-len(tables) // columns)
        size = {"figsize": (12, 3.2 * rows), "sharex": True, "sharey": True, "layout": "constrained"}
        figure, axes = plt.subplots(rows, columns, **size)
        for axis in axes.flat:
            axis.set_visible(False)
        for axis, table in zip(axes.flat, tables, strict=False):
            draw(axis, table, s)
        for axis in axes[:, 0]:
            axis.set_ylabel("image")
        figure.savefig(folder / f"images-{part // panels + 1}.png", dpi=110)
        plt.close(figure)


def draw(axis, table, s):
    """Draw one panel."""
    axis.set_visible(True)
    axis.axhline(1, color="0.6", linewidth=0.8, linestyle="--")
    for lower, color in ((1e-3, "#dbe9f6"), (1e-2, "#a9cbe8")):
        axis.fill_between([lower, 1], *table.image(lower), color=color, linewidth=0)
    axis.plot(s, table.scalar(s), color="#12395b", linewidth=1.2)
    low, high = table.image(1e-2)
    axis.set(xscale="log", xlim=(1e-5, 1), ylim=(0, 1.35))
    axis.tick_params(labelbottom=True)
    axis.set_title(
        f"{table.name}\n{table.steps} of degree {table.degree}; [0.01, 1] to [{low:.3f}, {high:.3f}]", fontsize=9
    )
    axis.set_xlabel("singular value / norm", fontsize=8)


def variants():
    """Name -> map, every table in float32 and the default in other arithmetics."""
    table = {f"plain, {t.name}": linalg.NewtonSchulz(t) for t in linalg.TABLES}
    high = linalg.Schatten4()
    return table | {
        "plain, default, Schatten-4": linalg.NewtonSchulz(normalize=high),
        "plain, default, bf16": linalg.NewtonSchulz(arithmetic=linalg.BFLOAT16),
        "plain, default, f16": linalg.NewtonSchulz(arithmetic=linalg.FLOAT16),
        "Gram, default": linalg.GramNewtonSchulz(),
        "Gram, default, f16": linalg.GramNewtonSchulz(arithmetic=linalg.FLOAT16),
        "Gram, 8 steps with safety": linalg.GramNewtonSchulz(EIGHT),
        "Gram, 8 steps with safety, bf16": linalg.GramNewtonSchulz(EIGHT, arithmetic=linalg.BFLOAT16),
        "SVDPolar": linalg.SVDPolar(),
        "QDWHPolar": linalg.QDWHPolar(),
    }


def accuracy(m=256, n=640):
    """Distance to the polar factor over the rank, and the largest singular value of the result."""
    cases = {name: x for name, x in hard(m, n).items() if name in SPECTRA}
    x = jnp.asarray(np.stack(list(cases.values())), jnp.float32)
    u, s, vh = np.linalg.svd(np.stack(list(cases.values())), full_matrices=False)
    kept = s > 1e-12 * s[:, :1]
    exact = (u * kept[:, None]) @ vh
    rows = []
    for name, op in variants().items():
        y = np.asarray(jax.jit(op.apply)(x), np.float64)
        error = np.linalg.norm(y - exact, axis=(1, 2)) / np.sqrt(kept.sum(-1))
        top = np.linalg.svd(y, compute_uv=False)[:, 0].max()
        flops = op.flops(m, n) / (2 * m**3) if hasattr(op, "flops") else "-"
        rows.append(
            {"map": name, **dict(zip(cases, map(float, error), strict=True)), "top": float(top), "MACs/m^3": flops}
        )
        print(rows[-1], flush=True)
    return rows


def timed(shape, names, rounds=9):
    """Seconds and ratios to the plain iteration, interleaved; the first round is not counted."""
    ops = {name: jax.jit({**variants(), "best, default": linalg.best()}[name].apply) for name in names}
    x = jax.random.normal(jax.random.key(0), shape)
    times = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name, op in ops.items():
            start = time.perf_counter()
            jax.block_until_ready(op(x))
            times[name].append(time.perf_counter() - start)
    plain = statistics.median(times[names[0]][1:])
    return [
        {
            "shape": f"{shape[0]} x {shape[1]}",
            "map": name,
            "median s": statistics.median(taken[1:]),
            "of plain": statistics.median(taken[1:]) / plain,
            "FLOPs of plain": flops_ratio(name, names[0], shape),
        }
        for name, taken in times.items()
    ]


def flops_ratio(name, plain, shape):
    """FLOPs of one variant over another's; a dash where they are not products alone."""
    ops = {**variants(), "best, default": linalg.best()}
    return ops[name].flops(*shape) / ops[plain].flops(*shape) if hasattr(ops[name], "flops") else "-"


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["tables", "images", "accuracy", "time"]
    if "tables" in chosen:
        print("\n".join([*image_lines(), *restart_lines()]))
    if "images" in chosen:
        images()
    if "accuracy" in chosen:
        title = "Relative distance to the polar factor over the rank, 256 x 640; largest singular value; products"
        record.write("orthogonalization_accuracy", title, accuracy(), DATE + "Float32 unless said.")
    if "time" in chosen:
        plain = f"plain, {NANOGPT.name}"
        few = [plain, "best, default", "plain, default, Schatten-4", f"plain, {linalg.CUBIC_2026.name}"]
        rows = timed((1024, 4096), few) + timed((1024, 2048), few) + timed((1024, 1024), few)
        rows += timed((512, 2048), [*few, "SVDPolar", "QDWHPolar"], rounds=5)
        notes = DATE + "Float32, two cores shared with other work: interleaved medians, so trust the ratios alone."
        record.write("orthogonalization_time", "Time of one matrix on this machine", rows, notes)
