"""QK-clip: attention logits that stay bounded, by shrinking the query and key weights of the heads that exceed it."""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from optax_muon._numbers import require_positive
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, findings
from optax_muon.matrices._shard_view import require_specs, shard_view, varying_axes
from optax_muon.transforms._attention_sites import attention_sites, key_groups

HALVES: Mapping[str, float] = MappingProxyType({"query": 0.5, "key": 0.5})


def qk_clip(
    threshold: Any, *, exponents: Mapping[str, float] = HALVES, leaves: Leaves | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Shrink the query and key weights of every attention head whose largest logit exceeds a threshold.

    Use it where a model has no normalisation of queries and keys (with it the weights' size does not matter) and Muon's
    large steps let logits grow. Put it last in the chain of the whole tree, after the learning rate.

    .. math::
        \gamma_h = \min(1, \tau / S_h), \qquad U' = \gamma_h^{\alpha} (W + U) - W

    Where query heads share a key head, the least gamma of the group counts for all of it, queries and key.

    ``update`` takes ``max_logits``, a tree of S over the batch just seen: arrays (heads,), or (layers, heads) for
    stacked layers, under the paths of the attentions, as a Flax module sows them or as a dict
    ``{"blocks/0/attention": S}``. S is of the scaled logits, before the softmax. One of ``-inf`` or NaN clips nothing.

    Inside `jax.shard_map` S is of all heads of the attention; where types say that it differs along all axes that cut
    the heads of a weight, it is of this device's. Along any other axis, such as one that cuts the batch, the largest
    counts. Without ``check_vma`` nothing tells: S must then be of all heads, and the same on every device.

    Args:
        threshold: tau, above which logits are brought back; 100 in Kimi K2. Infinite: never.
        exponents: module below the attention -> alpha. They are one half each for queries and keys; for multi-head
            latent attention one half for the two parts that belong to a head, 1 for its rotary query, and the shared
            rotary key is left out.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks. Heads are the first
            output axis, or a batch axis; a bias is scaled too.

    State: none.

    Differs from the paper: S is from the forward pass before the step, so that it costs no second one.

    Raises:
        ValueError: for a threshold that is not positive or an exponent outside [0, 1]; by ``update``, without
            ``max_logits`` or parameters, naming an attention without such weights, with other heads or with a
            normalization of queries and keys, and inside `jax.shard_map` naming a weight that differs between devices
            and has no spec.

    References:
        Kimi Team, Kimi K2: Open Agentic Intelligence, arXiv 2507.20534, section 2.1 (MuonClip).

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> params = {"attention": {n: {"kernel": jnp.ones((4, 2, 3))} for n in ("query", "key")}}
        >>> leaves = {"attention": {n: {"kernel": om.Leaf("hidden", 0, (1, 2))} for n in ("query", "key")}}
        >>> tx = om.transforms.qk_clip(100.0, leaves=leaves)
        >>> logits = {"attention": jnp.array([50.0, 400.0])}
        >>> updates, _ = tx.update(optax.tree.zeros_like(params), tx.init(params), params, max_logits=logits)
        >>> (params["attention"]["query"]["kernel"] + updates["attention"]["query"]["kernel"])[0, :, 0].tolist()
        [1.0, 0.5]
    """
    require_positive("qk_clip", threshold=threshold)
    for name, exponent in exponents.items():
        if not 0 <= exponent <= 1:
            raise ValueError(f"qk_clip: the exponent of {name!r} must be from 0 to 1, not {exponent}")

    def update_fn(updates, state, params=None, *, max_logits=None, **extra_args):
        """Scale the weights after the update of every head that exceeds the threshold."""
        del extra_args
        if params is None or max_logits is None:
            missing = "params" if params is None else "max_logits, the largest attention logit of every head"
            raise ValueError(f"qk_clip: update needs {missing}")
        logits, weights = by_path(max_logits), by_path(params)
        sites = attention_sites(logits, weights, exponents)
        table = {path: found.leaf for path, found in findings(params, leaves).items() if path in sites}
        require_specs(weights, table)
        groups = key_groups(logits, weights, sites, table)

        def clipped(path: str, u: Array) -> Array:
            """Return one parameter's update, changed where a head of its attention is to shrink."""
            if path not in sites:
                return u
            site, w = sites[path], weights[path]
            wide = accumulator_dtype(w.dtype)
            largest = jnp.asarray(logits[site.attention], wide)
            # A masked head's maximum is -inf; a NaN says nothing of the size, and the loss shows it already.
            exceeds = jnp.isfinite(largest) & (largest > threshold)
            gamma = jnp.where(exceeds, threshold / jnp.where(exceeds, largest, 1), 1).astype(wide)
            group = groups[site.attention]
            if group.size > 1:
                _require_like_cuts(
                    site.attention,
                    largest,
                    {p: (weights[p], table[p]) for p in sites if sites[p].attention == site.attention},
                )
            gamma = _least_of_group(gamma, group.size, alone=site.module == group.keys)
            factor = _over_heads(path, gamma, w, table[path]) ** site.exponent
            # The weights after the step are what is scaled, hence w + u, in float32 or wider: the difference is small.
            moved = w.astype(wide) + u.astype(wide)
            return jnp.where(factor < 1, factor * moved - w.astype(wide), u.astype(wide)).astype(u.dtype)

        return map_by_path(clipped, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)


def _least_of_group(gamma: Array, size: int, *, alone: bool) -> Array:
    """Give every head the least value of the ``size`` neighbours that share its key; ``alone``: one value a group."""
    least = functools.reduce(jnp.minimum, [gamma[..., i::size] for i in range(size)])
    return least if alone else jnp.repeat(least, size, axis=-1)


def _over_heads(path: str, values: Array, w: Array, leaf: Leaf) -> Array:
    """Put one value per head, or per layer and head, along the axes that number them, to broadcast to ``w``.

    The least counts where devices have values of their own for the same heads.
    """
    view, ndim, axes = shard_view(w.shape, leaf, path), w.ndim, _head_axes(w, leaf, values.ndim)
    varying = varying_axes(values)
    # Along these the values are, like the weight, those of this device's heads.
    local = [axis for axis in axes if view.dims[axis] and set(view.dims[axis]) <= varying]
    # Where the spec does not cut a weight that differs, each device has an attention of its own.
    apart = set(view.axes(local)) | (varying_axes(w) - set(view.axes(range(ndim))))
    values = lax.pmin(values, tuple(varying - apart)) if varying - apart else values
    shape = [w.shape[axis] if axis in local else view.shape[axis] for axis in range(ndim)]
    lengths = [shape[axis] for axis in axes]
    heads = values.shape[-1:]
    fits = len(axes) == values.ndim and tuple(lengths[:-1]) == values.shape[:-1] and lengths[-1] % heads[0] == 0
    if not fits:
        raise ValueError(f"qk_clip: {path} of shape {tuple(shape)} does not hold {values.shape} (layers and) heads")
    spread = jnp.repeat(values, lengths[-1] // heads[0], axis=-1)  # heads are the major part of a fused axis
    order = sorted(range(len(axes)), key=axes.__getitem__)
    whole = jnp.expand_dims(jnp.transpose(spread, order), [axis for axis in range(ndim) if axis not in axes])
    return view._replace(dims=tuple(() if axis in local else dim for axis, dim in enumerate(view.dims))).local(whole)


def _head_axes(w: Array, leaf: Leaf, count: int) -> tuple[int, ...]:
    """Give the ``count`` axes of a weight that number layers and heads."""
    axes = leaf.batch(w.ndim)
    if not leaf.output:
        return axes[:count]  # of a bias: layers, then heads
    return (*axes, leaf.output[0] % w.ndim) if len(axes) < count else axes


def _require_like_cuts(attention: str, values: Array, weights: Mapping[str, tuple[Array, Leaf]]) -> None:
    """Raise where devices have logits of their own heads, and the heads of keys are cut otherwise than the queries'."""
    varying = varying_axes(values)
    cuts = {
        path: frozenset(shard_view(w.shape, leaf, path).axes(_head_axes(w, leaf, values.ndim))) & varying
        for path, (w, leaf) in weights.items()
    }
    if len(set(cuts.values())) > 1:
        cut = ", ".join(f"{path} over {sorted(names)}" for path, names in cuts.items())
        raise ValueError(
            f"qk_clip: the heads of {attention!r} are cut differently: {cut}; "
            "give the logits of all heads on every device"
        )
