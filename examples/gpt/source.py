"""What a run is trained on: a text as tokens in memory, or a folder of token shards."""

import argparse
from typing import Protocol

from gpt import data, shards
from gpt.errors import OptionError
from jaxtyping import Array
from numpy.typing import ArrayLike


class Text(Protocol):
    """Tokens to train on, in memory or in files."""

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        ...

    @property
    def size(self) -> int:
        """Number of tokens to train on."""
        ...

    @property
    def longest(self) -> int:
        """Largest context of which both parts, that to train on and the held-out one, hold a window."""
        ...

    @property
    def digest(self) -> str:
        """What the text is known by: losses compare where it is the same."""
        ...

    def encode(self, text: str) -> ArrayLike:
        """Tokens of a text."""
        ...

    def decode(self, ids: Array) -> str:
        """Text of some tokens."""
        ...


def text_of(args: argparse.Namespace) -> Text:
    """Read the text, or open the folder of shards, that the options name.

    Raises:
        OptionError: if the shards cannot be read, or the context is longer than what is held out.
    """
    text = _text(args)
    if args.context > text.longest:
        raise OptionError(
            f"argument --context: must be at most {text.longest}, the held-out text's length, not {args.context}"
        )
    return text


def _text(args: argparse.Namespace) -> Text:
    if getattr(args, "data", None) is None:
        return (data.characters if args.tokens == "characters" else data.byte_pairs)(args.text)
    try:
        return shards.Folder.open(args.data)
    except shards.ShardError as error:
        raise OptionError(f"argument --data: {error}") from None
