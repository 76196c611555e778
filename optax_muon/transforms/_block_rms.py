"""Division by the running root mean square of the gradients, one number for every block."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_fraction
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype, bounded_entries
from optax_muon.linalg._scale import one_if_zero, square_root
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._reductions import Side, entries_over, init_state, map_with_state, reduced_like, sum_over
from optax_muon.matrices._resolve import Leaves, resolved
from optax_muon.transforms._by_role import keys_by_path

Block = Literal["output", "reduction", "both", "entry"]
BLOCKS: Mapping[str, Block] = MappingProxyType(
    {
        "hidden": "output",
        "input": "output",
        "head": "output",
        "router": "output",
        "embedding": "reduction",
        "vector": "entry",
        "other": "entry",
        "frozen": "entry",
    }
)
"""Role -> what a block is: an output with its inputs, a row of an embedding, an entry of a vector."""


class BlockRmsState(NamedTuple):
    """State of `divide_by_block_rms`.

    Attributes:
        count: updates so far, int32 scalar.
        mean_square: path -> average of the mean square of every block, float32 or wider.
    """

    count: Any
    mean_square: PyTree


def divide_by_block_rms(
    decay: Number, blocks: Mapping[str, Block] = BLOCKS, *, eps: Number = 1e-8, leaves: Leaves | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Divide what arrives by the running root mean square of the gradients, block by block.

    Use it behind an average for Adam with next to no second state (Adam-mini): where entries of a block have one
    curvature, one number serves them all.

    .. math::
        v_t = \beta v_{t-1} + (1 - \beta) \operatorname{mean}_{\text{block}} G_t^2, \qquad
        U = X / (\sqrt{v_t / (1 - \beta^t)} + \varepsilon)

    Args:
        decay: beta, in [0, 1).
        blocks: role or path glob -> ``"output"``: an output with all its inputs; ``"reduction"``: an input with all its
            outputs, such as a token's row of an embedding; ``"both"``: a whole matrix, such as a head that is one;
            ``"entry"``. Globs win over roles.
        eps: added to the root, in units of gradients.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    ``update`` takes the raw gradients as ``gradients`` (see `with_gradients`); without, the updates are the gradients.

    Raises:
        ValueError: for a decay outside [0, 1), an unknown block, or naming a parameter without one.

    State: 1 float per block.

    References:
        Zhang et al., Adam-mini, arXiv 2406.16793.
    """
    require_fraction("divide_by_block_rms: decay", decay)
    for key, block in blocks.items():
        if block not in ("output", "reduction", "both", "entry"):
            raise ValueError(f"divide_by_block_rms: {key!r} has blocks {block!r}, not output, reduction, both or entry")

    def cut(tree: PyTree) -> dict[str, tuple[Leaf, Side]]:
        """Give every parameter's axes, and which of them are averaged over."""
        table, keys = resolved(tree, leaves), keys_by_path(tree, blocks, leaves)
        return {path: _averaged(leaf, blocks[keys[path]]) for path, leaf in table.items()}

    def init_fn(params):
        table = cut(params)

        def zeros(x: Array, found: Any) -> Array:
            leaf, over = found
            return reduced_like(x, leaf, over, dtype=jnp.finfo(accumulator_dtype(x.dtype)).dtype)

        return BlockRmsState(jnp.zeros([], jnp.int32), init_state(zeros, params, table))  # pyright: ignore[reportArgumentType]

    def update_fn(updates, state, params=None, *, gradients: Any = None, **extra_args):
        """Average the squares of every block, and divide by their root."""
        del params, extra_args
        seen = updates if gradients is None else gradients
        count = jnp.asarray(optax.safe_increment(state.count))

        def divided(x: Array, found: Any, v: Array, g: Array) -> tuple[Array, Array]:
            """Divide one parameter's blocks, and return their new averages."""
            leaf, over = found
            wide = bounded_entries(g.astype(accumulator_dtype(g.dtype)))
            # Divided before the sum, which could overflow.
            entries = jnp.asarray(entries_over(g.shape, leaf, over), jnp.finfo(wide.dtype).dtype)
            new = decay * v + (1 - decay) * sum_over(jnp.square(jnp.abs(wide)) / entries, leaf, over)
            size = square_root(new / (1 - decay ** count.astype(new.dtype))) + eps
            return (x / one_if_zero(size)).astype(x.dtype), new.astype(v.dtype)

        table: Any = cut(updates)
        out, mean = map_with_state(divided, updates, table, state.mean_square, seen)
        return out, BlockRmsState(count, mean)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _averaged(leaf: Leaf, block: Block) -> tuple[Leaf, Side]:
    """Give the axes and the side to average over; a leaf without axes has nothing to average."""
    if block == "entry" or not leaf.output:
        return dataclasses.replace(leaf, role="vector", reduction=(), output=(), split=None), "both"
    sides: dict[str, Side] = {"output": "reduction", "reduction": "output", "both": "both"}
    return leaf, sides[block]
