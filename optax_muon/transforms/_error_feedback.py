"""Error feedback: what a compressor leaves out is added to the next update."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import PyTree


class ErrorFeedbackState(NamedTuple):
    """State of `error_feedback`.

    Attributes:
        error: what was left out so far, shaped like the parameters.
        compressor: the compressor's own state.
    """

    error: PyTree
    compressor: optax.OptState


def error_feedback(
    compressor: optax.GradientTransformation, *, accumulator_dtype: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Compress the update plus the error of earlier compressions, and keep the new error.

    Use it around a compressor whose losses would add up, such as a sign or a polar factor with its size.

    .. math::
        P_t = U_t + E_t, \qquad \Delta_t = C(P_t), \qquad E_{t+1} = P_t - \Delta_t, \qquad E_0 = 0

    Summed up, the emitted updates differ from the incoming ones by the present error alone, so whatever the compressor
    forgets is only delayed. For that to hold the learning rate must act *before* this transform, not after it.

    Args:
        compressor: a transformation that keeps the size of what it is given, e.g.
            ``apply_to_matrices(NearestMultiple(SVDPolar()))``, a sign times a mean, a top-k choice. One that is not a
            contraction makes the error grow without bound.
        accumulator_dtype: of the error; None: the parameter's own.

    State: 1 float per parameter, and the compressor's.

    References:
        Parshakova et al., EF-Muon, arXiv 2605.08980.
    """
    compressor = optax.with_extra_args_support(compressor)

    def init_fn(params):
        return ErrorFeedbackState(optax.tree.zeros_like(params, dtype=accumulator_dtype), compressor.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Compress update and error together; keep what was left out."""
        whole = jax.tree.map(lambda u, e: u + e, updates, state.error)
        compressed, inner = compressor.update(whole, state.compressor, params, **extra_args)
        emitted = optax.tree.cast_like(compressed, updates)
        # What is emitted counts, rounding included: the error then makes up for the rounding as well.
        error = jax.tree.map(lambda p, d, e: (p - d.astype(p.dtype)).astype(e.dtype), whole, emitted, state.error)
        return emitted, ErrorFeedbackState(error, inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
