"""Gaussian noise that hides what one example adds to a mean of clipped gradients."""

import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType
from jaxtyping import Array, PyTree

from optax_muon._numbers import is_known, require_not_negative, require_positive
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf, matrix_shapes
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves
from optax_muon.matrices._shard_view import shard_view, whole_shape
from optax_muon.transforms._by_role import keys_by_path
from optax_muon.transforms._lmo import with_vector_axes

Clip = Number | Mapping[str, Number]
"""One bound for all, or role or path glob -> bound, globs before roles."""


class PrivateNoiseState(NamedTuple):
    """State of `add_private_noise` and `private_mean`.

    Attributes:
        count: updates so far, int32 scalar; the noise follows from it and the seed.
    """

    count: Any


class Bound(NamedTuple):
    """What is known of one parameter before a gradient is: its leaf, with axes, and the clip of its matrices."""

    leaf: Leaf
    clip: Number


def bounds(params: PyTree, clip: Clip, leaves: Leaves | None = None) -> dict[str, Bound]:
    """Return the leaf and the clip of every parameter by path, a vector as one matrix; a frozen one has clip 0.

    Raises:
        ValueError: for a clip that is not positive, or naming a parameter without one.
    """
    given = clip if isinstance(clip, Mapping) else {"*": clip}
    for value in given.values():
        require_positive("private noise", clip=value)
    table = by_path(with_vector_axes(params, leaves), is_leaf=lambda x: isinstance(x, Leaf))
    keys = keys_by_path(params, (*given, "frozen"), leaves)
    return {path: Bound(leaf, 0.0 if leaf.role == "frozen" else given[keys[path]]) for path, leaf in table.items()}


def noise_deviations(
    params: PyTree,
    clip: Clip,
    noise_multiplier: Number,
    *,
    batch_size: int,
    joint: bool = True,
    leaves: Leaves | None = None,
) -> dict[str, Any]:
    r"""Return the standard deviation of the noise that `private_mean` adds to an entry of every parameter, by path.

    Use it to tell a rule that corrects for noise how large that is; it reveals nothing of the data.

    .. math:: \sigma C \sqrt L / B

    Args:
        params: arrays or `jax.ShapeDtypeStruct` objects, the whole tree.
        clip: C, as for `private_mean`.
        noise_multiplier: sigma.
        batch_size: B.
        joint: as for `private_mean`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for numbers out of range, or noise beside a clip that bounds nothing.
    """
    require_not_negative("private noise", noise_multiplier=noise_multiplier)
    require_positive("private noise", batch_size=batch_size)
    table, arrays = bounds(params, clip, leaves), by_path(params)
    counts = {
        path: sum(count for count, _, _ in matrix_shapes(whole_shape(arrays[path].shape, leaf), leaf))
        for path, (leaf, _) in table.items()
        if leaf.role != "frozen"
    }
    factor = noise_multiplier * (math.sqrt(sum(counts.values())) if joint else 1.0) / batch_size
    if is_known(noise_multiplier) and noise_multiplier == 0:
        return dict.fromkeys(table, 0.0)
    for path, (_, c) in table.items():
        if is_known(c) and math.isinf(c):
            raise ValueError(f"{path}: an infinite clip bounds nothing that noise could hide")
    return {path: factor * c for path, (_, c) in table.items()}


def add_private_noise(
    clip: Clip,
    noise_multiplier: Number,
    seed: int | Array,
    *,
    batch_size: int,
    joint: bool = True,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Add the noise of `private_mean` to a mean of gradients that were clipped before.

    Use it after `clipped_gradient`, and after the mean over workers: the noise is the same on all of them, and is added
    once.

    .. math:: U = G + \frac{\sigma C \sqrt L}{B} \Xi, \qquad \Xi_{ij} \sim N(0, 1)

    Args:
        clip: C, by which the gradients were clipped.
        noise_multiplier: sigma.
        seed: of the noise, a secret.
        batch_size: B, by which the sum of clipped gradients was divided, those of all workers together.
        joint: as for `private_mean`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for numbers out of range, or naming a parameter without a clip.

    State: one count.

    References:
        Kim and Fan, DP-Muon, arXiv 2605.12994.
    """

    def init_fn(params):
        noise_deviations(params, clip, noise_multiplier, batch_size=batch_size, joint=joint, leaves=leaves)
        return PrivateNoiseState(jnp.zeros([], jnp.int32))

    def update_fn(updates, state, params=None, **extra_args):
        """Add fresh noise to every entry."""
        del params, extra_args
        sizes = noise_deviations(updates, clip, noise_multiplier, batch_size=batch_size, joint=joint, leaves=leaves)
        return noised(updates, sizes, seed, state, leaves)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def noised(
    tree: PyTree, deviations: Mapping[str, Any], seed: int | Array, state: PrivateNoiseState, leaves: Leaves | None
) -> tuple[PyTree, PrivateNoiseState]:
    """Add normal noise of given deviations, in float32 or wider; every array keeps its dtype."""
    key = jax.random.fold_in(jax.random.key(seed), state.count)

    def add(path: str, x: Array, leaf: Leaf) -> Array:
        """Add noise to one parameter."""
        if is_known(deviations[path]) and deviations[path] == 0:
            return x
        # The path's own hash, so that a parameter's noise does not depend on what stands beside it.
        mine = jax.random.fold_in(key, zlib.crc32(path.encode()))
        view, wide = shard_view(x.shape, leaf), accumulator_dtype(x.dtype)
        # Inside a caller's map the whole noise is drawn: two shards of one matrix must not have the same.
        xi = view.local(jax.random.normal(mine, view.shape, wide, out_sharding=None if view.sizes else _sharding(x)))
        return (x.astype(wide) + deviations[path] * xi).astype(x.dtype)

    table = by_path(with_vector_axes(tree, leaves), is_leaf=lambda x: isinstance(x, Leaf))
    return map_by_path(add, tree, table), PrivateNoiseState(optax.safe_increment(state.count))


def _sharding(x: Array) -> Any:
    """Give the sharding that a new array needs to meet ``x``: none but on a mesh of Explicit axes."""
    sharding = jax.typeof(x).sharding
    return sharding if AxisType.Explicit in sharding.mesh.axis_types else None
