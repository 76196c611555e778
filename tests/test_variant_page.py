"""The page on writing a variant, followed word for word in a copy of the repository."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "writing-a-variant.md"
BLOCKS = re.findall(r"^```(sh|python|text)\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
ROWS = "slow or not slow"
(ALL_ROWS,) = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines() if ROWS in line]


def run(root, command):
    """Run a line of the page in the copy, whose package comes before the installed one."""
    here = {"PYTHONPATH": str(root), "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=root, env=os.environ | here, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def insert(path, line):
    """Put a line into its alphabetical place among those that begin like it, behind the last comment before them."""
    lines = path.read_text().splitlines()
    begin = re.match(r"\s*(?:from |Row\(|\"|\| `)", line)[0]
    alike = [i for i, other in enumerate(lines) if other.startswith(begin)]
    group = max((i for i in range(alike[-1]) if lines[i].startswith("    # ")), default=0) if begin == '    "' else 0
    place = next((i for i in alike if i > group and lines[i] > line), alike[-1] + 1)
    path.write_text("\n".join([*lines[:place], line, *lines[place:]]) + "\n")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository after the page was followed, but for its last step."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("optax_muon", "tests", "docs", "examples", ".ci"):
        ignore = shutil.ignore_patterns("__pycache__", "*.png", "runs*.jsonl", "jupyter_execute", "_build")
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, root)
    for language, block in BLOCKS:
        first, _, rest = block.partition("\n")
        if language == "sh":
            for command in block.splitlines():
                if ROWS not in command:
                    run(root, command)
        elif first.startswith("# add to "):
            for line in rest.splitlines():
                insert(root / first.removeprefix("# add to "), line)
        elif first.startswith("# "):
            (root / first.removeprefix("# ")).write_text(rest)
    return root


@pytest.mark.slow
def test_it_walks_as_its_reference_and_keeps_the_first_promises(copy):
    contracts = "tests/contracts/test_optimizers.py tests/contracts/test_convergence.py"
    files = f"tests/optimizers/test_knee_muon.py {contracts} tests/linalg/spectral"
    out = run(copy, f"python -m pytest {files} -k 'knee and (reference or converges or complete or singular)'")
    assert len(re.findall(r"\.(?=[.\s])", out.splitlines()[0])) >= 3, out


def test_the_menus_and_the_zoo_know_it(copy):
    run(copy, "python -m pytest tests/test_docs.py -k 'room or zoo'")
    assert "### knee_muon" in (copy / "docs" / "zoo.md").read_text()


def test_what_it_wrote_passes_the_linter(copy):
    firsts = [block.partition("\n")[0] for language, block in BLOCKS if language == "python"]
    files = " ".join(first.removeprefix("# add to ").removeprefix("# ") for first in firsts)
    run(copy, f"ruff check {files} && ruff format --check {files}")


@pytest.mark.slow
def test_every_row_is_green(copy):
    run(copy, ALL_ROWS)
