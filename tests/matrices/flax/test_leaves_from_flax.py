"""Every module of Flax, plain and scanned, in NNX and Linen: role and axes of every parameter are exact."""

import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import optax
import pytest
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path
from tests.matrices.flax.table import ROWS, L, Row, stacked


class NNXBody(nnx.Module):
    """Holds one module under the name that the row gives it."""

    def __init__(self, row: Row, rngs: nnx.Rngs):
        assert row.nnx is not None
        setattr(self, row.name, row.nnx(rngs))


class NNXScanned(nnx.Module):
    def __init__(self, row: Row, rngs: nnx.Rngs):
        self.layers = nnx.vmap(lambda rngs: NNXBody(row, rngs))(rngs.split(L))


class LinenBody(nn.Module):
    """Calls one module under the name that the row gives it."""

    call: Callable | None
    label: str

    @nn.compact
    def __call__(self, carry, _=None):
        assert self.call is not None
        self.call(self.label)
        return carry, None


class LinenScanned(nn.Module):
    call: Callable | None
    label: str

    @nn.compact
    def __call__(self, carry):
        axes: dict[Any, int] = {"params": 0, "batch_stats": 0}
        scanned = nn.scan(LinenBody, variable_axes=axes, split_rngs={"params": True}, length=L)
        return scanned(self.call, self.label, name="layers")(carry, None)


CASES = [
    (name, kind, scanned)
    for name, row in ROWS.items()
    for kind in ("nnx", "linen")
    for scanned in (False, True)
    if getattr(row, kind) is not None
]


def read(row: Row, kind: str, scanned: bool):
    """Abstract parameters and their leaves."""
    if kind == "nnx":
        model = nnx.eval_shape(lambda: (NNXScanned if scanned else NNXBody)(row, nnx.Rngs(0)))
        return nnx.as_pure(nnx.state(model, nnx.Param)), om.leaves_from_flax(model, **row.options)
    model = (LinenScanned if scanned else LinenBody)(row.linen, row.name)
    params = jax.eval_shape(model.init, jax.random.key(0), 0.0)["params"]
    return params, om.leaves_from_flax(model, 0.0, **row.options)


def page_table():
    """The table of docs/flax.md: parameters that are read alike share a row, and biases have none."""
    columns = "layer", "parameters", "shape", "role", "reduction", "output", "batch", "pieces"
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, row in ROWS.items():
        shapes = by_path(read(row, "nnx" if row.nnx else "linen", scanned=False)[0])
        leaves = {path: leaf for path, leaf in row.leaves.items() if not path.endswith("bias")}
        name = re.sub(r"(\S*(=|->)\S*)", r"`\1`", name)
        alike: dict[Any, list[str]] = {}
        for path, leaf in leaves.items():
            alike.setdefault((leaf, shapes[path].shape), []).append(path)
        for (leaf, shape), paths in alike.items():
            tails = [path.split("/", 1)[1].replace("/kernel", "") for path in paths]
            batch = leaf.batch(len(shape)) if leaf.output else ()
            cells = [name, ", ".join(tails), "×".join(map(str, shape)), leaf.role]
            cells += [", ".join(map(str, axes)) for axes in (leaf.reduction, leaf.output, batch)]
            cells.append(str(len(leaf.split.sizes)) if leaf.split else "")
            lines.append("| " + " | ".join(cells) + " |")
            name = ""
    return "\n".join(lines)


def described(page):
    """The table of the model that the page begins with, as it prints it."""
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    rows = om.describe(nnx.state(names["model"], nnx.Param), names["leaves"]).rows
    return "\n".join("| " + " | ".join(row) + " |" for row in rows if "bias" not in row[0])


def test_the_page_shows_its_tables():
    page = (pathlib.Path(__file__).parents[3] / "docs" / "flax.md").read_text()
    for table in (page_table(), described(page)):
        assert table in page, f"docs/flax.md needs this table:\n{table}"


@pytest.mark.parametrize(("name", "kind", "scanned"), CASES)
def test_table(name, kind, scanned):
    row = ROWS[name]
    params, leaves = read(row, kind, scanned)
    expected = {f"layers/{path}": stacked(leaf) for path, leaf in row.leaves.items()} if scanned else row.leaves
    assert by_path(leaves) == expected
    arrays = by_path(params)
    assert set(arrays) == set(expected)
    for path, leaf in expected.items():
        leaf.check(path, arrays[path].shape)
    matrices = {path for path, leaf in expected.items() if leaf.role == "hidden"}
    if not matrices:
        return
    assert {row[0] for row in om.describe(params, leaves).rows if row[2] == "hidden"} == matrices
    tx = om.for_matrices(functools.partial(om.muon, 0.02), optax.sgd(1.0), leaves=leaves)
    momentum = jax.eval_shape(tx.init, params).inner_states["hidden"].inner_state[0].average
    assert {path: x.shape for path, x in by_path(momentum).items()} == {p: arrays[p].shape for p in matrices}
