"""Files that a killed process leaves whole: as they were, or as they should be."""

import os
import pathlib


def replace_text(path: pathlib.Path, text: str) -> None:
    """Write a file beside the old one and let it take its place in one step."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
