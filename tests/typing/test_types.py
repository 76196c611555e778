"""Two type checkers find nothing wrong in what a user may write, and the mistake in every line that has one."""

import json
import pathlib
import runpy
import subprocess
import sys

import pytest

import optax_muon as om

ROOT = pathlib.Path(__file__).resolve().parents[2]
USER = pathlib.Path(__file__).with_name("user.py")
MISTAKES = [
    *(f"om.{name}(0.02, momentm=0.9)" for name in om.registry),
    'om.muon(0.02, nesterov="yes")',
    "om.muonn(0.02)",
    'om.Leaf("hiden", 0, 1)',
    "om.for_matrices(om.muon(0.02), otherwize=om.muon(0.02))",
    'om.OverMesh(slow_axis=("hosts",))',
    *(f"om.{module}.Nothing()" for module in ("diagnostics", "linalg", "norms", "shapes", "transforms")),
    "om.transforms.nesterov_ema(0.9, accumulater_dtype=None)",
    'om.registry["muon"].mak',
]


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """A script that is a mistake in every line but the first, in a folder with the user's."""
    path = tmp_path_factory.mktemp("typing") / "wrong.py"
    path.write_text("\n".join(["import optax_muon as om", *MISTAKES, ""]))
    path.with_name(USER.name).write_text(USER.read_text())
    return path


def run(*command):
    # mypy's own cache makes every run after the first short.
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout, done.stderr  # a checker that is not installed finds nothing wrong
    return done.stdout


@pytest.fixture(scope="module")
def pyright(wrong):
    """Pyright's errors in both scripts: (file, line) -> message."""
    config = wrong.with_name("pyrightconfig.json")
    config.write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    report = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(config)))
    assert report["summary"]["filesAnalyzed"] == 2
    found = [x for x in report["generalDiagnostics"] if x["severity"] in ("error", "warning")]
    return {(pathlib.Path(x["file"]).name, x["range"]["start"]["line"] + 1): x["message"] for x in found}


@pytest.fixture(scope="module")
def mypy(wrong):
    """Mypy's errors in both scripts: (file, line) -> message."""
    scripts = [str(wrong), str(wrong.with_name(USER.name))]
    lines = run("mypy", "--config-file", "pyproject.toml", "--output", "json", *scripts).splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return {(pathlib.Path(x["file"]).name, x["line"]): x["message"] for x in found if x["severity"] == "error"}


@pytest.mark.parametrize("checker", ["pyright", "mypy"])
def test_a_user_s_script_is_clean(checker, request):
    errors = request.getfixturevalue(checker)
    assert {at: message for at, message in errors.items() if at[0] == USER.name} == {}


@pytest.mark.parametrize("checker", ["pyright", "mypy"])
def test_every_mistake_is_an_error(checker, request, wrong):
    errors = request.getfixturevalue(checker)
    passed = [line for i, line in enumerate(MISTAKES, 2) if (wrong.name, i) not in errors]
    assert not passed, f"{checker} sees nothing wrong in {passed}"
    assert (wrong.name, 1) not in errors


def test_the_script_runs():
    runpy.run_path(str(USER))
