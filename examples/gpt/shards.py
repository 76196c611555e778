"""Tokens in files: a folder of shards, and Grain's reading of it in batches.

A folder holds ``index.json``, ``tokenizer.json``, ``train-00000.npy``, ..., ``valid-00000.npy``; ``make_shards.py``
writes it. A row is a window of ``context + 1`` tokens of one shard; windows do
not overlap but in the token that one predicts last and the next one reads first.
"""

import dataclasses
import functools
import json
import operator
import pathlib
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from jaxtyping import Int
from numpy.typing import ArrayLike

INDEX = "index.json"


class ShardError(ValueError):
    """A folder of shards that cannot be read; its message is one line."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of tokens."""

    file: str
    tokens: int


@dataclasses.dataclass(frozen=True)
class Folder:
    """What ``index.json`` says.

    Attributes:
        path: of the folder.
        vocabulary: number of different tokens.
        characters_per_token: mean length of a token.
        digest: of the text.
        train: shards to train on.
        valid: shards to validate on.
    """

    path: pathlib.Path
    vocabulary: int
    characters_per_token: float
    digest: str
    train: tuple[Shard, ...]
    valid: tuple[Shard, ...]

    @classmethod
    def open(cls, path: pathlib.Path) -> "Folder":
        """Read the index and look whether every shard is there and whole.

        Raises:
            ShardError: naming the file and what to do.
        """
        cure = f"make it again: python examples/gpt/make_shards.py --out {path}"
        try:
            index = json.loads((path / INDEX).read_text())
            parts = {part: tuple(Shard(**shard) for shard in index.pop(part)) for part in ("train", "valid")}
            folder = cls(path, index["vocabulary"], index["characters_per_token"], index["digest"], **parts)
        except FileNotFoundError:
            raise ShardError(f"{path} holds no token shards ({INDEX} is missing); {cure}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ShardError(f"{path / INDEX} is not an index of token shards; {cure}") from None
        for shard in folder.train + folder.valid:
            try:
                found = len(folder.tokens(shard))
            except (OSError, ValueError):
                raise ShardError(f"{path / shard.file} is missing or torn; {cure}") from None
            if found != shard.tokens:
                raise ShardError(f"{path / shard.file} holds {found} tokens, not {shard.tokens}; {cure}")
        return folder

    def tokens(self, shard: Shard) -> Int[np.ndarray, " N"]:
        """Map a shard's tokens, which are read where they are touched."""
        return np.load(self.path / shard.file, mmap_mode="r")

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer` that made the tokens."""
        import tokenizers

        return tokenizers.Tokenizer.from_file(str(self.path / "tokenizer.json"))

    @property
    def size(self) -> int:
        """Number of tokens to train on."""
        return sum(shard.tokens for shard in self.train)

    @property
    def longest(self) -> int:
        """Largest context of which both parts hold a window."""
        return min(max(shard.tokens for shard in part) for part in (self.train, self.valid)) - 1

    def decode(self, ids: ArrayLike) -> str:
        """Text of some tokens."""
        return self.tokenizer.decode(np.asarray(ids).tolist(), skip_special_tokens=False)

    def encode(self, text: str) -> Int[np.ndarray, " N"]:
        """Tokens of a text."""
        return np.asarray(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int32)


class Rows:
    """Windows of ``context + 1`` tokens of some shards, by number: a source for `grain.MapDataset`.

    Args:
        folder: where they are.
        shards: of the folder, in order.
        context: tokens that the model reads.

    Raises:
        ShardError: if no shard is as long as a window.
    """

    def __init__(self, folder: Folder, shards: tuple[Shard, ...], context: int):
        self.context = context
        self.files = [folder.tokens(shard) for shard in shards]
        self.ends = np.cumsum([max(0, (len(file) - 1) // context) for file in self.files])
        if not len(self):
            raise ShardError(f"{folder.path}: no shard holds a window of {context + 1} tokens; make longer shards")

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Int[np.ndarray, " T+1"]:
        row = operator.index(index)
        which = int(np.searchsorted(self.ends, row, side="right"))
        start = (row - (int(self.ends[which - 1]) if which else 0)) * self.context
        return np.asarray(self.files[which][start : start + self.context + 1], np.int32)

    def __repr__(self) -> str:
        return f"Rows({len(self)} of {self.context + 1})"


@dataclasses.dataclass(frozen=True)
class Part:
    """A process's part of every batch: rows process, process + processes, ... of it."""

    process: int = 0
    processes: int = 1


ALL = Part()  # of one process


def batches(rows: Rows, batch: int, seed: int, start: int = 0, part: Part = ALL) -> Iterator[Int[np.ndarray, "b T+1"]]:
    """Read this process's rows of every batch from step ``start`` on, shuffled anew in every pass over the text.

    Step and seed alone decide which rows a batch has, so a resumed run sees the same batches, on any number of
    processes. Threads of Grain's read ahead.

    Args:
        rows: the source.
        batch: rows of a step over all processes; ``part.processes`` divides it.
        seed: of the order.
        start: first step.
        part: which rows of a batch are read here.
    """
    shuffled = grain.MapDataset.source(rows).seed(seed).shuffle().repeat()
    first = start * batch + part.process
    own = shuffled.slice(slice(first, None, part.processes)).batch(batch // part.processes, batch_fn=np.stack)
    return iter(own.to_iter_dataset())


def windows(rows: Rows, count: int) -> Int[np.ndarray, "count T+1"]:
    """Take ``count`` rows at equal distances, always the same ones."""
    return np.stack([rows[i] for i in np.linspace(0, len(rows) - 1, count).astype(int)])
