"""Named optimizers remember how they were made, so that a partition can make them again with the axes it was told."""

import contextlib
import contextvars
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import optax

from optax_muon._static_arguments import require_static, static_arguments

F = TypeVar("F", bound=Callable[..., optax.GradientTransformation])


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The call that made an optimizer.

    Attributes:
        make: the function.
        args: its positional arguments.
        kwargs: its keywords.
    """

    make: Callable[..., optax.GradientTransformation]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def has_leaves(self) -> bool:
        """Whether the caller gave axes himself."""
        # Keyword-only in every named optimizer, so that the positional arguments need no look.
        return self.kwargs.get("leaves") is not None

    def remake(self, leaves: Any) -> optax.GradientTransformation:
        """Make the optimizer again with these axes."""
        # ``make`` is the function below the decorator: what it makes has its axes, and needs no recipe.
        return self.make(*self.args, **self.kwargs | {"leaves": leaves})


class Named(optax.GradientTransformationExtraArgs):
    """A transformation that remembers its recipe; a copy with another ``init`` or ``update`` has none.

    Attributes:
        recipe: the call that made it, or None.
    """

    # Of the class: `_replace` and `_make` pass by ``__new__``, and their copies must not claim a recipe.
    recipe: Recipe | None = None

    def __new__(cls, init: Any, update: Any, recipe: Recipe | None = None):
        """Make one; containers that are rebuilt from their two fields have no recipe."""
        self = super().__new__(cls, init, update)
        self.recipe = recipe
        return self


@dataclasses.dataclass
class Said:
    """Axes that a partition says to the named optimizers that are made while it runs, and whether one heard."""

    leaves: Any
    heard: bool = False


# Nothing else reaches `optax.inject_hyperparams`, which makes its optimizer anew inside every init and update.
_said: contextvars.ContextVar[Said | None] = contextvars.ContextVar("axes said by a partition", default=None)


@contextlib.contextmanager
def saying(leaves: Any) -> Iterator[Said]:
    """Say axes to every named optimizer that is made within and has none of its own."""
    said = Said(leaves)
    token = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(token)


def remembered(make: Callable[..., optax.GradientTransformation], args: tuple, kwargs: dict[str, Any]) -> Named:
    """Call ``make`` and keep the call."""
    # Callers hand extra arguments to a `Named` unasked; a plain transformation would raise on them.
    tx = optax.with_extra_args_support(make(*args, **kwargs))
    return Named(tx.init, tx.update, Recipe(make, args, kwargs))


def named(make: F, static: tuple[str, ...] = ()) -> F:
    """Let what ``make`` makes remember its call, and hear the axes that a partition says.

    Args:
        make: a function that takes ``leaves=`` and makes a transformation.
        static: arguments that shape the program, beside those whose annotation tells (`static_arguments`).
    """
    takes_leaves = "leaves" in inspect.signature(make).parameters
    structure = static_arguments(make) | frozenset(static)

    @functools.wraps(make)
    def build(*args: Any, **kwargs: Any) -> Named:
        """Make the optimizer, with the axes said where it was given none, and keep the call."""
        # `optax.inject_hyperparams` passes every argument by name, so an array can only come as a keyword.
        require_static(make.__name__, structure, kwargs)
        said = _said.get()
        if said is not None and takes_leaves and kwargs.get("leaves") is None:
            said.heard = True
            kwargs["leaves"] = said.leaves
        return remembered(make, args, kwargs)

    setattr(build, "static_args", structure)  # noqa: B010 - for `static_arguments`; a function has no such field
    return build  # pyright: ignore[reportReturnType] - wraps keeps the signature
