"""Records of measurements: a table on the screen, and the same with versions in docs/records/."""

import json
import pathlib
import platform
from collections.abc import Sequence

import jax
import jaxlib
import optax
from rich.console import Console
from rich.table import Table

import optax_muon as om

RECORDS = pathlib.Path(__file__).parents[2] / "docs" / "records"


def write(name: str, title: str, rows: Sequence[dict], notes: str = "") -> None:
    """Print the rows and write ``docs/records/<name>.json``; all rows have the keys of the first."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row.values()))
    Console(width=160).print(table)
    versions = {
        "optax_muon": om.__version__, "jax": jax.__version__, "jaxlib": jaxlib.__version__, "optax": optax.__version__,
        "python": platform.python_version(), "machine": f"{platform.machine()}, {jax.devices()[0].device_kind}",
    }  # fmt: skip
    folder = RECORDS / name
    folder.mkdir(parents=True, exist_ok=True)
    record = {"title": title, "notes": notes, "versions": versions, "rows": list(rows)}
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def known(name: str) -> list[dict]:
    """Rows that were measured before; none without a record."""
    path = RECORDS / name / "record.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []
