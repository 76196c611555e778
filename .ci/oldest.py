"""The oldest releases that pyproject.toml allows: print them as pip's constraints, or check that they are installed.

python .ci/oldest.py > constraints.txt && PIP_CONSTRAINT=constraints.txt python -m pip install -e '.[test]'
python .ci/oldest.py --check
"""

import importlib.metadata
import pathlib
import re
import sys
import tomllib

PYPROJECT = pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml"
FLOOR = re.compile(r"([A-Za-z0-9_.-]+)\s*(?:>=|==)\s*([0-9][0-9.]*)\s*(?:,.*)?")


def requirements(project: dict, extra: str = "test") -> list[str]:
    """List what the package needs with an extra and the extras that this one names."""
    found = list(project["dependencies"])
    for requirement in project["optional-dependencies"][extra]:
        inner = re.fullmatch(re.escape(project["name"]) + r"\[(.+)\]", requirement)
        found += requirements(project, inner[1]) if inner else [requirement]
    return list(dict.fromkeys(found))


def floors(project: dict) -> dict[str, str]:
    """Map every package that is installed for the tests to its lower bound; one without is an error."""
    found = {}
    for requirement in requirements(project):
        floor = FLOOR.fullmatch(requirement)
        if floor is None:
            raise ValueError(f"pyproject.toml gives {requirement!r} no lower bound")
        found[floor[1]] = floor[2]
    return found


def release(version: str) -> list[int]:
    """Read the numbers of a release, without the zeros at its end: 0.10 and 0.10.0 are one."""
    return [int(part) for part in re.sub(r"(\.0+)+$", "", version).split(".")]


def main() -> None:
    """Print the pins, or compare them with this environment."""
    pins = floors(tomllib.loads(PYPROJECT.read_text())["project"])
    if sys.argv[1:] != ["--check"]:
        print("\n".join(f"{name}=={version}" for name, version in pins.items()))
        return
    installed = {name: importlib.metadata.version(name) for name in pins}
    wrong = {name: at for name, at in installed.items() if release(at) != release(pins[name])}
    if wrong:
        raise SystemExit(f"not the oldest: {wrong}")


if __name__ == "__main__":
    main()
