"""Step sizes in proportion to the size of the weights, matrix by matrix."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import is_known
from optax_muon._renamed import renamed_arguments
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._reductions import factors_over, init_state, map_with_state, norm_over, reduced_like
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.shapes import ShapeScale


class TrustRatioState(NamedTuple):
    """State of `scale_by_matrix_trust_ratio`.

    Attributes:
        calibration: path -> c of every matrix, 0 before its first update; None without calibration.
    """

    calibration: PyTree


@renamed_arguments(epsilon="eps")
def scale_by_matrix_trust_ratio(
    minimum: Number,
    maximum: Number,
    *,
    calibration: ShapeScale | None = None,
    eps: float = 1e-6,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Multiply every update by the clipped ratio of its weights' Frobenius norm to its own.

    Put it after the weight decay, so that the ratio is that of the real update. `optax.scale_by_trust_ratio` takes one
    ratio for a whole array, clips nothing and calibrates nothing.

    .. math::
        U = \operatorname{clip}\big( \|W\|_F / (c \|D\|_F + \epsilon), r_{\min}, r_{\max} \big) \, D

    Args:
        minimum: r_min, positive or zero.
        maximum: r_max.
        calibration: None: c = 1. Else c is set at a matrix's first update so that its first ratio is 1; where a norm
            is under eps, by this object's factor of the shape.
        eps: in units of the update; keeps the ratio of a short one small. A zero update stays zero without it.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for bounds out of order or below zero; by ``init``, naming a leaf that is not a hidden matrix; by
            ``update``, without parameters.

    State: 1 float per matrix with calibration (per output where several matrices stand side by side), else none.

    References:
        Lou and You, OrScale, arXiv 2605.07815, github.com/NUS-HPC-AI-Lab/OrScale.
    """
    known = is_known(minimum) and is_known(maximum)
    if known and not 0 <= minimum <= maximum:
        raise ValueError(f"scale_by_matrix_trust_ratio: need 0 <= minimum <= maximum, not {minimum} and {maximum}")

    def init_fn(params):
        """Start uncalibrated: zeros, which no ratio is."""
        table = accepted(params, leaves)
        if calibration is None:
            return TrustRatioState(None)

        def zeros(x: Array, leaf: Leaf) -> Array:
            return reduced_like(x, leaf, dtype=jnp.finfo(accumulator_dtype(x.dtype)).dtype)

        return TrustRatioState(init_state(zeros, params, table))

    def scaled(d: Array, leaf: Leaf, c: Array, w: Array) -> tuple[Array, Array]:
        """Scale the matrices of one parameter, and return their calibrations."""
        weight, step = norm_over(w, leaf), norm_over(d, leaf)
        if calibration is not None:
            measurable = (weight >= eps) & (step >= eps) & (weight > 0) & (step > 0)
            # On an Explicit mesh a choice wants both sharded alike.
            factors = factors_over(calibration, d.shape, leaf) * jnp.ones_like(weight)
            first = jnp.where(measurable, weight / jnp.where(measurable, step, 1), factors)
            c = c + jnp.zeros_like(first)
            c = jnp.where(c > 0, c, first)
        length = c * step + eps
        # Without an epsilon a zero update has no length: its ratio must be some number, so that it stays zero.
        ratio = jnp.clip(weight / jnp.where(length == 0, 1, length), minimum, maximum)
        return (d * ratio).astype(d.dtype), c

    def update_fn(updates, state, params=None, **extra_args):
        """Scale every matrix by its ratio."""
        del extra_args
        if params is None:
            raise ValueError("scale_by_matrix_trust_ratio needs the parameters: call update(grads, state, params)")
        table = accepted(updates, leaves)
        ones: Any = dict.fromkeys(table, 1.0) if table else {}
        scalars = ones if calibration is None else state.calibration
        updates, scalars = map_with_state(scaled, updates, table, scalars, params)
        return updates, TrustRatioState(None if calibration is None else scalars)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
