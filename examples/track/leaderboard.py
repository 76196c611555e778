"""Make the leaderboard, its plot and its claims from the records.

    python examples/track/leaderboard.py

Every record under docs/records/track is a row; the page and the README's table say what is significant and what is a
tie. The records of `study.py` become the tables and figures of their own page.
"""

import json
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
from matplotlib.figure import Figure

from track.significance import LEVEL, Claim, judged
from track.studies import STUDIES

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDS, PAGE, README = ROOT / "docs/records/track", ROOT / "docs/leaderboard.md", ROOT / "README.md"
STUDIED, STUDY_PAGE = ROOT / "docs/records/studies", ROOT / "docs/studies.md"
MARKS = "<!-- {} -->", "<!-- end of {} -->"
BASE = ("adamw", "muon")  # whom the others are compared with


def records(folder: pathlib.Path = RECORDS) -> dict[str, dict[str, dict[str, Any]]]:
    """Read preset -> row -> record; rows of the second division end in ``(tuned)``.

    Raises:
        ValueError: for records of one preset whose settings or texts differ, naming the file.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for file in sorted(folder.glob("*/*.json")):
        record, rows = json.loads(file.read_text()), found.setdefault(file.parent.name, {})
        for other in list(rows.values())[:1]:
            for what in ("preset", "digest"):
                if record[what] != other[what]:
                    raise ValueError(f"{file}: its {what} is not that of the other records; run it again on theirs")
        rows[record["contestant"] + (" (tuned)" if record["division"] == 2 else "")] = record
    return found


def steps_of(record: dict[str, Any]) -> list[float | None]:
    """Steps of every run that counts."""
    return [run["steps"] for run in record["runs"]]


def claims(rows: dict[str, dict[str, Any]]) -> list[Claim]:
    """Every claim that the page makes: fewer steps than AdamW's, and than Muon's, whoever has a smaller mean."""
    steps = {name: steps_of(record) for name, record in rows.items()}
    means = {name: np.mean(taken) for name, taken in steps.items() if None not in taken}  # pyright: ignore
    pairs = [(name, base, 1.0) for base in BASE if base in means for name in means if means[name] < means[base]]
    return judged(steps, pairs)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Draw one preset's rows, fewest steps first."""
    held = {(claim.faster, claim.slower) for claim in claims(rows) if claim.holds}
    lines = [
        "| contestant | steps to target | of AdamW's | of Muon's | seconds | n | peak rate | schedule |",
        "|" + "---|" * 8,
    ]
    base = {name: _mean(rows[name]) for name in BASE if name in rows}
    for name in sorted(rows, key=lambda name: (_mean(rows[name]) or np.inf, name)):
        record, mean, taken = rows[name], _mean(rows[name]), steps_of(rows[name])
        if mean is None:
            reached = sum(x is not None for x in taken)
            shown, shares, seconds = f"{reached} of {len(taken)} reached it", ["-"] * len(BASE), "-"
        else:
            error = np.std(np.asarray(taken, float), ddof=1) / len(taken) ** 0.5
            shown, seconds = f"{mean:.0f} ± {error:.1f}", f"{np.mean([run['seconds'] for run in record['runs']]):.0f}"
            shares = [_share(name, other, mean, base, held) for other in BASE]
        tuned = record["tuned"]
        cells = [name, shown, *shares, seconds, str(len(taken)), f"{tuned['rate']:.3g}", str(tuned["horizon"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _share(name: str, other: str, mean: float, base: dict[str, float | None], held: set[tuple[str, str]]) -> str:
    reference = base.get(other)
    if reference is None or name == other:
        return "-" if reference is None else "1"
    significant = (name, other) in held or (other, name) in held
    return f"{mean / reference:.2f}" + ("" if significant or mean >= reference else " (tie)")


def _mean(record: dict[str, Any]) -> float | None:
    """Mean steps; none is claimed where a run was censored."""
    taken = steps_of(record)
    return None if None in taken else float(np.mean(np.asarray(taken, float)))


def picture(rows: dict[str, dict[str, Any]], title: str) -> Figure:
    """Draw every run, and means, the fastest at the top."""
    order = sorted((name for name in rows if _mean(rows[name]) is not None), key=lambda name: -(_mean(rows[name]) or 0))
    figure = Figure(figsize=(7, 1.2 + 0.24 * len(order)), layout="constrained")
    axes = figure.subplots()
    for at, name in enumerate(order):
        taken = np.asarray(steps_of(rows[name]), float)
        axes.plot(taken, np.full(len(taken), at), "o", ms=3, alpha=0.4, color="C0")
        axes.plot([taken.mean()], [at], "|", ms=12, color="black")
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.set(title=title, xlabel="steps to the target", ylim=(-1, len(order)))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    return figure


def page(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Write the leaderboard of every preset, between marks of the page."""
    if not found:
        return "No record stands yet.\n"
    parts = []
    for name, rows in found.items():
        settings = next(iter(rows.values()))["preset"]
        made = claims(rows)
        parts.append(
            f"## {name}\n\nTarget: validation loss {settings['target']} nats a token; {settings['layers']} layers of "
            f"width {settings['width']}, {settings['batch']} sequences of {settings['context']} tokens in a step. "
            f"{sum(claim.holds for claim in made)} of {len(made)} claims of fewer steps stand at p < {LEVEL} after "
            f"Holm's correction; the others are ties.\n\n{table(rows)}\n![steps](records/track/{name}/steps.png)\n"
        )
    return "\n".join(parts)


def between(text: str, new: str, what: str = "leaderboard") -> str:
    """Put ``new`` between the marks of a text; a text without them stays as it is."""
    begin, end = (mark.format(what) for mark in MARKS)
    if begin not in text:
        return text
    head, rest = text.split(begin)
    return head + begin + "\n\n" + new + "\n" + end + rest.split(end)[1]


def studied(text: str) -> str:
    """Write every study's table into its place on their page."""
    for name, rows in study_rows().items():
        shown = f"{STUDIES[name].table(rows)}\n![{name}](records/studies/{name}.png)\n"
        text = between(text, shown, name)
    return text


def study_rows() -> dict[str, list[dict[str, Any]]]:
    """Read the rows of every study that has a record."""
    files = {name: STUDIED / f"{name}.json" for name in STUDIES}
    return {name: json.loads(file.read_text())["rows"] for name, file in files.items() if file.exists()}


def main() -> None:
    for name, rows in study_rows().items():
        STUDIES[name].picture(rows).savefig(STUDIED / f"{name}.png", dpi=130)
    STUDY_PAGE.write_text(studied(STUDY_PAGE.read_text()))
    found = records()
    for name, rows in found.items():
        picture(rows, name).savefig(RECORDS / name / "steps.png", dpi=130)
    PAGE.write_text(between(PAGE.read_text(), page(found)))
    if found:
        first = next(iter(found.values()))
        README.write_text(between(README.read_text(), table(first)))


if __name__ == "__main__":
    main()
