"""Arrays that stand in the fields of an operation: schedules, coefficients that are learned or traced."""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax


def arrays_of(op: Any) -> list[jax.Array]:
    """Every array in the fields of a dataclass, fields of fields included."""
    if isinstance(op, jax.Array):
        return [op]
    return [array for part in _parts(op).values() for array in arrays_of(part)]


def with_arrays(op: Any, arrays: Sequence[jax.Array]) -> Any:
    """Put other arrays in their places, in the order of `arrays_of`.

    `jax.shard_map` on an Explicit mesh takes arrays as arguments alone, never from the function's surroundings.
    """
    return _rebuilt(op, iter(arrays))


def _parts(value: Any) -> dict[Any, Any]:
    """Fields, entries or items of a value, by their name, number or key; none of anything else."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return dict(enumerate(value))
    return value if isinstance(value, dict) else {}


def _rebuilt(value: Any, arrays: Iterator[jax.Array]) -> Any:
    """Copy a value with the next arrays in their places; what holds none is not copied."""
    if isinstance(value, jax.Array):
        return next(arrays)
    if not arrays_of(value):
        return value
    parts = {key: _rebuilt(part, arrays) for key, part in _parts(value).items()}
    if isinstance(value, dict):
        return parts
    if isinstance(value, tuple | list):
        return type(value)(*parts.values()) if hasattr(value, "_fields") else type(value)(parts.values())
    changed = copy.copy(value)
    for name, part in parts.items():
        object.__setattr__(changed, name, part)  # a frozen dataclass; its own checks ran on the original
    return changed
