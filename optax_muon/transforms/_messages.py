"""Compressors: transformations whose output can be made elsewhere from a small message."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.linalg import LowRankPart, MessageOp, RandomEntries, RankFraction, TopEntries
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, resolved
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift

MATRIX_ROLES = ("hidden", "embedding", "head", "router", "input")


class Compressor(optax.GradientTransformationExtraArgs):
    """A transformation that also says what has to be sent for others to make its output.

    `workers.exchange` and its kin send the message of a compressor, and the whole output of any other transformation.

    Args:
        init: as every transformation's.
        update: as every transformation's; its output is what ``decode`` makes, but for what a message rounds.
        encode: ``(updates, state) -> ((sent, common), state)``: a tree of arrays that differ between workers, and one
            of those that all have alike.
        decode: ``(sent, common, like) -> updates``, in the shapes and dtypes of ``like``.
        with_leaves: makes it again; it takes a function of the leaves that it was given.
        is_linear: whether the mean of what several send is what one would send of their mean.
    """

    encode: Callable[..., Any]
    decode: Callable[..., Any]
    with_leaves: Callable[[Callable[[Leaves | None], Leaves | None]], "Compressor"]
    is_linear: bool

    def __new__(cls, init: Any, update: Any, encode: Any, decode: Any, with_leaves: Any, is_linear: bool = False):
        """Make one; ``init`` and ``update`` are the fields that optax knows."""
        self = super().__new__(cls, init, update)
        self.encode, self.decode, self.with_leaves, self.is_linear = encode, decode, with_leaves, is_linear
        return self

    def __getnewargs__(self):
        """Let copies keep the message."""
        return (*self, self.encode, self.decode, self.with_leaves, self.is_linear)


def top_k(fraction: float, *, leaves: Leaves | None = None, placement: Placement | None = None) -> Compressor:
    """Keep a share of every matrix, its entries of largest modulus, and zeros elsewhere.

    Use it inside `workers.exchange`, `follow` or `error_feedback`. Vectors pass as they are.

    Args:
        fraction: the share, in (0, 1]; of every matrix at least one entry is kept.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where matrices are searched; None: `OverMesh()`, on the local device where there is no mesh.

    Raises:
        ValueError: for a fraction outside (0, 1].

    State: a count.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> grads = {"up": {"kernel": jnp.array([[3.0, -1.0], [0.5, -4.0]])}}
        >>> tx = om.transforms.top_k(0.5)
        >>> tx.update(grads, tx.init(grads))[0]["up"]["kernel"].tolist()
        [[3.0, 0.0], [0.0, -4.0]]
    """
    return _lifted(Lift(TopEntries(fraction), leaves, placement, MATRIX_ROLES))


def random_k(
    fraction: float,
    *,
    unbiased: bool = False,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    seed: int | Array = 0,
) -> Compressor:
    """Keep a random share of every matrix's entries, at places that all workers draw alike, and zeros elsewhere.

    Use it where the mean over workers is to be made in the network, from messages without places. Vectors pass as they
    are.

    Args:
        fraction: the share, in (0, 1]; of every matrix at least one entry is kept.
        unbiased: divide by the share, for `workers.marina`; else it is a contraction, for `workers.exchange`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where matrices are computed; None: `OverMesh()`, on the local device where there is no mesh.
        seed: of the places, the same on all workers.

    Raises:
        ValueError: for a fraction outside (0, 1].

    State: a count.
    """
    return _lifted(Lift(RandomEntries(fraction, unbiased), leaves, placement, MATRIX_ROLES, seed))


def low_rank(
    rank: int | RankFraction, *, leaves: Leaves | None = None, placement: Placement | None = None, seed: int = 0
) -> Compressor:
    """Project every matrix on its leading singular directions, as one power step an update finds them.

    Use it where gradients have few directions: two thin factors travel. Vectors pass as they are.

    Args:
        rank: of the projection, reduced to a matrix's shorter side, or a `linalg.RankFraction` of it.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where power steps run; None: `OverMesh()`, on the local device where there is no mesh.
        seed: of the first subspace.

    Raises:
        ValueError: for a rank that is no whole number of at least 1.

    State: ``rank`` floats per input of every matrix.

    References:
        Vogels et al., PowerSGD, arXiv 1905.13727.
    """
    return _lifted(Lift(LowRankPart(rank, seed), leaves, placement, MATRIX_ROLES))


def _lifted(lift: Lift) -> Compressor:
    """Compress the matrices of a tree; what is no matrix passes."""
    assert isinstance(lift.op, MessageOp)

    def matrices(tree: PyTree) -> PyTree:
        """Mask what is no matrix."""
        table = resolved(tree, lift.leaves)
        return map_by_path(lambda path, x: x if table[path].output else optax.MaskedNode(), tree)

    def joined(whole: PyTree, compressed: PyTree) -> PyTree:
        """Put compressed matrices in place of theirs."""
        found = by_path(compressed)
        return map_by_path(lambda path, x: found.get(path, x), whole)

    def update_fn(updates, state, params=None, **extra_args):
        """Compress every matrix."""
        del params, extra_args
        compressed, state, _ = lift.apply(matrices(updates), state)
        return joined(updates, compressed), state

    def encode(updates, state):
        """Give what other workers lack, and what they have."""
        some = matrices(updates)
        _, state, done = lift.apply(some, state)
        messages = {path: [info.message for info in result.infos] for path, result in done.items()}
        others = {path: x for path, x in by_path(updates).items() if path not in messages}
        sent = {path: [sent for sent, _ in parts] for path, parts in messages.items()}
        common = {path: [common for _, common in parts] for path, parts in messages.items()}
        return ((sent, others), common), state

    def decode(sent, common, like):
        """Make the matrices from their messages."""
        messages, others = sent
        parts = {path: list(zip(some, common[path], strict=True)) for path, some in messages.items()}
        whole = map_by_path(lambda path, x: others.get(path, x).astype(x.dtype), like)
        return joined(whole, lift.decoded(parts, matrices(like)))

    def init_fn(params):
        return lift.init(matrices(params))

    def with_leaves(change):
        return _lifted(dataclasses.replace(lift, leaves=change(lift.leaves)))

    return Compressor(init_fn, update_fn, encode, decode, with_leaves, lift.op.is_linear)


def pack_bits(bits: Array) -> Array:
    """Pack booleans eight to a byte, along the longest axis, which wastes least."""
    line = bits if bits.ndim else bits[None]
    return jnp.packbits(line, axis=_longest(line.shape))


def unpack_bits(packed: Array, shape: tuple[int, ...]) -> Array:
    """Undo `pack_bits` for an array of ``shape``."""
    line = shape or (1,)
    axis = _longest(line)
    bits = jnp.unpackbits(packed, axis=axis, count=line[axis]).astype(bool)
    return bits if shape else bits[0]


def _longest(shape: tuple[int, ...]) -> int:
    """Give the longest axis."""
    return max(range(len(shape)), key=shape.__getitem__)
