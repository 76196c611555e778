"""Measure the readers on public models, whose code lies in a folder of checkouts.

    python -m tests.models.measure --source FOLDER [--project NAME] [--only GLOB] [--tables] [--out FILE]

Three ways are measured: a call (`leaves_from_flax` with inputs, else `leaves_from_call`), a Flax model's modules alone,
and the plain tree of parameters. A model is right if every parameter is; ``warned`` if all its wrong parameters are
marked as assumed; ``wrong`` if one is not.
"""

import argparse
import dataclasses
import fnmatch
import importlib
import json
import os
import pathlib
import pkgutil
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any

import jax

import optax_muon as om
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import find, findings
from optax_muon.matrices.flax._reading import alone
from optax_muon.matrices.flax._with_names import with_names
from tests.models import definitions
from tests.models.definitions._definition import DEFINITIONS, Call, Definition, Model, Nnx, forget_absent
from tests.models.truth import agrees, lookup, parse

HERE = pathlib.Path(__file__).parent
WAYS, OUTCOMES = ("call", "modules", "tree"), ("right", "raised", "warned", "wrong")
TABLES = HERE / "tables"
# Their libraries are the installed ones; of their checkouts only the examples are read.
INSTALLED = ("flax", "equinox", "haiku")


def projects() -> list[str]:
    """Names of the modules that hold definitions."""
    return [m.name for m in pkgutil.iter_modules(definitions.__path__) if not m.name.startswith("_")]


class Subject:
    """One model, made once for all ways."""

    def __init__(self, model: Model):
        """Make the parameters' shapes; of a Flax model the module too."""
        self.model, self.module, self.reading = model, None, None
        if isinstance(model, Call):
            self.params = jax.eval_shape(model.make)
        elif isinstance(model, Nnx):
            from flax import nnx

            self.module = nnx.eval_shape(model.make)
            self.params = nnx.as_pure(nnx.state(self.module, nnx.Param))
        else:
            from optax_muon.matrices.flax._linen import read_linen

            self.module = model.module
            self.reading = read_linen(self.module, model.inputs, model.options, om.Attention(), {})
            self.params = self.reading.shapes

    def read(self, way: str) -> Any:
        """Leaves by one of the three ways; None where there is no such way."""
        model = self.model
        if way == "tree":
            return by_names(self.params)
        if isinstance(model, Call):
            return om.leaves_from_call(model.fn, self.params, *model.inputs) if way == "call" else None
        if way == "call":
            return om.leaves_from_flax(self.module, *model.inputs, **model.options)
        if self.reading is None:
            return om.leaves_from_flax(self.module)
        reading = with_names(alone(self.reading))
        table = find(self.params, (), reading.leaves, reading.problems)
        return {path: found.leaf for path, found in table.items()}


def by_names(params: Any) -> dict[str, om.Leaf]:
    """Leaves of a plain tree, with what `for_matrices` knows of each."""
    return {
        path: dataclasses.replace(found.leaf, why=found.reason, assumed=found.assumed)
        for path, found in findings(params).items()
    }


def measured(definition: Definition) -> dict[str, Any]:
    """Measure one definition in all ways."""
    record: dict[str, Any] = {"file": definition.file}
    try:
        model = definition.build()
        forget_absent()
        subject = Subject(model)
    except Exception as error:  # noqa: BLE001 - theirs may fail in any way
        traceback.print_exc()
        return record | {"broken": f"{type(error).__name__}: {error}"[:300]}
    for way in WAYS:
        start = time.perf_counter()
        try:
            leaves = subject.read(way)
        except om.UnknownLeafError as error:
            record[way] = {"outcome": "raised", "why": str(error)[:3000]}
            continue
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            return record | {"broken": f"{way}: {type(error).__name__}: {error}"[:300]}
        if leaves is None:
            continue
        seconds = time.perf_counter() - start
        shapes = {path: tuple(x.shape) for path, x in by_path(subject.params).items()}
        try:
            texts = {path: lookup(definition.truth, path, shape) for path, shape in shapes.items()}
            truths = {path: parse(text, shapes[path]) for path, text in texts.items()}
        except (LookupError, AssertionError) as error:
            return record | {"broken": f"truth: {error}"}
        found = by_path(leaves, is_leaf=lambda x: isinstance(x, om.Leaf))
        wrong = {
            path: f"{texts[path]} is read as {found[path]!r} {shapes[path]}: {found[path].why}"
            + " (assumed)" * found[path].assumed
            for path in shapes
            if not agrees(found[path], truths[path], shapes[path])
        }
        certain = [path for path in wrong if not found[path].assumed]
        outcome = "wrong" if certain else "warned" if wrong else "right"
        record[way] = {"outcome": outcome, "leaves": len(shapes), "seconds": round(seconds, 2)}
        if wrong:
            record[way]["wrong"] = wrong
        record["table"] = {path: [list(shapes[path]), texts[path]] for path in shapes}
    return record


