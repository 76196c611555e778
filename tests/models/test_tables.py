"""Public models by their tables: what the plain tree of each tells, and never a silent mistake."""

import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

import optax_muon as om
from optax_muon.matrices._resolve import findings
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
    except om.UnknownLeafError:
        return
    wrong = {path for path in leaves if not agrees(found[path].leaf, truths[path], leaves[path][0])}
    silent = {path for path in wrong if not found[path].assumed}
    assert not silent


def test_there_are_many_models_of_many_projects():
    assert len(MODELS) >= 40
    assert len(TABLES) >= 12


def test_frozen_models_are_in_the_tables():
    assert len(FROZEN) == 20
    assert set(FROZEN) <= set(MODELS)
