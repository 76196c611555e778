"""The table of primitives: for each, what its results hold of the parameters."""

import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from optax_muon.matrices.call._record import Record
from optax_muon.matrices.call._value import Dims, Place, Value


class Walk(Protocol):
    """What a rule may ask of the walk that calls it."""

    record: Record

    def run(self, jaxpr: Any, args: Sequence[Value], place: Place) -> list[Value]:
        """Walk an inner trace, closed or open."""
        ...

    def mapped(self, value: Value, change: Callable[[Dims], Dims | None], place: Place, eqn: Any) -> Value:
        """Change the dimensions of every view, and note what is lost."""
        ...


Rule = Callable[[Walk, Any, list[Value], Place], list[Value]]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Make the decorated function the rule of these primitives."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def shape_of(var: Any) -> tuple[int, ...]:
    """Shape of a variable or literal."""
    return tuple(getattr(var.aval, "shape", ()))


LIBRARIES = ("jax", "jaxlib", "flax", "haiku", "equinox", "optax_muon")


def source_of(eqn: Any) -> str:
    """Name of the primitive and the model's own line, e.g. ``dot_general at model.py:41``."""
    name = eqn.primitive.name
    traceback, folders = eqn.source_info.traceback, _folders()
    for frame in traceback.frames if traceback is not None else ():
        if frame.line_num and not frame.file_name.startswith(folders):
            return f"{name} at {pathlib.PurePath(frame.file_name).name}:{frame.line_num}"
    return name


def _folders() -> tuple[str, ...]:
    """Folders of the libraries between a model and its primitives, of those that are imported."""
    files = (getattr(sys.modules.get(name), "__file__", None) for name in LIBRARIES)
    return tuple(str(pathlib.PurePath(file).parent) for file in files if file)
