"""The house rules that a machine can check."""

import ast
import pathlib
import subprocess
import sys

import pytest

import optax_muon as om

ROOT = pathlib.Path(om.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TESTS = sorted(pathlib.Path(__file__).parent.rglob("*.py"))
LAYERS = {
    "linalg": 0,
    "norms": 1,
    "shapes": 1,
    "matrices": 2,
    "placement": 3,
    "transforms": 4,
    "workers": 5,
    "diagnostics": 6,
    "optimizers": 6,
}
# Placement takes from matrices what a matrix is, what a parameter is called and how both are cut, not what for.
PLACEMENT_KNOWS = {"_cut_state", "_leaf", "_paths", "_shard_view"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    here = path.relative_to(ROOT).with_suffix("").parts[0]
    for module, names in imports(path):
        assert not module.startswith("optax._src"), module
        parts = module.split(".")
        if parts[0] != "optax_muon" or here not in LAYERS:
            continue
        for target in parts[1:2] or names:
            assert LAYERS.get(target, -1) <= LAYERS[here], f"{path.name} imports {module} {names}"
        if here == "placement" and parts[1] == "matrices":
            assert set(parts[2:]) <= PLACEMENT_KNOWS, f"{path.name} imports {module}"


def test_no_file_imports_itself_in_a_circle():
    names = {".".join(("optax_muon", *path.relative_to(ROOT).with_suffix("").parts)): path for path in FILES}
    graph = {
        name: {
            f"{module}.{x}" if f"{module}.{x}" in names else module for module, xs in imports(path) for x in xs or ("",)
        }
        for name, path in names.items()
        if path.name != "__init__.py"  # which only hands names on
    }
    done: set[str] = set()

    def visit(name, above):
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name in done or name not in graph:
            return
        for target in graph[name]:
            visit(target, [*above, name])
        done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    if path.name != "_coefficients.py" and "tables" not in path.name and path.name != "__init__.py":
        assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and path.parent.name != "optimizers":
            body = node.end_lineno - node.lineno - (len((ast.get_docstring(node) or "").splitlines()))
            assert body <= 50, f"{node.name} has {body} lines"
    assert path.name not in ("utils.py", "common.py")


CUTTING = {"as_matrices", "restore"}
MAY_CUT = {
    "transforms/_lift.py": "the only way from a tree of updates to matrices and back",
    "diagnostics/_blocks.py": "measures look at the matrices of a tree; nothing of them goes into an update",
}
RESHAPING = {"reshape", "stack", "moveaxis", "swapaxes", "shard_map", "make_mesh", "with_sharding_constraint"}
MAY_RESHAPE = {
    "diagnostics/_layer_inputs.py": "activations, whose axes no leaf tells",
    "diagnostics/_lanczos.py": "random numbers, made flat",
}


def mentions(path, names):
    """Where a file imports one of ``names`` or looks it up; a variable may be called as it likes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name in names)
        elif isinstance(node, ast.Attribute) and node.attr in names:
            yield node.attr, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_stacks_are_cut_and_joined_in_few_places(path):
    where = path.relative_to(ROOT)
    if where.parts[0] not in ("matrices", "placement") and str(where) not in MAY_CUT:
        found = list(mentions(path, CUTTING))
        assert not found, f"{where} cuts parameters into matrices itself, {found}; lift an operation instead"
    if where.parts[0] in ("transforms", "workers", "optimizers", "diagnostics") and str(where) not in MAY_RESHAPE:
        found = list(mentions(path, RESHAPING))
        assert not found, f"{where} reshapes or shards, {found}; lift an operation instead"


def test_permissions_are_used():
    for permitted, names in ((MAY_CUT, CUTTING), (MAY_RESHAPE, RESHAPING)):
        for where in permitted:
            assert any(mentions(ROOT / where, names)), f"{where} needs no permission"


# Names that stand twice because their folders make both the natural one.
TWICE = {
    "Box": "of an array in Linen, and a set between two bounds",
    "Rescaled": "a factor of a norm, and a scheme of late gradients by its paper's name",
    "Frobenius": "what an iteration divides by, and a norm",
    "Spectral": "a shape scale, and a norm",
    "report": "of a model, and of a placement",
    "_report": "of a model, and of a placement",
    "_spectra": "measures of singular values, and the optimizer of that name",
}


def doubled(found):
    """Names that more than one file has, with the files."""
    where: dict[str, list[str]] = {}
    for name, path in found:
        where.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return {name: files for name, files in where.items() if len(files) > 1 and name not in TWICE}


def defined(path):
    """Classes, private ones too, and public functions of a file."""
    for node in ast.parse(path.read_text()).body:
        public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if public or isinstance(node, ast.ClassDef):
            yield node.name, path


def test_no_name_stands_twice():
    again = doubled(entry for path in FILES for entry in defined(path))
    assert not again, f"rename one of each (or say in TWICE why both are natural): {again}"
    again = doubled((path.stem, path) for path in FILES if path.name != "__init__.py")
    assert not again, f"rename one of each (or say in TWICE why both are natural): {again}"


def test_names_that_may_stand_twice_do():
    names = [name for path in FILES for name, _ in defined(path)] + [path.stem for path in FILES]
    assert all(names.count(name) > 1 for name in TWICE)


# What a card says in words. Rows of a contract depend on its typed fields alone, such as `couples`.
PROSE = {"chain", "deviations", "paper", "__doc__"}
ASKS = (ast.If, ast.IfExp, ast.While, ast.comprehension, ast.Return, ast.keyword, ast.Lambda)


def switches(text):
    """Lines of a test that decide by a card's words, instead of comparing them."""
    found = []

    def visit(node, within, asserted=False):
        searched = isinstance(node, ast.Compare) and any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
        excused = isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)
        asks = isinstance(node, ASKS) or excused or (searched and not asserted)
        asked = [*within, node] if asks else within
        words = isinstance(node, ast.Attribute) and node.attr in PROSE and getattr(node.value, "id", "") != "optax"
        if asked and (words or (isinstance(node, ast.Attribute) and node.attr == "getdoc")):
            found.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            # A body is no part of the question that its head asks.
            body = isinstance(node, ast.If | ast.While) and child is not node.test
            visit(child, within if body else asked, asserted or isinstance(node, ast.Assert))

    visit(ast.parse(text), [])
    return sorted(set(found))


@pytest.mark.parametrize(
    "path", [path for path in TESTS if path.parent.name in ("contracts", "optimizers")], ids=lambda path: path.stem
)
def test_no_prose_switches_a_contract_off(path):
    lines = switches(path.read_text())
    assert not lines, f"{path.name} decides by a card's words in lines {lines}: give the card a field instead"


def test_switches_are_seen():
    for wrong in (
        'if "couples" in card.chain:\n    pass',
        'def in_place(card):\n    return "in place" in card.chain',
        'assert seen or "in place" in card.chain',
        "rows = [c for c in cards if c.deviations != 'none']",
        'pytest.param(card, marks=skip if card.make.__doc__.startswith("A") else ())',
        'names = {n for n, c in registry.items() if "arXiv" in c.paper}',
        'skip = "in place" in card.chain',
        'first = next(x for x in card.chain if x.isdigit())\nwhile "a" in inspect.getdoc(card.make):\n    pass',
    ):
        assert switches(wrong), wrong
    for right in (
        "assert card.chain",
        "assert chain(card) == card.chain",
        "assert card.paper in card.make.__doc__",
        "assert sum(word in card.make.__doc__ for card in cards) > 1",
        "if card.couples:\n    optax.chain(a, b)",
    ):
        assert not switches(right), right


def test_importing_and_constructing_run_no_jax_operation():
    code = (
        "import jax, optax, optax_muon as om\n"
        "tx = om.for_matrices(om.muon(0.02), otherwise=optax.sgd(1.0))\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'a backend was started'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_has_a_docstring():
    for module in (om, om.linalg, om.transforms, om.shapes, om.workers):
        for name in dir(module):
            value = getattr(module, name)
            if not name.startswith("_") and (isinstance(value, type) or callable(value)):
                assert value.__doc__, f"{module.__name__}.{name}"
