"""Means of per-example gradients to which one example can add only so much."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_whole
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import norm_over
from optax_muon.matrices._resolve import Leaves
from optax_muon.transforms._private_noise import (
    Bound,
    Clip,
    PrivateNoiseState,
    bounds,
    noise_deviations,
    noised,
)


def private_mean(
    clip: Clip,
    noise_multiplier: Number,
    seed: int | Array,
    *,
    joint: bool = True,
    batch_size: int | None = None,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Average per-example gradients, each clipped matrix by matrix, and add Gaussian noise.

    Use it first in a chain, before the partition of `for_matrices`: all that follows is then post-processing, and costs
    no privacy. `clipped_gradient` and `add_private_noise` are its halves, where the per-example gradients of a batch do
    not fit at once. `optax.contrib.differentially_private_aggregate` clips the gradient as a whole, to one C.

    .. math::
        U = \frac1B \sum_{z=1}^B \frac{G_z}{\max(1, \|G_z\|_F / C)} + \frac{\sigma C \sqrt L}{B} \Xi,
        \qquad \Xi_{ij} \sim N(0, 1) \quad \text{for each of L matrices and vectors}

    Args:
        clip: C, in units of one example's gradient: one number for all, or role or path glob -> number, globs before
            roles.
        noise_multiplier: sigma, of the step as a whole: its noise over what one example can change.
        seed: of the noise, a secret: who knows it can subtract the noise.
        joint: False: sigma is each matrix's own, and there is no root of L; the step as a whole then has sigma over the
            root of L, and `privacy_spent` wants that.
        batch_size: B, the expected one where batches are drawn at random; None: the length of the leading axis.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    ``update`` takes gradients with a leading axis of examples, as ``jax.vmap(jax.grad(loss), (None, 0))`` makes them,
    and emits updates like the parameters. Stacked layers, experts, heads and splits are matrices of their own; a vector
    is clipped as one. A gradient that is not finite counts as zero, so that the bound holds for it too. Frozen leaves
    get zero.

    Raises:
        ValueError: for numbers out of range, or naming a parameter without a clip, or a gradient without the axis.

    State: one count.

    References:
        Abadi et al., arXiv 1607.00133; matrix by matrix: Kim and Fan, DP-Muon, arXiv 2605.12994.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> tx = om.transforms.private_mean(1.0, 0.0, seed=0)
        >>> grads = {"up": {"kernel": jnp.array([[[3.0, 4.0]], [[0.3, 0.4]]])}}
        >>> clipped, _ = tx.update(grads, tx.init({"up": {"kernel": jnp.zeros((1, 2))}}))
        >>> (100 * clipped["up"]["kernel"]).round().tolist()
        [[45.0, 60.0]]
    """

    def deviations(params: PyTree, examples: int) -> dict[str, Any]:
        """Size the noise of a mean over so many examples."""
        return noise_deviations(
            params, clip, noise_multiplier, batch_size=batch_size or examples, joint=joint, leaves=leaves
        )

    def init_fn(params):
        deviations(params, 1)  # for its errors alone
        return PrivateNoiseState(jnp.zeros([], jnp.int32))

    def update_fn(updates, state, params=None, **extra_args):
        """Clip, average and add noise."""
        del params, extra_args
        examples = _examples(updates)
        mean = _mean(clipped_sum(updates, clip, leaves), updates, batch_size or examples)
        return noised(mean, deviations(mean, examples), seed, state, leaves)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def clipped_gradient(
    loss: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    batch: PyTree,
    *,
    clip: Clip,
    microbatch: int | None = None,
    batch_size: int | None = None,
    leaves: Leaves | None = None,
) -> PyTree:
    r"""Return the mean of per-example gradients, each clipped matrix by matrix, a few examples at a time.

    Use it with `transforms.add_private_noise` in place of `transforms.private_mean`, where a batch's per-example
    gradients do not fit. By itself it is not private.

    .. math:: \frac1B \sum_z \frac{G_z}{\max(1, \|G_z\|_F / C)}, \qquad G_z = \nabla_W \ell(W, z)

    Args:
        loss: of the parameters and one example, a scalar.
        params: the parameters.
        batch: examples, along the leading axis of every array. One whose loss is multiplied by zero adds nothing: so
            batches of random size are padded.
        clip: C, as for `transforms.private_mean`.
        microbatch: how many per-example gradients are alive at a time; None: all of them.
        batch_size: B; None: the length of the leading axis.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for a microbatch that does not divide the batch, numbers out of range, or naming a parameter without
            a clip.
    """
    examples = _examples(batch)
    size = examples if microbatch is None else microbatch
    require_whole("clipped_gradient: microbatch", size)
    if examples % size:
        raise ValueError(f"clipped_gradient: a microbatch of {size} does not divide the batch of {examples}")
    per_example = jax.vmap(jax.grad(loss), (None, 0))

    def add(total: PyTree, start: Array) -> tuple[PyTree, None]:
        """Add a microbatch's clipped gradients."""
        part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), batch)
        return jax.tree.map(jnp.add, total, clipped_sum(per_example(params, part), clip, leaves)), None

    zero = jax.tree.map(lambda x: jnp.zeros_like(x, accumulator_dtype(x.dtype)), params)
    total, _ = jax.lax.scan(add, zero, size * jnp.arange(examples // size))
    return _mean(total, params, batch_size or examples)


def clipped_sum(grads: PyTree, clip: Clip, leaves: Leaves | None = None) -> PyTree:
    """Sum per-example gradients, clipped matrix by matrix, in float32 or wider."""
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), grads)

    def add_up(path: str, x: Array, bound: Bound) -> Array:
        """Sum those of one parameter."""
        wide = x.astype(accumulator_dtype(x.dtype))
        if bound.leaf.role == "frozen":
            return jnp.zeros_like(wide[0])
        norm = norm_over(wide, _with_examples(bound.leaf, x.ndim))
        # One that is not finite would break the bound on what an example can add, and with it the noise's promise.
        kept = jnp.where(jnp.isfinite(norm), wide, 0) / jnp.where(norm > bound.clip, norm / bound.clip, 1)
        return jnp.sum(kept, axis=0)

    return map_by_path(add_up, grads, bounds(one, clip, leaves))


def _examples(tree: PyTree) -> int:
    """Count the examples along the leading axis that all arrays share."""
    sizes = {path: x.shape[0] if x.ndim else None for path, x in by_path(tree).items()}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        raise ValueError(f"every array needs one and the same leading axis of examples; their lengths are {sizes}")
    return next(iter(sizes.values()), None) or 1


def _mean(total: PyTree, like: PyTree, size: int) -> PyTree:
    """Divide sums, in the dtypes of another tree."""
    return jax.tree.map(lambda x, y: (x / size).astype(y.dtype), total, like)


def _with_examples(leaf: Leaf, ndim: int) -> Leaf:
    """Return the leaf of an array whose first axis runs over examples, as over the layers of a stack."""
    reduction, output = (tuple(axis % (ndim - 1) + 1 for axis in side) for side in (leaf.reduction, leaf.output))
    spec = None if leaf.spec is None else PartitionSpec(None, *leaf.spec)
    return dataclasses.replace(leaf, reduction=reduction, output=output, spec=spec)
