"""Which file of a checkpoint is not what was written.

A save ends with the list of its files and their sizes, before its folder gets its final name; so every finished
checkpoint has one, and to look for damage costs no reading of arrays.
"""

import json
import pathlib

from gpt.files import replace_text

LIST = "files.json"
LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")  # Orbax writes them after the list; to restore it needs neither
UNFINISHED = "*.orbax-checkpoint-tmp*"


def list_files(step: pathlib.Path) -> None:
    """Write down the size of every file of a checkpoint."""
    files = [path for path in sorted(step.rglob("*")) if path.is_file() and path.name not in LATER]
    sizes = {path.relative_to(step).as_posix(): path.stat().st_size for path in files}
    replace_text(step / LIST, json.dumps(sizes, indent=1) + "\n")


def damage_of(step: pathlib.Path) -> str | None:
    """Say what is wrong with a checkpoint, None where nothing is seen.

    Arrays are not read: a file whose bytes changed and not its size is found by Orbax alone.
    """
    metadata = step / "default" / "_METADATA"
    for path in (metadata, step / LIST):
        if path.exists() or path == metadata:
            try:
                json.loads(path.read_text())
            except FileNotFoundError:
                return f"{path} is missing"
            except ValueError:
                return f"{path} is {'not JSON' if path.stat().st_size else 'empty'}"
    if not (step / LIST).exists():  # written before there was a list, or what an unfinished deletion left
        manifest = step / "default" / "manifest.ocdbt"
        return None if manifest.exists() else f"{manifest} is missing"
    for name, size in json.loads((step / LIST).read_text()).items():
        path = step / name
        if not path.exists():
            return f"{path} is missing"
        if path.stat().st_size != size:
            return f"{path} has {path.stat().st_size} bytes, not {size}"
    return None
