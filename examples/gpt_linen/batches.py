"""Where the batches come from: windows of a text on the devices, or Grain's rows of a folder of shards."""

import functools
from typing import Protocol

import jax
import numpy as np
from gpt import data, shards
from gpt.errors import OptionError
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int

VALIDATION = 640  # windows


class Batches(Protocol):
    """Batches by step, and the validation set."""

    valid: Int[Array, "N B T+1"]

    def at(self, step: int, key: Array) -> Int[Array, "B T+1"]:
        """Give a step's batch; step and key alone decide, so a resumed run sees the same batches."""
        ...


class FromText:
    """Windows drawn by the step's key from a text that every device holds.

    Args:
        corpus: the text.
        batch: sequences in a step.
        context: tokens that the model reads.
        by_batch: sharding of a batch.
        windows: sequences to validate on.
    """

    def __init__(
        self, corpus: data.Corpus, batch: int, context: int, by_batch: NamedSharding, windows: int = VALIDATION
    ):
        everywhere = NamedSharding(by_batch.mesh, PartitionSpec())
        # From the host's memory: every process holds the whole text, and no device of another one's.
        self.ids = jax.device_put(np.asarray(corpus.train), everywhere)
        self.draw = jax.jit(functools.partial(data.sample, batch=batch, context=context), out_shardings=by_batch)
        per = _validation_batch(by_batch)
        held_out = np.asarray(data.windows(corpus.valid, max(1, windows // per) * per, context))
        self.valid = jax.device_put(held_out.reshape(-1, per, context + 1), everywhere)

    def at(self, step: int, key: Array) -> Int[Array, "B T+1"]:
        """Draw a batch; the key alone decides."""
        return self.draw(self.ids, key)


class FromShards:
    """Rows of a folder of token shards, of which every process reads its own part.

    Args:
        folder: the shards.
        batch: sequences in a step.
        context: tokens that the model reads.
        by_batch: sharding of a batch.
        seed: of the order of the rows.
        windows: sequences to validate on.

    Raises:
        OptionError: if no shard is as long as a window, or the processes do not divide the batch.
    """

    def __init__(
        self,
        folder: shards.Folder,
        batch: int,
        context: int,
        by_batch: NamedSharding,
        seed: int,
        windows: int = VALIDATION,
    ):
        if batch % jax.process_count():
            raise OptionError(f"argument --batch: {jax.process_count()} processes do not divide {batch} sequences")
        try:
            self.rows = shards.Rows(folder, folder.train, context)
            valid = shards.Rows(folder, folder.valid, context)
        except shards.ShardError as error:
            raise OptionError(f"argument --data: {error}") from None
        self.batch, self.seed, self.by_batch = batch, seed, by_batch
        self.part = shards.Part(jax.process_index(), jax.process_count())
        self.next, self.read = -1, None
        per = _validation_batch(by_batch)
        held_out = shards.windows(valid, max(1, min(windows, len(valid)) // per) * per)
        everywhere = NamedSharding(by_batch.mesh, PartitionSpec())
        self.valid = jax.device_put(held_out.reshape(-1, per, context + 1), everywhere)

    def at(self, step: int, key: Array) -> Int[Array, "B T+1"]:
        """Read a step's batch, in order without a pause; another step than the next one starts the reading anew."""
        if step != self.next or self.read is None:
            self.read = shards.batches(self.rows, self.batch, self.seed, step, self.part)
        self.next = step + 1
        return jax.make_array_from_process_local_data(self.by_batch, next(self.read))


def _validation_batch(by_batch: NamedSharding) -> int:
    return int(np.lcm(32, by_batch.mesh.shape["data"]))
