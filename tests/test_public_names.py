"""What the package says is public is what it imports, in words that type checkers can read."""

import ast
import pathlib

import pytest

import optax_muon as om

ROOT = pathlib.Path(om.__file__).parent
PACKAGES = sorted(ROOT.rglob("__init__.py"))
HOME, OPTIMIZERS = ROOT / "__init__.py", ROOT / "optimizers" / "__init__.py"


def exported(path):
    """Names that an ``__init__.py`` hands on: those of its imports that stand for themselves."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*":
                    yield from exported(OPTIMIZERS)
                elif not (alias.asname or alias.name).startswith("_"):
                    yield alias.asname or alias.name


def literal():
    """The list that is ``__all__``, as it is written."""
    (given,) = [
        node.value
        for node in ast.parse(HOME.read_text()).body
        if isinstance(node, ast.Assign | ast.AugAssign)
        and "__all__" in [t.id for t in getattr(node, "targets", [getattr(node, "target", None)])]
    ]
    return given


def test_all_is_a_literal_of_names():
    assert ast.literal_eval(literal()) == om.__all__, "mypy reads __all__ only as one list of strings"


def test_all_is_what_is_public():
    missing = sorted(set(exported(HOME)) - set(om.__all__))
    assert not missing, f"add {missing} to __all__ in {HOME}, each in its group"
    unknown = sorted(set(om.__all__) - set(exported(HOME)))
    assert not unknown, f"__all__ in {HOME} names {unknown}, which it does not import"
    assert len(set(om.__all__)) == len(om.__all__)
    for name in om.__all__:
        getattr(om, name)


def test_names_are_sorted_within_their_groups():
    lines = HOME.read_text().splitlines()[literal().lineno : literal().end_lineno - 1]
    groups: list[list[str]] = []
    for line in map(str.strip, lines):
        if line.startswith("#"):
            groups.append([])
        else:
            groups[-1].append(line)
    assert len(groups) > 3
    for group in groups:
        assert group == sorted(group)


@pytest.mark.parametrize("path", sorted((ROOT / "optimizers").glob("_[a-z]*.py")), ids=lambda p: p.stem)
def test_a_named_optimizer_is_public(path):
    names = {name for name, card in om.registry.items() if card.make.__module__.endswith(f".{path.stem}")}
    tree = ast.parse(path.read_text())
    names |= {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any(getattr(d, "func", d).id == "card" for d in node.decorator_list)
    }
    assert names, f"{path.name} declares no card"
    for name in names:
        line = f"from optax_muon.optimizers.{path.stem} import {name} as {name}"
        assert name in set(exported(OPTIMIZERS)), f"add the line\n{line}\nto {OPTIMIZERS}"
        assert name in om.__all__, f"add {name!r} to __all__ in {HOME}, in its group"


@pytest.mark.parametrize("path", PACKAGES, ids=lambda p: str(p.parent.relative_to(ROOT.parent)))
def test_names_are_handed_on_explicitly(path):
    """``import X as X``: without it type checkers take X for private in a package with ``py.typed``."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                private = (alias.asname or "").startswith("_")
                star = alias.name == "*" and path == HOME and node.module == "optax_muon.optimizers"
                assert private or star or alias.asname == alias.name, f"write {alias.name} as {alias.name} in {path}"


def test_type_checkers_may_read_the_package():
    assert (ROOT / "py.typed").exists()


@pytest.mark.parametrize("path", PACKAGES, ids=lambda p: str(p.parent.relative_to(ROOT.parent)))
def test_old_names_are_hidden_from_type_checkers(path):
    """A module's ``__getattr__`` makes every misspelled name of it right in their eyes."""
    for node in ast.parse(path.read_text()).body:
        assigned = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        hidden = "put __getattr__ under `if not typing.TYPE_CHECKING:`, as optax_muon/__init__.py does"
        assert "__getattr__" not in [*assigned, getattr(node, "name", "")], f"{path}: {hidden}"
