"""Every Python block of the documentation and the README runs; every doctest holds."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import optax_muon as om
from tests.benchmarks import figures

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
MODULES = [m.name for m in pkgutil.walk_packages(om.__path__, "optax_muon.")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": "__docs__"})


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module):
    assert doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS).failed == 0


def test_the_readme_s_figures_are_those_of_the_records():
    assert figures.START + "\n" + figures.table() + "\n" + figures.END in (ROOT / "README.md").read_text()