def run_project(project: str, only: str) -> dict[str, Any]:
    """Measure the definitions of one project, in this process."""
    source = pathlib.Path(os.environ["MODELS_SOURCE"])
    if project not in INSTALLED:
        folder = folder_of(project, source)
        sys.path[:0] = [str(folder), str(folder / "src")]
    importlib.import_module(f"tests.models.definitions.{project}")
    chosen = {name: d for name, d in DEFINITIONS.items() if fnmatch.fnmatchcase(name, only)}
    with jax.numpy_rank_promotion("allow"):
        return {name: measured(definition) for name, definition in chosen.items()}


def main() -> None:
    """Measure every project in a process of its own, as their modules share names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, type=pathlib.Path, help="folder of checkouts, each with a COMMIT")
    parser.add_argument("--project", help="module of tests.models.definitions; default: all")
    parser.add_argument("--only", default="*", help="glob of names")
    parser.add_argument("--tables", action="store_true", help="write the tables of shapes and truths anew")
    parser.add_argument("--out", type=pathlib.Path, help="file for the record")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        os.environ["MODELS_SOURCE"] = str(arguments.source)
        arguments.out.write_text(json.dumps(run_project(arguments.project, arguments.only), indent=1))
        return
    records: dict[str, Any] = {}
    for project in [arguments.project] if arguments.project else projects():
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            inner = [sys.executable, "-m", "tests.models.measure", "--inner", "--project", project, "--out", file.name]
            subprocess.run([*inner, "--source", str(arguments.source), "--only", arguments.only], check=False)
            found = json.loads(pathlib.Path(file.name).read_text() or "{}")
        if arguments.tables and found:
            write_table(project, arguments.source, found)
        records |= {name: {key: x for key, x in record.items() if key != "table"} for name, record in found.items()}
        print("\n".join(summary(name, record) for name, record in found.items()), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(records, indent=1))
    print(counts(records))


def folder_of(project: str, source: pathlib.Path) -> pathlib.Path:
    """The checkout of a project: its name in other letters, or Haiku's and Equinox's."""
    names = {"haiku": "dm_haiku"}
    return next(f for f in source.iterdir() if f.name.lower().replace("-", "_") == names.get(project, project))


def write_table(project: str, source: pathlib.Path, found: dict[str, Any]) -> None:
    """Write what the tests read: one line for every parameter."""
    repository, commit = (folder_of(project, source) / "COMMIT").read_text().split()
    lines = [f'{{\n "repository": "{repository}",\n "commit": "{commit}",\n "models": {{']
    kept = {name: record for name, record in sorted(found.items()) if "table" in record}
    for name, record in kept.items():
        rows = [f"   {json.dumps(path)}: {json.dumps(row)}" for path, row in record["table"].items()]
        end = "" if name == list(kept)[-1] else ","
        lines.append(f'  "{name}": {{\n  "file": "{record["file"]}",\n  "leaves": {{')
        lines.append(",\n".join(rows) + f"\n  }}}}{end}")
    (TABLES / f"{project}.json").write_text("\n".join([*lines, " }\n}\n"]))


def summary(name: str, record: dict[str, Any]) -> str:
    """One line for one model."""
    if "broken" in record:
        return f"{name:34} not measured: {record['broken'][:120]}"
    return f"{name:34} " + "  ".join(f"{way} {record[way]['outcome']:7}" for way in WAYS if way in record)


def counts(records: dict[str, Any]) -> str:
    """Counts of outcomes by way."""
    lines = []
    for way in WAYS:
        found = [record[way]["outcome"] for record in records.values() if way in record and "broken" not in record]
        lines.append(f"{way}: {len(found)} models, " + ", ".join(f"{x} {found.count(x)}" for x in OUTCOMES))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
