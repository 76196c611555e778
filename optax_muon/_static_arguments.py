"""Which arguments of an optimizer shape its program, and so can be no tracers: periods, ranks, steps, switches."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax

# Annotations are compared as objects: under `from __future__ import annotations` they would be strings, and no
# argument would count as structure.
WHOLE = (int, bool, str, types.NoneType)


def static_arguments(make: Callable[..., Any]) -> frozenset[str]:
    """Name the arguments that must stay Python values when the others become arrays.

    Those are the ones whose annotation admits nothing but whole numbers, booleans, strings and None; for a named
    optimizer also what it declares beyond that.
    """
    declared = getattr(_unwrapped(make), "static_args", frozenset())
    annotations = {name: p.annotation for name, p in inspect.signature(make).parameters.items()}
    return frozenset(name for name, kind in annotations.items() if _is_structure(kind) or name in declared)


def require_static(owner: str, static: frozenset[str], given: Mapping[str, Any]) -> None:
    """Raise where an argument of structure came as an array, as `optax.inject_hyperparams` makes of every number.

    Raises:
        TypeError: naming the arguments and the cure.
    """
    arrays = sorted(name for name in static if isinstance(given.get(name), jax.Array))
    if arrays:
        listed = ", ".join(map(repr, arrays))
        raise TypeError(
            f"{owner}: the program is built from {listed}, so they cannot be arrays, which optax.inject_hyperparams "
            f"makes of every number; write om.inject_hyperparams(om.{owner}), which leaves them alone, or "
            f"optax.inject_hyperparams(om.{owner}, static_args={sorted(static)})"
        )


def _unwrapped(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function below any `functools.partial`, which does not pass its attributes on."""
    while isinstance(make, functools.partial):
        make = make.func
    return make


def _is_structure(annotation: Any) -> bool:
    """Tell whether an annotation admits no float and no array."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = typing.get_args(annotation)
        # One member that may be a number is enough to make the argument a hyperparameter.
        return set(members) != {types.NoneType} and all(map(_is_structure, members))
    return annotation in WHOLE or typing.get_origin(annotation) is Literal
