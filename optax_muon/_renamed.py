"""Public names that have changed: the old ones still work, with a warning that says the new."""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def renamed_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a module's ``__getattr__`` that finds ``names``, old to new, with a `DeprecationWarning`."""

    def find(name: str) -> Any:
        """Find an old name by its new one."""
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now {module}.{names[name]}", DeprecationWarning, stacklevel=2)
        # Looked up at the call: when `find` is made, the module is still being executed.
        return getattr(importlib.import_module(module), names[name])

    return find


def renamed_arguments(**names: str | tuple[str, ...]) -> Callable[[F], F]:
    """Let a function take its old keywords, ``old="new"``, with a `DeprecationWarning`; its signature is the new one.

    An old argument that held several values becomes several, ``old=("first", "second")``.

    Raises:
        TypeError: at the call, where old and new are both given.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **_translated(function.__name__, names, kwargs))

        return call  # pyright: ignore[reportReturnType] - wraps keeps the signature

    return decorate


def renamed_fields(**names: str | tuple[str, ...]) -> Callable[[C], C]:
    """Let a dataclass take its old keywords, as `renamed_arguments` does for a function."""

    def decorate(cls: C) -> C:
        make: Any = cls.__init__

        @functools.wraps(make)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            make(self, *args, **_translated(cls.__name__, names, kwargs))

        # In place, not a subclass: the class keeps its identity for pickling, `isinstance` and its annotations.
        cls.__init__ = init
        return cls

    return decorate


def _translated(who: str, names: Mapping[str, str | tuple[str, ...]], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Give old keywords their new names, each with a warning; a pair under one old name becomes two keywords."""
    for old in [name for name in names if name in kwargs]:
        target = names[old]
        several = (target,) if isinstance(target, str) else target
        said = " and ".join(several)
        if any(new in kwargs for new in several):
            raise TypeError(f"{who}: {old} is the old name of {said}; give one of them")
        # The third frame up is the caller's line: this function and its wrapper come first.
        warnings.warn(f"{who}: {old} is now {said}", DeprecationWarning, stacklevel=3)
        values = (kwargs.pop(old),) if isinstance(target, str) else kwargs.pop(old)
        kwargs.update(zip(several, values, strict=True))
    return kwargs
