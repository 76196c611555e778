"""What an optimizer builds, in the words of its card's chain: the factories of stages are watched while it is built."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import optax

import optax_muon as om
from optax_muon import transforms, workers
from optax_muon.linalg import best

WORDS = {
    "decayed_weights": "decay",
    "scale_by_learning_rate": "learning rate",
    "trace": "heavy_ball",
}
# A dtype around stages is none of them, and every card has it, muon inside of a variant too.
CLEAR = ("chain", "compute_in", "own_state")
APPLIED = ("apply_to_matrices", "apply_with_gradients", "apply_with_weights")  # told by what they apply
OPTAX = (
    "add_decayed_weights", "chain", "ema", "multi_transform", "scale", "scale_by_adam", "scale_by_learning_rate",
    "scale_by_schedule", "scale_by_sign", "set_to_zero", "trace",
)  # fmt: skip


class Watch:
    """Remembers what the watched factories have made, by their update functions, which every wrapper keeps."""

    def __init__(self):
        self.made: dict[int, tuple[Any, str]] = {}
        self.depth = 0

    def watched(self, name: str, make: Any) -> Any:
        """Call ``make`` and remember the words for its result, unless another factory asks for it."""

        @functools.wraps(make)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            try:
                result = make(*args, **kwargs)
            finally:
                self.depth -= 1
            if self.depth == 0 and isinstance(result, optax.GradientTransformation):
                self.made[id(result.update)] = (result, self.words(name, args, kwargs))
            return result

        return call

    def words(self, name: str, args: Any, kwargs: Any) -> str:
        """Say a stage, with the stages inside it in brackets."""
        inside = [text for thing in (*args, *kwargs.values()) for text in self.told(thing)]
        if name in CLEAR:
            return " -> ".join(inside)
        if name in APPLIED:
            return "orthogonalize" if args[0] == best() else type(args[0]).__name__
        nesterov = kwargs.get("nesterov") or (name == "trace" and True in args)
        word = ("nesterov_" if nesterov else "") + WORDS.get(name, name).lstrip("_")
        return f"{word}({' | '.join(dict.fromkeys(inside))})" if inside else word

    def told(self, thing: Any) -> Iterator[str]:
        """Say the stages that an argument holds."""
        if isinstance(thing, optax.GradientTransformation):
            made = f"{thing.update.__module__}.{thing.update.__qualname__}"
            assert id(thing.update) in self.made, f"{made}: wrap this stage in a function of the optimizer's file"
            yield self.made[id(thing.update)][1]
        elif isinstance(thing, functools.partial):
            yield thing.func.__name__
        elif isinstance(thing, dict):
            yield from (text for value in thing.values() for text in self.told(value))


def chain(card: om.Card) -> str:
    """Build a card's optimizer with its defaults, and say the stages that it is made of."""
    watch = Watch()
    # What a card cannot do without was made before, and is called as the argument is.
    given = {name: value for name, value in card.defaults.items() if isinstance(value, optax.GradientTransformation)}
    watch.made |= {id(value.update): (value, name) for name, value in given.items()}
    theirs = [module for name, module in sys.modules.items() if name.startswith("optax_muon.optimizers._")]
    with contextlib.ExitStack() as stack:
        for module in (optax, transforms, workers, *theirs):
            for name in OPTAX if module is optax else list(vars(module)):
                make = getattr(module, name)
                if inspect.isfunction(make) and name not in om.registry:  # muon's stages are those of its variants
                    stack.enter_context(mock.patch.object(module, name, watch.watched(name, make)))
        return next(watch.told(card.make(0.1, **card.defaults)))
