"""The registry of named optimizers: each file declares its card beside its function."""

import dataclasses
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import optax

from optax_muon._named import named
from optax_muon._structure import static_arguments

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
        static: arguments that shape the program though their annotation does not say so.
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
    static: tuple[str, ...] = ()

    @property
    def static_args(self) -> frozenset[str]:
        """Arguments that shape the program: whole numbers, switches and what ``static`` names; never tracers."""
        return static_arguments(self.make)


_cards: dict[str, Card] = {}

registry = MappingProxyType(_cards)
"""Name -> `Card` of every named optimizer."""


def card(**fields: Any) -> Callable[[F], F]:
    """Register the decorated optimizer under its own name, with the fields of `Card`."""

    def register(make: F) -> F:
        name = make.__name__
        if name in _cards:
            raise ValueError(f"two optimizers are called {name!r}")
        remembering = named(make, fields.get("static", ()))
        _cards[name] = Card(name=name, make=remembering, **fields)
        return remembering

    return register
