"""Writes docs/coverage.md from docs/coverage.csv, one row for every algorithm and experiment of the literature.

Run after a row was added: python docs/make_coverage.py
"""

import csv
import pathlib

HERE = pathlib.Path(__file__).parent
INTRODUCTION = """# The literature covered

Algorithms and experiments of the Muon literature that are here, one row each. *Name* is the public one: an optimizer
of [the zoo](zoo.md), a part under its module, or a script that repeats an experiment. *Confidence* says how surely the
rule or the setting is known: EXACT where it was read, PARTIAL where pieces were not, OUR READING where only an abstract
was found. *Test* holds it to its paper. *Record* is what was measured: in [the comparison](comparison.md) of all
optimizers, or in an experiment with a verdict of its own on [the page of experiments](paper.md). This page is
generated from `docs/coverage.csv`: `python docs/make_coverage.py`.

| system | paper | name | confidence | test | record |
|---|---|---|---|---|---|
"""


def rows() -> list[dict[str, str]]:
    """Read the table."""
    with (HERE / "coverage.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def line(row: dict[str, str]) -> str:
    """Draw one row."""
    arxiv = row["paper"][:4].isdigit()
    link = f"https://arxiv.org/abs/{row['paper']}" if arxiv else f"https://{row['paper']}"
    record = f"`{row['record'].removesuffix('/record.json')}`"
    cells = (
        row["system"],
        f"[{row['paper']}]({link})",
        f"`{row['name']}`",
        row["confidence"],
        f"`{row['test']}`",
        record,
    )
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """Draw the page."""
    return INTRODUCTION + "\n".join(line(row) for row in rows()) + "\n"


if __name__ == "__main__":
    (HERE / "coverage.md").write_text(page())
