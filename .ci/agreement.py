"""Whether the version, the changelog, the citation and what was built agree.

python .ci/agreement.py             what is written in the source
python .ci/agreement.py --final     and whether it may be released: dated, tagged nowhere yet, nothing uncommitted
python .ci/agreement.py dist/*      and the metadata and contents of what was built
"""

import email
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
ENTRY = re.compile(r"^## (\S+), (not released yet|\d{4}-\d\d-\d\d)$", re.MULTILINE)


def field(text: str, pattern: str, where: str) -> str:
    """Find the one line that matches, and return its group."""
    found = re.findall(pattern, text, re.MULTILINE)
    if len(found) != 1:
        raise SystemExit(f"{where}: {len(found)} lines match {pattern}")
    return found[0]


def source(root: pathlib.Path) -> dict[str, str]:
    """Version and date as each file says them; a file that differs is an error."""
    version = field((root / "optax_muon/__init__.py").read_text(), r'^__version__ = "(.+)"$', "optax_muon/__init__.py")
    entry = ENTRY.search((root / "docs/changelog.md").read_text())
    if entry is None or entry[1] != version:
        raise SystemExit(f"docs/changelog.md begins with {entry and entry[1]}, the package is {version}")
    citation = (root / "CITATION.cff").read_text()
    if field(citation, r"^version: (.+)$", "CITATION.cff") != version:
        raise SystemExit(f"CITATION.cff has another version, the package is {version}")
    dates = re.findall(r"^date-released: (.+)$", citation, re.MULTILINE)
    if dates != ([] if entry[2] == "not released yet" else [entry[2]]):
        raise SystemExit(f"CITATION.cff is dated {dates}, the changelog {entry[2]}")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    if field(citation, r"^license: (.+)$", "CITATION.cff") != project["license"]:
        raise SystemExit("CITATION.cff has another license than pyproject.toml")
    return {"version": version, "date": entry[2]}


def final(said: dict[str, str]) -> None:
    """Raise for what could not be taken back once it is published."""
    if said["date"] == "not released yet":
        raise SystemExit("docs/changelog.md has no date for this release")
    if "Source" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]:
        raise SystemExit("pyproject.toml has no URL named Source: where will this release's source be?")
    if _git("status", "--porcelain"):
        raise SystemExit("there are uncommitted changes")
    if _git("tag", "--list", f"v{said['version']}"):
        raise SystemExit(f"v{said['version']} is tagged already")


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def contents(path: pathlib.Path) -> dict[str, bytes]:
    """Every file of a wheel, or of an sdist without its first folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(path) as sdist:
        files = {member.name.partition("/")[2]: sdist.extractfile(member) for member in sdist if member.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def built(path: pathlib.Path, version: str) -> None:
    """Compare a wheel or sdist with the source: its metadata, and every file of the package byte by byte."""
    files = contents(path)
    package = {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in (ROOT / "optax_muon").rglob("*") if _ships(p)}
    if {name: data for name, data in files.items() if name.startswith("optax_muon/")} != package:
        raise SystemExit(f"{path.name} does not hold the package as it is here")
    metadata = next(data for name, data in files.items() if name == "PKG-INFO" or name.endswith(".dist-info/METADATA"))
    said = email.message_from_bytes(metadata)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = {
        "Name": project["name"],
        "Version": version,
        "Summary": project["description"],
        "License-Expression": project["license"],
        "Requires-Python": project["requires-python"],
        "Author": project["authors"][0]["name"],
    }
    wrong = {name: said[name] for name, value in expected.items() if said[name] != value}
    runtime = sorted(r for r in said.get_all("Requires-Dist", []) if "extra ==" not in r)
    if wrong or runtime != sorted(project["dependencies"]):
        raise SystemExit(f"metadata of {path.name}: {wrong or runtime}")


def _ships(path: pathlib.Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


if __name__ == "__main__":
    said = source(ROOT)
    if sys.argv[1:] == ["--final"]:
        final(said)
    else:
        for name in sys.argv[1:]:
            built(pathlib.Path(name), said["version"])
