"""Public models by their tables: what the plain tree of each tells, and never a silent mistake."""

import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

import optax_muon as om
from optax_muon.matrices._resolve import findings
from tests.models import counts
from tests.models.known import FROZEN
from tests.models.truth import agrees, parse

TABLES = {
    path.stem: json.loads(path.read_text()) for path in sorted((pathlib.Path(__file__).parent / "tables").glob("*"))
}
MODELS = {name: model["leaves"] for table in TABLES.values() for name, model in table["models"].items()}


@pytest.mark.parametrize("name", MODELS)
def test_plain_tree_is_never_silently_wrong(name):
    leaves = MODELS[name]
    truths = {path: parse(text, shape) for path, (shape, text) in leaves.items()}
    params = {path: jax.ShapeDtypeStruct(tuple(shape), jnp.float32) for path, (shape, _) in leaves.items()}
    try:
        found = findings(params)
    except om.UnknownLeafError as error:
        # The rules that it ends in, pasted, cure it.
        pasted = str(error).partition("rules=[")[2].partition("\n]")[0]
        assert findings(params, rules=eval(f"[{pasted}\n]", {"om": om}))
        return
    wrong = {path for path in leaves if not agrees(found[path].leaf, truths[path], leaves[path][0])}
    silent = {path for path in wrong if not found[path].assumed}
    assert not silent


def test_there_are_many_models_of_many_projects():
    assert len(MODELS) >= 60
    assert len(TABLES) >= 20


def test_the_page_shows_the_counts_of_the_record():
    record = json.loads(counts.RECORD.read_text())
    assert set(record) == set(MODELS)
    assert "\n".join(counts.table(record)) in counts.PAGE.read_text()


def test_the_record_keeps_what_is_promised():
    record = json.loads(counts.RECORD.read_text())

    def share(way, *outcomes):
        found = [model[way]["outcome"] for model in record.values() if way in model]
        return sum(outcome in outcomes for outcome in found) / len(found)

    assert share("call", "right") >= 0.97
    assert share("modules", "right") >= 0.8
    assert share("tree", "right") >= 0.6
    assert not any(share(way, "wrong") for way in ("call", "modules", "tree"))


def test_frozen_models_are_in_the_tables():
    assert len(FROZEN) == 20
    assert set(FROZEN) <= set(MODELS)
