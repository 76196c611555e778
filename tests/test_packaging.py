"""What is declared is what is used: dependencies, their lower bounds, versions, the choice for the oldest releases."""

import ast
import importlib.metadata
import pathlib
import re
import runpy
import shutil
import sys
import tomllib

import pytest

from tests.oldest import OLDEST

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {
    "orbax": "orbax-checkpoint",
    "mpl_toolkits": "matplotlib",
    "dp_accounting": "dp-accounting",
}  # where a module has another name
EXTRAS = {  # which a user of the folder is told to install
    "optax_muon": "plot privacy",
    "examples": "examples",
    "tests": "test",
    "tests/benchmarks": "benchmarks",
    "docs": "docs",
}
FOREIGN = "tests/models/definitions/"  # each file builds others' models, in an environment made for them
OLDEST_PY = runpy.run_path(str(ROOT / ".ci/oldest.py"))


def parsed(folder):
    """Every Python file, and the Python blocks of every page, with the path."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path, ast.parse(path.read_text())
    for path in sorted((ROOT / folder).rglob("*.md")):
        blocks = re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)
        # A line to insert elsewhere, as the page on variants shows them, is no program.
        yield path, ast.parse("\n".join(block for block in blocks if not block.startswith("# add to")))


def imported(tree, inside_functions=True):
    """First names of all that a file imports."""
    for node in ast.walk(tree) if inside_functions else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def third_party(folder, inside_functions=True):
    """Map distributions to one file that imports them."""
    own = {"optax_muon", "tests"} | {path.stem for path in (ROOT / "examples").iterdir()}
    found = {}
    for path, tree in parsed(folder):
        siblings = {other.stem for other in path.parent.glob("*.py")}
        for module in set(imported(tree, inside_functions)) - own - siblings - sys.stdlib_module_names:
            found[DISTRIBUTIONS.get(module, module)] = path.relative_to(ROOT).as_posix()
    return found


def named(requirements):
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}


def declared(extra):
    return named(OLDEST_PY["requirements"](PROJECT, extra))


@pytest.mark.parametrize("folder", EXTRAS)
def test_every_import_is_declared(folder):
    inner = [name for name in EXTRAS if name.startswith(folder + "/")]
    used = {name: at for name, at in third_party(folder).items() if not at.startswith((*inner, FOREIGN))}
    known = set().union(*map(declared, EXTRAS[folder].split()))
    missing = {name: at for name, at in used.items() if name not in known}
    assert not missing, f"import what pyproject.toml does not declare for {folder}: {missing}"


def test_what_the_package_requires_it_imports():
    only_pulled_in = {"jaxlib"}  # by jax, whose lower bound it follows
    required = named(PROJECT["dependencies"])
    assert required - only_pulled_in <= third_party("optax_muon").keys()
    assert third_party("optax_muon", inside_functions=False).keys() <= required, "an extra would be needed at once"


def test_lower_bounds_become_pins():
    floors = OLDEST_PY["floors"]
    assert floors(PROJECT).keys() == declared("test")
    extras = {"examples": ["rich==13.0"], "test": ["optax-muon[examples]", "chex>=0.1.90"]}
    tiny = {"name": "optax-muon", "dependencies": ["jax>=0.10,<2"], "optional-dependencies": extras}
    assert floors(tiny) == {"jax": "0.10", "rich": "13.0", "chex": "0.1.90"}
    with pytest.raises(ValueError, match="flax.*no lower bound"):
        floors(tiny | {"dependencies": ["flax"]})


def test_the_choice_for_the_oldest_releases_exists_and_touches_every_package():
    for entry in OLDEST:
        path, _, name = entry.partition("::")
        text = (ROOT / "tests" / path).read_text()
        assert not name or re.search(rf"^def {name}", text, re.MULTILINE), entry
    packages = [path.parent.relative_to(ROOT / "optax_muon") for path in (ROOT / "optax_muon").rglob("__init__.py")]
    folders = {pathlib.PurePath(entry).parent for entry in OLDEST}
    for package in packages:
        if package in (pathlib.Path(), pathlib.Path("placement/exchange"), pathlib.Path("linalg/orthogonal")):
            continue  # what meshes and orthogonalisers do is tested one folder above
        assert package in folders, f"no test of {package} is marked oldest"


FILES = ("optax_muon/__init__.py", "docs/changelog.md", "CITATION.cff", "pyproject.toml")


@pytest.fixture
def copy(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def agreement():
    return runpy.run_path(str(ROOT / ".ci/agreement.py"))["source"]


def test_versions_agree(agreement):
    assert agreement(ROOT)["version"] == importlib.metadata.version(PROJECT["name"])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("optax_muon/__init__.py", r'__version__ = "[^"]+"', '__version__ = "9.9.9"'),
        ("docs/changelog.md", r"## \d[^,]*", "## 9.9.9"),
        ("CITATION.cff", r"(?m)^version: .*", "version: 9.9.9"),
        ("CITATION.cff", r"\Z", "date-released: 1999-01-01\n"),
        ("CITATION.cff", r"Apache-2.0", "MIT"),
    ],
)
def test_versions_that_disagree_are_found(agreement, copy, file, old, new):
    agreement(copy)
    text = (copy / file).read_text()
    changed = re.sub(old, new, text, count=1)
    assert changed != text
    (copy / file).write_text(changed)
    with pytest.raises(SystemExit, match=re.escape(file) if "init" not in file else "the package is"):
        agreement(copy)
