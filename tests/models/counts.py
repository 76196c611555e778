"""Write the counts of the page on any model anew from the record, or the record from those of single projects.

python -m tests.models.counts [--records FOLDER]
"""

import argparse
import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.models.known import FROZEN
from tests.models.measure import OUTCOMES, WAYS

DOCS = pathlib.Path(__file__).parents[2] / "docs"
RECORD, PAGE = DOCS / "records" / "models" / "record.json", DOCS / "any-model.md"
Record = Mapping[str, Mapping[str, Any]]


def table(record: Record) -> list[str]:
    """Lines of the page: right / raised / warned / wrong by project and way."""
    projects = sorted({name.split("/")[0] for name in record})
    rows = [(project, [name for name in record if name.startswith(f"{project}/")]) for project in projects]
    rows += [("all", list(record)), ("the 20 frozen", [name for name in record if name in FROZEN])]
    lines = [f"| project | models | {' | '.join(WAYS)} |", "|---|---|---|---|---|"]
    for title, names in rows:
        lines.append(f"| {title} | {len(names)} | {' | '.join(counted(record, names, way) for way in WAYS)} |")
    return lines


def counted(record: Record, names: Iterable[str], way: str) -> str:
    """One cell; a dash where no model is read in that way."""
    found = [record[name][way]["outcome"] for name in names if way in record[name]]
    return " / ".join(str(found.count(outcome)) for outcome in OUTCOMES) if found else "-"


def short(model: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of one model's measurement."""
    keys = ("outcome", "leaves", "seconds")
    return {"file": model["file"]} | {
        way: {key: model[way][key] for key in keys if key in model[way]} for way in WAYS if way in model
    }


def main() -> None:
    """Rewrite the record and the table between its marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=pathlib.Path, help="folder of records, one for each project")
    arguments = parser.parse_args()
    if arguments.records:
        models: dict[str, Any] = {}
        for path in sorted(arguments.records.glob("*.json")):
            models |= json.loads(path.read_text())
        broken = {name: model["broken"] for name, model in models.items() if "broken" in model}
        assert not broken, broken
        RECORD.write_text(json.dumps({name: short(models[name]) for name in sorted(models)}, indent=1) + "\n")
    lines = "\n".join(table(json.loads(RECORD.read_text())))
    mark = r"(?s)(<!-- counts -->\n).*?(\n<!-- counts end -->)"
    PAGE.write_text(re.sub(mark, lambda found: found[1] + lines + found[2], PAGE.read_text()))


if __name__ == "__main__":
    main()
