"""A text as tokens on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from gpt import texts
from gpt.tokens import symbols_of, train_byte_pairs
from jaxtyping import Array, Int

HELD_OUT = 0.05  # the end of the text, never trained on


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Token ids of the text, the last five per cent held out.

    Attributes:
        train: ids to train on.
        valid: ids to validate on.
        symbols: text of each id.
        characters_per_token: mean length of a token, 1.0 at character level.
        digest: of the text.
    """

    train: Int[Array, " N"]
    valid: Int[Array, " M"]
    symbols: tuple[str, ...]
    characters_per_token: float
    digest: str

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return len(self.symbols)

    @property
    def size(self) -> int:
        """Number of tokens to train on."""
        return self.train.shape[0]

    @property
    def longest(self) -> int:
        """Largest context of which both parts hold a window."""
        return min(len(self.train), len(self.valid)) - 1

    def encode(self, text: str) -> Array:
        """Ids of a text made of whole symbols, longest first."""
        ids, table, longest = [], {s: i for i, s in enumerate(self.symbols)}, max(map(len, self.symbols))
        while text:
            size = next(n for n in range(min(longest, len(text)), 0, -1) if text[:n] in table)
            ids.append(table[text[:size]])
            text = text[size:]
        return jnp.asarray(ids, jnp.int32)

    def decode(self, ids: Array) -> str:
        """Text of some ids."""
        return "".join(self.symbols[i] for i in np.asarray(ids))


def characters(name: str = "shakespeare") -> Corpus:
    """Build the character-level corpus of a text: 84 symbols for Shakespeare."""
    text = texts.TEXTS[name]()
    symbols = tuple(sorted(set(text)))
    table = {symbol: i for i, symbol in enumerate(symbols)}
    return _corpus(text, np.fromiter((table[c] for c in text), np.uint8, len(text)), symbols)


def byte_pairs(name: str = "shakespeare", vocabulary: int = 4096) -> Corpus:
    """Train a byte-pair encoding of ``vocabulary`` symbols on a text's training part and encode the text with it."""
    text = texts.TEXTS[name]()
    tokenizer = train_byte_pairs(text[: int(len(text) * (1 - HELD_OUT))], vocabulary)
    return _corpus(text, np.asarray(tokenizer.encode(text).ids, np.uint16), symbols_of(tokenizer))


def _corpus(text: str, ids: np.ndarray, symbols: tuple[str, ...]) -> Corpus:
    cut, length = int(len(ids) * (1 - HELD_OUT)), len(text) / len(ids)
    return Corpus(jnp.asarray(ids[:cut]), jnp.asarray(ids[cut:]), symbols, length, texts.digest(text))


def sample(ids: Int[Array, " N"], key: Array, batch: int, context: int) -> Int[Array, "B T+1"]:
    """Draw windows of ``context + 1`` ids; the key alone decides, so a resumed run sees the same batches."""
    starts = jax.random.randint(key, (batch, 1), 0, ids.shape[0] - context)
    return ids[starts + jnp.arange(context + 1)].astype(jnp.int32)


def windows(ids: Int[Array, " N"], count: int, context: int) -> Int[Array, "count T+1"]:
    """Take ``count`` windows at equal distances, always the same ones."""
    starts = np.linspace(0, ids.shape[0] - context - 1, count).astype(np.int32)[:, None]
    return ids[starts + np.arange(context + 1)].astype(jnp.int32)
