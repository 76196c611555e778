"""Every Python block of the documentation and the README runs; every doctest holds."""

import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re
import runpy
import types

import pytest

import optax_muon as om
from optax_muon import _registry
from tests.benchmarks import figures

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
MODULES = [m.name for m in pkgutil.walk_packages(om.__path__, "optax_muon.")]


@pytest.fixture
def own_registry():
    """Cards that a page adds are gone after it."""
    before = dict(_registry._cards)
    yield
    _registry._cards.clear()
    _registry._cards.update(before)


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page):
    # A block that begins with the name of a file is one: see test_variant_page.
    blocks = re.findall(r"```python\n(?!# (?:add to )?\w+/)(.*?)```", page.read_text(), flags=re.DOTALL)
    exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": "__docs__"})


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module):
    assert doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS).failed == 0


def test_doctests_of_optimizers():
    """A test of modules passes over functions that a decorator wraps."""
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    found = [
        test for card in om.registry.values() for test in finder.find(card.make, card.name, module=False, globs={})
    ]
    results = [runner.run(test) for test in found]
    assert sum(result.attempted for result in results) > 20
    assert not any(result.failed for result in results)


def test_the_readme_s_figures_are_those_of_the_records():
    assert figures.START + "\n" + figures.table() + "\n" + figures.END in (ROOT / "README.md").read_text()


def test_the_zoo_agrees_with_the_registry():
    make_zoo = runpy.run_path(str(ROOT / "docs" / "make_zoo.py"))
    assert (ROOT / "docs" / "zoo.md").read_text() == make_zoo["page"](), "run python docs/make_zoo.py"


def public_names():
    """Every name that a user may write, with the object behind it."""
    modules = {name: getattr(om, name) for name in om.__all__ if isinstance(getattr(om, name), types.ModuleType)}
    yield from ((name, getattr(om, name)) for name in om.__all__ if name not in modules)
    for module in modules.values():
        for name, thing in vars(module).items():
            if not name.startswith("_") and (inspect.isclass(thing) or inspect.isfunction(thing)):
                yield f"{module.__name__.removeprefix('optax_muon.')}.{name}", thing


def test_every_public_name_stands_on_the_api_page():
    page = (ROOT / "docs" / "api.md").read_text()
    written = set(re.findall(r"(?:auto(?:function|class|exception)|py:data):: (?:optax_muon\.)?(\w+)", page))
    whole = [importlib.import_module(name) for name in re.findall(r"automodule:: (\S+)", page)]
    covered = [thing for module in whole for name, thing in vars(module).items() if not name.startswith("_")]
    for name, thing in public_names():
        assert thing.__doc__ or name == "registry", f"{name} has no docstring"
        assert name in written or any(thing is other for other in covered), f"{name} is not in docs/api.md"


def named_on(page):
    """Every name that stands in inline code on a page, with or without its module and its arguments."""
    code = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", (ROOT / "docs" / page).read_text(), flags=re.DOTALL))
    return {name for text in code for name in re.findall(r"\w+", text.split("(")[0])}


MENUS = {
    "transforms": ["transforms.md"],
    "linalg": ["orthogonalization.md", "spectral-maps.md", "numerics.md"],
    "norms": ["norms.md"],
    "shapes": ["transforms.md"],
    "diagnostics": ["diagnostics.md"],
    "workers": ["workers.md"],
    "zeroth_order": ["gradient-free.md"],
}


def test_every_room_has_a_page():
    assert set(MENUS) == {name for name in om.__all__ if isinstance(getattr(om, name), types.ModuleType)}


@pytest.mark.parametrize("room", MENUS)
def test_every_public_name_stands_on_its_room_s_page(room):
    constants = {name for name in vars(getattr(om, room)) if name.isupper() and not name.startswith("_")}
    names = {name.removeprefix(f"{room}.") for name, _ in public_names() if name.startswith(f"{room}.")}
    missing = (names | constants) - set().union(*(named_on(page) for page in MENUS[room]))
    assert not missing, f"{sorted(missing)}: a line and a formula in docs/{MENUS[room][0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_a_page_names_exist(page):
    """All but those that the page on variants makes."""
    named = re.findall(r"\b((?:optax_muon|tests|examples|docs)/[\w./-]*\w)", page.read_text())
    lost = {name for name in named if "knee" not in name and not (ROOT / name).exists()}
    assert not lost, f"{page.name} names {sorted(lost)}"
