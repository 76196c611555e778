"""The records of the track, and the claims that can be made from them."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from track.significance import Claim, claimed, corrected

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDS = ROOT / "docs/records/track"
BASE = ("adamw", "muon")  # whom the others are compared with
TUNED = " (tuned)"  # ends the rows of the second division

Rows = dict[str, dict[str, Any]]


def records(folder: pathlib.Path = RECORDS) -> dict[str, Rows]:
    """Read preset -> row -> record; rows of the second division end in `TUNED`.

    Raises:
        ValueError: for records of one preset whose settings or texts differ, naming the file.
    """
    found: dict[str, Rows] = {}
    for file in sorted(folder.glob("*/*.json")):
        record, rows = json.loads(file.read_text()), found.setdefault(file.parent.name, {})
        for other in list(rows.values())[:1]:
            for what in ("preset", "digest"):
                if record[what] != other[what]:
                    raise ValueError(f"{file}: its {what} is not that of the other records; run it again on theirs")
        rows[record["contestant"] + (TUNED if record["division"] == 2 else "")] = record
    return found


def steps_of(record: dict[str, Any]) -> list[float | None]:
    """Steps of every run that counts."""
    return [run["steps"] for run in record["runs"]]


def mean_of(record: dict[str, Any]) -> float | None:
    """Mean steps; none is claimed where a run was censored."""
    taken = steps_of(record)
    return None if None in taken else float(np.mean(np.asarray(taken, float)))


def error_of(record: dict[str, Any]) -> float:
    """Give the standard error of the mean steps."""
    taken = np.asarray(steps_of(record), float)
    return float(np.std(taken, ddof=1) / len(taken) ** 0.5)


def second_division(rows: Rows) -> Rows:
    """Give the rows of the second division."""
    return {name: record for name, record in rows.items() if name.endswith(TUNED)}


def claims(found: dict[str, Rows]) -> dict[str, list[Claim]]:
    """Every claim that the pages make, by preset, all corrected together.

    Whoever has the smaller mean needs fewer steps, for everybody and AdamW, and everybody and Muon. And the two aims:
    Muon needs at most 0.6 of AdamW's steps, and the fastest at most 0.8 of Muon's. Once for all rows and the two of the
    first division, and once within the second.
    """
    made = {
        name: claimed({row: steps_of(record) for row, record in rows.items()}, _pairs(rows))
        for name, rows in found.items()
    }
    judged = iter(corrected([claim for of_preset in made.values() for claim in of_preset]))
    return {name: [next(judged) for _ in of_preset] for name, of_preset in made.items()}


def _pairs(rows: Rows) -> list[tuple[str, str, float]]:
    means = {name: mean for name, record in rows.items() if (mean := mean_of(record)) is not None}
    within = {name: means[name] for name in second_division(rows) if name in means}
    # Two muons and AdamWs meet more than once, and once is enough.
    return list(dict.fromkeys([*_beside(means, *BASE), *_beside(within, *(base + TUNED for base in BASE))]))


def _beside(means: Mapping[str, float], adamw: str, muon: str) -> list[tuple[str, str, float]]:
    bases = [base for base in (adamw, muon) if base in means]
    apart = [sorted((name, base), key=means.__getitem__) for base in bases for name in means if name != base]
    fastest = min(means, key=means.__getitem__, default="")
    aims = [(muon, adamw, 0.6), (fastest, muon, 0.8)]
    wanted = [aim for aim in aims if {*aim[:2]} <= {*means} and aim[0] != aim[1]]
    return [*((faster, slower, 1.0) for faster, slower in apart), *wanted]
