"""The table of the literature names what exists: public names, tests that know them, records that hold them."""

import json
import pathlib
import re
import runpy

import pytest

import optax_muon as om

ROOT = pathlib.Path(__file__).resolve().parents[1]
MAKE = runpy.run_path(str(ROOT / "docs" / "make_coverage.py"))
ROWS = MAKE["rows"]()
COMPARED = [f"docs/records/{name}/record.json" for name in ("registry", "registry_newer")]
RESULTS = {record: json.loads((ROOT / record).read_text())["results"] for record in COMPARED}


def scripts(record):
    """Text of the scripts of examples/ that write a record."""
    stem = record.removeprefix("docs/records/")
    paths = [*(ROOT / "examples").glob(f"{stem}.py"), *(ROOT / "examples").glob(f"{stem}/*.py")]
    return "\n".join(path.read_text() for path in paths).lower().replace("_", " ")


def faults(row):
    """What is wrong with a row, in words."""
    name, test, record = row["name"], ROOT / row["test"], row["record"]
    card = om.registry.get(name)
    if name.startswith("examples/"):
        if not (ROOT / name).is_file():
            yield f"no script {name}"
    else:
        thing = om
        for part in name.split("."):
            thing = getattr(thing, part, None)
        if thing is None:
            yield f"om.{name} does not exist"
        elif not test.is_file():
            yield f"no test {row['test']}"
        elif not re.search(rf"\b{name.split('.')[-1]}\b", test.read_text()):
            yield f"{row['test']} does not know {name}"
    if not test.is_file():
        yield f"no test {row['test']}"
    if row["confidence"] not in ("EXACT", "PARTIAL", "OUR READING") or (card and card.confidence != row["confidence"]):
        yield f"{name}: confidence {row['confidence']}"
    if not re.fullmatch(r"\d{4}\.\d{5}|github\.com/[\w./-]+", row["paper"]) or not row["system"]:
        yield f"{name}: no paper"
    if not (ROOT / record).exists():
        yield f"no record {record}"
    written = scripts(record) if (ROOT / record).is_dir() else ""
    if written and name.split(".")[-1].lower().replace("_", " ") not in written and not name.startswith("examples/"):
        yield f"{name}: the script of {record} does not know it"
    if not all(name in rows for rows in RESULTS.get(record, {}).values()):
        yield f"{name}: the comparison does not have it"
    stem = name.removeprefix("examples/").removesuffix(".py")
    if name.startswith("examples/") and record != f"docs/records/{stem}":
        yield f"{name}: its record is not {record}"


def test_every_row_names_what_exists():
    wrong = [fault for row in ROWS for fault in faults(row)]
    assert not wrong, wrong


def test_every_optimizer_has_a_row():
    assert not om.registry.keys() - {row["name"] for row in ROWS}, "add rows to docs/coverage.csv"


def test_the_page_agrees_with_the_table():
    assert (ROOT / "docs" / "coverage.md").read_text() == MAKE["page"](), "run python docs/make_coverage.py"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "muo"},
        {"test": "tests/optimizers/test_muo.py"},
        {"test": "tests/optimizers/test_soap.py"},
        {"record": "docs/records/none"},
        {"record": "-"},
        {"record": "docs/records/registry_newer/record.json", "name": "soap", "test": "tests/optimizers/test_soap.py"},
        {"confidence": "PARTIAL"},
        {"paper": "2505"},
    ],
)
def test_a_wrong_row_is_seen(wrong):
    row = next(row for row in ROWS if row["name"] == "muon")
    assert not list(faults(row))
    assert list(faults(row | wrong))


@pytest.mark.parametrize("wrong", ["-", "docs/records/paper/lipschitz"])
def test_a_part_without_a_record_of_its_own_is_seen(wrong):
    row = next(row for row in ROWS if row["name"] == "transforms.cautious_decay")
    assert not list(faults(row))
    assert list(faults(row | {"record": wrong}))
