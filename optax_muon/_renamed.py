"""Public names that have changed: the old ones still work, with a warning that says the new."""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def renamed_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a module's ``__getattr__`` that finds ``names``, old to new, with a `DeprecationWarning`."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now {module}.{names[name]}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(module), names[name])

    return find


def renamed_arguments(**names: str) -> Callable[[F], F]:
    """Let a function take its old keywords, ``old="new"``, with a `DeprecationWarning`; its signature is the new one.

    Raises:
        TypeError: at the call, where old and new are both given.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old in [name for name in names if name in kwargs]:
                new = names[old]
                if new in kwargs:
                    raise TypeError(f"{function.__name__}: {old} is the old name of {new}; give one of them")
                warnings.warn(f"{function.__name__}: {old} is now {new}", DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call  # pyright: ignore[reportReturnType] - wraps keeps the signature

    return decorate
