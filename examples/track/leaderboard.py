"""Make the leaderboard, its plots, its claims and the table on choosing from the records.

    python examples/track/leaderboard.py

Every record under docs/records/track is a row; the pages say what is significant and what is a tie. The records of
`study.py` become the tables and figures of their own page.
"""

import json
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from track import tables
from track.results import RECORDS, ROOT, Rows, claims, records
from track.significance import LEVEL, Claim
from track.studies import STUDIES

PAGE, README, CHOOSING = ROOT / "docs/leaderboard.md", ROOT / "README.md", ROOT / "docs/choosing.md"
STUDIED, STUDY_PAGE = ROOT / "docs/records/studies", ROOT / "docs/studies.md"
MARKS = "<!-- {} -->", "<!-- end of {} -->"


def page(found: dict[str, Rows]) -> str:
    """Write the leaderboard of every preset, between marks of the page."""
    made = claims(found)
    return "\n".join(_of_preset(name, rows, made[name]) for name, rows in found.items()) or "No record stands yet.\n"


def _of_preset(name: str, rows: Rows, made: list[Claim]) -> str:
    settings = next(iter(rows.values()))["preset"]
    return (
        f"## {name}\n\nTarget: validation loss {settings['target']} nats a token; {settings['layers']} layers of "
        f"width {settings['width']}, {settings['batch']} sequences of {settings['context']} tokens in a step. "
        f"{_said(made)}\n\n{tables.leaderboard(rows, made)}\n![steps](records/track/{name}/steps.png)\n"
    )


def _said(made: list[Claim]) -> str:
    aims = [
        f"- {claim.faster} needs at most {claim.share} of {claim.slower}'s steps: "
        f"{'it stands' if claim.holds else 'not shown'} (p = {claim.p:.2g})"
        for claim in made
        if claim.share != 1.0
    ]
    if not made:
        return "No claim is made."
    said = (
        f"{sum(claim.holds for claim in made)} of {len(made)} claims stand at p < {LEVEL} after Holm's correction; "
        "the others are ties."
    )
    return "\n".join([said + " The aims:", "", *aims]) if aims else said


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


def pages() -> dict[pathlib.Path, str]:
    """Give every page with what the records say."""
    found = records()
    made, shown = claims(found), {PAGE: page(found)}
    for name, rows in found.items():
        if name == "two-cores-shakespeare":
            shown |= {README: tables.leaderboard(rows, made[name]), CHOOSING: tables.choice(rows, made[name])}
    written = {path: between(path.read_text(), new) for path, new in shown.items()}
    return {**written, STUDY_PAGE: studied(STUDY_PAGE.read_text())}


def main() -> None:
    for name, rows in study_rows().items():
        STUDIES[name].picture(rows).savefig(STUDIED / f"{name}.png", dpi=130)
    for name, rows in records().items():
        tables.picture(rows, name).savefig(RECORDS / name / "steps.png", dpi=130)
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
