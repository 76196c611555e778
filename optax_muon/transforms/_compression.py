"""Signs with one size per matrix, and estimates that follow what they compress."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import entries_over, sum_over
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.transforms._messages import Compressor, pack_bits, unpack_bits
from optax_muon.transforms._precision import promoted


def scale_by_mean_sign(*, leaves: Leaves | None = None) -> Compressor:
    r"""Keep the signs of every matrix and the mean of its sizes: one bit per entry and one number.

    Use it inside `follow`, `step_by_messages` or `error_feedback`, which need a contraction.

    .. math::
        C(X) = \operatorname{mean}|X| \operatorname{sign}(X)

    It is a contraction: :math:`\|C(X) - X\|_F^2 = \|X\|_F^2 - \|X\|_1^2 / (mn)`. `optax.scale_by_sign` drops the
    size. Between workers it travels as bits, where an exact zero is a minus.

    Args:
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    State: none.
    """

    def mean(x: Array, leaf: Leaf) -> Array:
        """Give the mean size of every matrix of one parameter."""
        total = sum_over(jnp.abs(x), leaf)
        return total / jnp.asarray(entries_over(x.shape, leaf), total.dtype)

    def compressed(path: str, x: Array, leaf: Leaf) -> Array:
        """Compress the matrices of one parameter."""
        return (jnp.sign(x) * mean(x, leaf)).astype(x.dtype)

    def init_fn(params):
        accepted(params, leaves)  # for its errors alone
        return optax.EmptyState()

    def update_fn(updates, state, params=None, **extra_args):
        """Compress every matrix."""
        del params, extra_args
        return map_by_path(compressed, updates, accepted(updates, leaves)), state

    def encode(updates, state):
        """Pack the signs along the longest axis; a zero goes as minus, which keeps the contraction's equation."""
        table = accepted(updates, leaves)
        sent = {path: (pack_bits(x > 0), mean(x, table[path])) for path, x in by_path(updates).items()}
        return (sent, {}), state

    def decode(sent, common, like):
        """Give every entry its sign and its matrix's mean size."""
        del common

        def made(path: str, x: Array, message: tuple[Array, Array]) -> Array:
            """Unpack one parameter."""
            bits, size = message
            return jnp.where(unpack_bits(bits, x.shape), size, -size).astype(x.dtype)

        return map_by_path(made, like, sent)

    return Compressor(init_fn, update_fn, encode, decode, lambda change: scale_by_mean_sign(leaves=change(leaves)))


class FollowingState(NamedTuple):
    """State of `follow`.

    Attributes:
        value: the estimate, shaped like the parameters.
        compressor: the compressor's own state.
    """

    value: PyTree
    compressor: optax.OptState


def follow(
    compressor: optax.GradientTransformation, *, accumulator_dtype: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Emit an estimate of the update that only compressed differences move: EF21.

    Use it where a receiver could keep the same estimate from the messages alone.

    .. math::
        d_t = d_{t-1} + C(U_t - d_{t-1}), \qquad d_0 = 0

    Args:
        compressor: a contraction, e.g. `scale_by_mean_sign`.
        accumulator_dtype: of the estimate; None: the parameter's own.

    State: 1 float per parameter, and the compressor's.

    References:
        Richtarik et al., EF21, arXiv 2106.05203; github.com/intsystems/SignMuon (2026).
    """
    compressor = optax.with_extra_args_support(compressor)

    def init_fn(params):
        return FollowingState(optax.tree.zeros_like(params, dtype=accumulator_dtype), compressor.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Send a compressed difference, and emit the estimate that it makes."""
        # The compressor sees what the estimate lacks: that vanishes as the estimate arrives, and its error with it.
        updates = promoted(updates, updates, state.value)
        behind = jax.tree.map(lambda u, d: u - d, updates, state.value)
        message, inner = compressor.update(behind, state.compressor, params, **extra_args)
        value = jax.tree.map(lambda d, m: (d + m).astype(d.dtype), state.value, message)
        return optax.tree.cast_like(value, updates), FollowingState(value, inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class ExactWeightsState(NamedTuple):
    """State of `step_by_messages`.

    Attributes:
        value: the exact weights X, shaped like the parameters.
        compressor: the compressor's own state.
        inner: the inner optimizer's.
    """

    value: PyTree
    compressor: optax.OptState
    inner: optax.OptState


def step_by_messages(
    compressor: optax.GradientTransformation, inner: optax.GradientTransformation | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Take the step on exact weights kept here, and let the parameters follow by compressed differences.

    The parameters are what a server broadcasts, and gradients are taken there.

    .. math::
        X_t = X_{t-1} + \text{inner}(G_t; X_{t-1}), \qquad W_t = W_{t-1} + C(X_t - W_{t-1}), \qquad X_0 = W_0

    Args:
        compressor: a contraction, e.g. `scale_by_mean_sign`.
        inner: an optimizer with its learning rate; the exact weights are its parameters, so that its decay acts on
            them. None: what arrives is the step, put it last in a chain.

    Raises:
        ValueError: by ``update``, without parameters.

    State: 1 float per parameter, the compressor's and the inner optimizer's.

    References:
        github.com/intsystems/SignMuon (2026).
    """
    compressor = optax.with_extra_args_support(compressor)
    stepper = optax.with_extra_args_support(inner or optax.identity())

    def init_fn(params):
        return ExactWeightsState(jax.tree.map(jnp.asarray, params), compressor.init(params), stepper.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Step the exact weights, and emit the compressed difference to the parameters."""
        if params is None:
            raise ValueError("step_by_messages needs the parameters: call update(grads, state, params)")
        steps, stepping = stepper.update(updates, state.inner, state.value, **extra_args)
        # Kept here for good: small updates add up in it until a message carries them over.
        exact = jax.tree.map(lambda x, u: (x + u).astype(x.dtype), state.value, steps)
        behind = jax.tree.map(lambda x, w: x - w, exact, params)
        message, compressing = compressor.update(behind, state.compressor, params, **extra_args)
        return optax.tree.cast_like(message, updates), ExactWeightsState(exact, compressing, stepping)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def signs(
    *, error_feedback: bool, leaves: Leaves | None = None, accumulator_dtype: Any = None
) -> optax.GradientTransformation:
    """Take signs: `optax.scale_by_sign`, or with error feedback `follow` by `scale_by_mean_sign`.

    Args:
        error_feedback: whether what the signs leave out is made up for later.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        accumulator_dtype: of the estimate; None: the parameter's own.

    State: with error feedback 1 float per parameter.
    """
    if not error_feedback:
        return optax.scale_by_sign()
    return follow(scale_by_mean_sign(leaves=leaves), accumulator_dtype=accumulator_dtype)
