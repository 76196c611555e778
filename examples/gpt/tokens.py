"""Byte-pair encodings, by the package ``tokenizers``."""

from typing import Any


def train_byte_pairs(text: str, vocabulary: int) -> Any:
    """Train an encoding of ``vocabulary`` symbols; the 256 bytes are among them, so it encodes any text."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.decoder = tokenizers.decoders.ByteLevel()  # pyright: ignore
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def symbols_of(tokenizer: Any) -> tuple[str, ...]:
    """Text of every token alone."""
    return tuple(tokenizer.decode([i], skip_special_tokens=False) for i in range(tokenizer.get_vocab_size()))
