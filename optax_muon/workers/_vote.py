"""The majority's sign of every entry, one bit each."""

import zlib
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.transforms._messages import pack_bits, unpack_bits
from optax_muon.workers._worker_axis import AxisName, from_all_workers, worker_count

Ties = Literal["zero", "first", "random"]


class VoteState(NamedTuple):
    """State of `vote`: updates so far, int32 scalar."""

    count: Any


def vote(
    axis_name: AxisName, *, ties: Ties = "zero", packed: bool = True, seed: int | Array = 0
) -> optax.GradientTransformation:
    r"""Emit the sign that most workers have, in every entry.

    Use it, behind an orthogonaliser, where the way between workers is slow: every worker sends one bit per entry.
    Fewer than half of the workers cannot turn an entry on which the others agree.

    .. math::
        U \leftarrow \operatorname{sign} \sum_j \operatorname{sign} U_j

    Args:
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, `optax.scale_by_sign`.
        ties: what an even vote gives: zero, the first worker's sign, or a sign drawn for all workers alike.
        packed: send bits, eight to a byte. An entry that is zero or NaN then votes all the same, by a coin that every
            second worker turns over, so that two abstentions cancel; where an even number of workers has zero, that
            is a tie. False: send a byte, and zeros and NaN abstain.
        seed: of the coins.

    State: a count.

    Raises:
        TypeError: naming a complex parameter.
        ValueError: for other ties, or an axis that is not there.

    References:
        Mishra et al., SignMuon, arXiv 2605.16311.

    Example:
        >>> import jax, jax.numpy as jnp, optax_muon as om
        >>> tx = om.workers.vote("workers")
        >>> step = lambda g: tx.update(g, tx.init(g))[0]
        >>> jax.vmap(step, axis_name="workers")(jnp.array([[2.0, -1.0], [1.0, 5.0], [-9.0, -1.0]]))[0].tolist()
        [1.0, -1.0]
    """
    if ties not in ("zero", "first", "random"):
        raise ValueError(f"vote: ties must be 'zero', 'first' or 'random', not {ties!r}")
    if axis_name is None:
        return optax.scale_by_sign()

    def init_fn(params):
        """Start counting."""
        for path, x in by_path(params).items():
            if jnp.issubdtype(x.dtype, jnp.complexfloating):
                raise TypeError(f"{path}: vote takes real updates, and {x.dtype} has no sign to count")
        return VoteState(jnp.zeros([], jnp.int32))

    def update_fn(updates, state, params=None):
        """Count the votes of every entry."""
        del params
        count = worker_count(axis_name, "vote")

        def decided(path: str, x: Array) -> Array:
            """Decide one parameter's entries."""
            if count == 1 or x.size == 0:
                return jnp.sign(x)
            # The same on all workers: drawn from the step and the path, never from a worker's number.
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(path.encode())), state.count)
            total, first = (_counted_bits if packed else _counted_bytes)(x, axis_name, count, key)
            return _settled(total, first, ties, jax.random.fold_in(key, 1)).astype(x.dtype)

        return map_by_path(decided, updates), VoteState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init_fn, update_fn)


def _counted_bits(x: Array, axis_name: AxisName, count: int, key: Array) -> tuple[Array, Array]:
    """Add up votes +-1 that travel as bits, packed along the longest axis; also give the first worker's."""
    del count
    coin = jax.random.bernoulli(key, shape=x.shape) ^ (lax.axis_index(axis_name) % 2 == 1)
    up = jnp.where((x > 0) | (x < 0), x > 0, coin)
    sent = from_all_workers(pack_bits(up), axis_name)
    votes = 2 * jax.vmap(lambda bits: unpack_bits(bits, x.shape))(sent).astype(jnp.int8) - 1
    return jnp.sum(votes, axis=0, dtype=jnp.int32), votes[0]


def _counted_bytes(x: Array, axis_name: AxisName, count: int, key: Array) -> tuple[Array, Array]:
    """Add up votes +-1 or 0 in the network, in bytes while they hold the sum; also give the first worker's."""
    del key
    small = jnp.int8 if count < 128 else jnp.int32
    vote = (x > 0).astype(small) - (x < 0).astype(small)
    first = lax.psum(jnp.where(lax.axis_index(axis_name) == 0, vote, 0), axis_name)
    return lax.psum(vote, axis_name), first


def _settled(total: Array, first: Array, ties: Ties, key: Array) -> Array:
    """Give the sign of a sum of votes, and break what is even."""
    sign = jnp.sign(total)
    if ties == "zero":
        return sign
    instead = first if ties == "first" else 2 * jax.random.bernoulli(key, shape=total.shape).astype(jnp.int32) - 1
    return jnp.where(total == 0, instead, sign)
