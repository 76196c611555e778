"""Clip every matrix of an update to a Frobenius norm."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon._numbers import require_positive
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._reductions import norm_over
from optax_muon.matrices._resolve import Leaves, resolved


def clip_by_frobenius_norm(maximum: Any, *, leaves: Leaves | None = None) -> optax.GradientTransformationExtraArgs:
    r"""Shrink every matrix whose Frobenius norm exceeds ``maximum`` to that norm.

    Use it on corrected gradients, as MARS does, or on gradients whose matrices differ much in size. Stacked layers,
    experts, heads and splits are clipped one by one, unlike with `optax.clip_by_block_rms`; nothing is moved between
    devices.

    .. math::
        C = G / \max(1, \|G\|_F / c)

    Args:
        maximum: c > 0, in units of the gradient; a number or a traced scalar.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for a maximum that is not positive.

    State: none.

    References:
        MARS-M, arXiv 2510.21800.
    """
    require_positive("clip_by_frobenius_norm", maximum=maximum)

    def clip(path: str, x: Array, leaf: Leaf) -> Array:
        factor = 1 / jnp.maximum(1, norm_over(x, leaf) / maximum)
        return (x * factor).astype(x.dtype)

    def update_fn(updates, state, params=None, **extra_args):
        del params, extra_args
        return map_by_path(clip, updates, resolved(updates, leaves)), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)
