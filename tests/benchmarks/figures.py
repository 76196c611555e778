"""The README's table of figures, drawn from the records.

Run after a benchmark: python -m tests.benchmarks.figures
"""

import json
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
CHIP = ("8 x (1024, 4096)", "8 x (2048, 8192)")
START, END = "<!-- figures: python -m tests.benchmarks.figures -->\n", "<!-- end of figures -->\n"


def rows(name: str) -> list[dict]:
    return json.loads((ROOT / "docs" / "records" / name / "record.json").read_text())["rows"]


def row(name: str, **values) -> dict:
    """Find the row of a record that has these values; underscores in a key stand for spaces."""
    wanted = {key.replace("_", " "): value for key, value in values.items()}
    return next(entry for entry in rows(name) if wanted.items() <= entry.items())


def table() -> str:
    ratio = "of optax.contrib.muon (median of paired ratios)"
    peer = "optax.contrib.muon"
    default = row("one_device_time", variant="muon, Jordan's table, best")[ratio]
    plain = row("one_device_time", variant="muon, Jordan's table, plain")[ratio]
    compiling = {
        name: row("compile_time", program=name, layers=48)["of optax.contrib.muon"]
        for name in ("muon, default", "muon, plain")
    }
    memory = {
        name: row("one_device_memory", variant=name, donated=False)["temp MB"] for name in ("muon, default", peer)
    }
    cut = "8 devices, P(fsdp, -)"
    known = row("mesh", layout=cut, shardings="known")
    auto = row("mesh", layout=cut, shardings="Auto, no specs")
    other = row("mesh", layout=cut, shardings="optax.contrib.muon, Auto")
    pod = row("pods", pod="v5e 8x8", program="muon, best(YOU_2025) in bf16")
    pod_peer = row("pods", pod="v5e 8x8", program=peer)
    share = "FLOPs of plain / chips"
    wide, large = (row("one_chip", matrices=name, program="om.muon") for name in CHIP)
    wide_peer = row("one_chip", matrices=CHIP[0], program=peer)
    cycles = "cycles of optax.contrib.muon's"
    lines = [
        "| | `om.muon` | `optax.contrib.muon` |",
        "|---|---|---|",
        f"| one TPU v5e chip, compiled only, the defaults: cycles of an update of 8 x 1024 x 4096 | {wide[cycles]:.2f} | 1 |",
        f"| the same of 8 x 2048 x 8192 | {large[cycles]:.2f} | 1 |",
        f"| temporary memory of the former | {wide['temp MB']:.1f} MB | {wide_peer['temp MB']:.1f} MB |",
        f"| one CPU, 48 matrices, the same five steps: time of an update | {default:.2f} ({plain:.2f} with the same plain iteration) | 1 |",
        f"| 192 matrices: CPU seconds to trace and compile | {compiling['muon, default']:.2f} "
        f"({compiling['muon, plain']:.2f} plain) | 1 |",
        f"| 8 leaves of 2048 x 6144: temporary memory | {memory['muon, default']:.0f} MB | {memory[peer]:,.0f} MB |",
        f"| GPT-2 small on 8 devices, FSDP: collectives | {known['collectives']} | {other['collectives']} |",
        f"| bytes that a device receives | {known['MB']:.0f} MB ({auto['MB']:.0f} where shardings are hidden) "
        f"| {other['MB']:,.0f} MB |",
        f"| FLOPs of a device, of an eighth of the plain iteration | {known['FLOPs of plain/8']:.2f} "
        f"| {other['FLOPs of plain/8']:.2f} |",
        f"| 64 chips of a TPU pod, compiled only: FLOPs of a chip, of its share | {pod[share]:.2f} "
        f"| {pod_peer[share]:.2f} |",
        f"| the same: CPU seconds to compile | {pod['compile CPU s']:.0f} | {pod_peer['compile CPU s']:.0f} |",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(before + START + "\n" + table() + "\n" + END + after)
