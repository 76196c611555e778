"""The registry of named optimizers: each file declares its card beside its function."""

import dataclasses
import functools
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

import optax

from optax_muon import transforms

F = TypeVar("F", bound=Callable[..., optax.GradientTransformation])


@dataclasses.dataclass(frozen=True)
class Card:
    """What the library says of a named optimizer.

    Attributes:
        name: the public name, ``om.<name>``.
        make: the function.
        kind: ``matrix`` takes hidden leaves only; ``roles`` the whole tree; ``wrapper`` an inner transformation.
        paper: title and arXiv number.
        confidence: ``EXACT`` (the algorithm was read), ``PARTIAL``, or ``OUR READING`` (only an abstract was found).
        state: floats of state per parameter, in words.
        chain: the composition in one line.
        deviations: how it differs from the paper or the authors' code.
        learning_rate: where to start tuning, with the function's own defaults.
        defaults: keyword arguments that ``make`` cannot do without, for contracts and comparisons.
        extra_args: what ``update`` cannot do without besides gradients and parameters.
    """

    name: str
    make: Callable[..., optax.GradientTransformation]
    kind: Literal["matrix", "roles", "wrapper"]
    paper: str
    confidence: Literal["EXACT", "PARTIAL", "OUR READING"]
    state: str
    chain: str
    deviations: str = "none"
    learning_rate: float = 0.02
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    extra_args: tuple[str, ...] = ()


_cards: dict[str, Card] = {}

registry = MappingProxyType(_cards)
"""Name -> `Card` of every named optimizer."""


def card(**fields: Any) -> Callable[[F], F]:
    """Register the decorated optimizer under its own name, with the fields of `Card`.

    What it makes computes in its ``state_dtype`` and gives the gradients' dtype, by `transforms.compute_in`.
    """

    def register(make: F) -> F:
        name = make.__name__
        if name in _cards:
            raise ValueError(f"two optimizers are called {name!r}")

        @functools.wraps(make)
        def named(*args: Any, **options: Any) -> optax.GradientTransformationExtraArgs:
            return transforms.compute_in(make(*args, **options), options.get("state_dtype"))

        _cards[name] = Card(name=name, make=named, **fields)
        return cast(F, named)

    return register
