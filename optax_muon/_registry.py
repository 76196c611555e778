"""The registry of named optimizers: each file declares its card beside its function."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

import optax

from optax_muon import transforms
from optax_muon._docstring import completed
from optax_muon._named import named
from optax_muon._options import SHARED
from optax_muon._renamed import renamed_arguments
from optax_muon._state_size import Form as Form
from optax_muon._state_size import StateSize as StateSize
from optax_muon._static_arguments import static_arguments
from optax_muon.placement import OnShards

F = TypeVar("F", bound=Callable[..., optax.GradientTransformation])


@dataclasses.dataclass(frozen=True)
class Card:
    """What the library says of a named optimizer.

    What can be counted or compared stands in the card; prose stands in the function's docstring, where the card finds
    ``paper`` and ``deviations``, and which it completes by the shared arguments and the state.

    Attributes:
        name: the public name, ``om.<name>``.
        make: the function.
        kind: ``matrix`` takes hidden leaves only; ``roles`` the whole tree; ``any`` every leaf, the whole tree or
            what is left of it; ``wrapper`` an inner transformation.
        paper: its references.
        confidence: ``EXACT`` (the algorithm was read), ``PARTIAL``, or ``OUR READING`` (only an abstract was found).
        state: floats of state.
        chain: the stages that it builds by default, in order; in brackets those inside a stage.
        deviations: how it differs from the paper or the authors' code.
        in_place: whether its rule needs no matrix work that a placement could carry out.
        couples: whether one leaf's gradient changes another leaf's update by the rule itself.
        learning_rate: where to start tuning, with the function's own defaults.
        defaults: keyword arguments that ``make`` cannot do without, for contracts and comparisons.
        extra_args: what ``update`` cannot do without besides gradients and parameters.
        renamed: old names of arguments, which still work, and the new ones.
        static: arguments that shape the program though their annotation does not say so.
    """

    name: str
    make: Callable[..., optax.GradientTransformation]
    kind: Literal["matrix", "roles", "any", "wrapper"]
    paper: str
    confidence: Literal["EXACT", "PARTIAL", "OUR READING"]
    state: StateSize
    chain: str
    deviations: str = "none"
    in_place: bool = False
    couples: bool = False
    learning_rate: float = 0.02
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    extra_args: tuple[str, ...] = ()
    renamed: Mapping[str, str | tuple[str, ...]] = dataclasses.field(default_factory=dict)
    static: tuple[str, ...] = ()

    @property
    def static_args(self) -> frozenset[str]:
        """Arguments that shape the program: whole numbers, switches and what ``static`` names; never tracers."""
        return static_arguments(self.make)


_cards: dict[str, Card] = {}

registry = MappingProxyType(_cards)
"""Name -> `Card` of every named optimizer."""


def card(
    *, state: StateSize, renamed: Mapping[str, str | tuple[str, ...]] = MappingProxyType({}), **fields: Any
) -> Callable[[F], F]:
    """Register the decorated optimizer under its own name, with the fields of `Card`, and complete its docstring.

    What it makes computes in its ``state_dtype`` and gives the gradients' dtype, by `transforms.compute_in`.
    """

    def register(make: F) -> F:
        """Complete the docstring first, since every wrapper copies it."""
        name = make.__name__
        if name in _cards:
            raise ValueError(f"two optimizers are called {name!r}")
        prose = completed(make, SHARED, state.sentence())
        make.__doc__ = prose.text
        make = named(_in_state_dtype(make), fields.get("static", ()))
        # Outermost, so that its warnings name the caller's line.
        if renamed:
            make = renamed_arguments(**renamed)(make)
        _cards[name] = Card(
            name=name, make=make, paper=prose.paper, deviations=prose.deviations, state=state, renamed=renamed, **fields
        )
        return make

    return register


def _in_state_dtype(make: F) -> F:
    """Let what ``make`` makes compute in its ``state_dtype``."""

    @functools.wraps(make)
    def build(*args: Any, **options: Any) -> optax.GradientTransformationExtraArgs:
        if isinstance(options.get("placement"), OnShards):
            raise ValueError(
                f"{make.__name__}: its rule is one of whole matrices, and OnShards() would compute on blocks of them; "
                "om.muon_bp takes steps on blocks between those on whole matrices"
            )
        return transforms.compute_in(make(*args, **options), options.get("state_dtype"))

    return cast(F, build)
