"""From hard to soft: a temperature that falls after a share of the training, set by what the updates are then."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._shard_view import bound_axes


class TemperedState(NamedTuple):
    """State of `tempered`.

    Attributes:
        count: updates so far, int32 scalar.
        center: median of the numbers measured at the switch.
        width: median distance from it.
        momentum: state of the momentum.
    """

    count: Any
    center: Any
    width: Any
    momentum: optax.OptState


def tempered(
    momentum: optax.GradientTransformation,
    hard: Callable[[PyTree], PyTree],
    soft: Callable[[PyTree, Array], PyTree],
    measure: Callable[[PyTree, PyTree], Sequence[Array]],
    *,
    steps: int,
    hard_steps: int,
    saturation: float,
    maximum: float = 1e9,
    cut: Callable[[PyTree], Sequence[tuple[str, ...]]] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Apply a hard map to the momentum for some steps, then a soft one whose temperature falls to the end.

    Use it, through `soft_signum` and `soft_muon`, for the last part of a run in place of a falling rate. At the switch
    the measured numbers z are described by two medians. At the k-th of K soft steps a share k / K of a folded Cauchy
    variable of that centre and width has left saturation:

    .. math::
        \mu = \operatorname{med}(z), \quad \sigma = \operatorname{med}|z - \mu|, \qquad
        \tau_k = \operatorname{clip}\left( \frac{\text{saturation}}{q_{k / K}(|\text{Cauchy}(\mu, \sigma)|)},
        1, \tau_{\max} \right)

    All leaves share the temperature, which couples them. A NaN among z counts as one very large or very small number.

    Args:
        momentum: of the gradients.
        hard: a map of the whole tree.
        soft: the same with the temperature tau.
        measure: returns the arrays z from gradients and momentum; their units are the reciprocal of tau's.
        steps: N, of the whole training; the temperature stays after them.
        hard_steps: how many of them are hard.
        saturation: the argument at which the soft map counts as hard.
        maximum: tau_max.
        cut: for what is measured on shards inside `jax.shard_map`: from the gradients to the mesh axes that cut each
            array z; None: every device measures all.

    State: that of the momentum, two floats and a count.

    Raises:
        ValueError: for numbers of steps that are not whole or do not fit.

    References:
        Feoktistov et al., Softsign, arXiv 2605.31371, github.com/brain-lab-research/softsign.
    """
    if not isinstance(steps, int) or not 0 <= hard_steps <= steps or steps < 1:
        raise ValueError(f"tempered: need whole numbers 0 <= hard_steps <= steps, not {hard_steps} and {steps}")
    momentum = optax.with_extra_args_support(momentum)

    def init_fn(params):
        """Start the momentum; centre and width are set at the switch."""
        wide = jnp.result_type(
            jnp.float32, *(jnp.finfo(accumulator_dtype(x.dtype)).dtype for x in jax.tree.leaves(params))
        )
        zero = jnp.zeros([], wide)
        return TemperedState(jnp.zeros([], jnp.int32), zero, zero, momentum.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Average, measure at the switch, and apply the map of the phase."""
        average, inner = momentum.update(updates, state.momentum, params, **extra_args)
        dtype = state.center.dtype

        def describe():
            """Return median and median distance of the measured numbers."""
            z = [x.astype(dtype) for x in measure(updates, average)]
            axes = None if cut is None else cut(updates)
            center = _median(z, axes)
            return center, _median([jnp.abs(x - center) for x in z], axes)

        center, width = state.center, state.width
        if jax.tree.leaves(updates):
            before = center, width
            # Measured once: a decomposition of every gradient, for SoftMuon, is too much for each step.
            center, width = jax.lax.cond(state.count == hard_steps, describe, lambda: before)
        tau = temperature(state.count - hard_steps, steps - hard_steps, center, width, saturation, maximum)
        hot = lambda: optax.tree.cast_like(hard(average), average)  # noqa: E731
        cold = lambda: optax.tree.cast_like(soft(average, tau), average)  # noqa: E731
        mapped = jax.lax.cond(state.count < hard_steps, hot, cold)
        return mapped, TemperedState(optax.safe_increment(state.count), center, width, inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def temperature(k: Array, count: int, center: Array, width: Array, saturation: float, maximum: float) -> Array:
    """Return tau_k, by ten Newton steps to the quantile; without spread the quantile is the centre.

    Args:
        k: soft steps so far; from ``count`` on the temperature stays.
        count: K, of the soft steps.
        center: of the Cauchy variable.
        width: of it.
        saturation: the argument at which the soft map counts as hard.
        maximum: of tau.
    """
    p = jnp.clip(k, 0, max(count - 1, 0)).astype(center.dtype) / max(count, 1)
    size = jnp.abs(center)
    spread = jnp.where(width > 0, width, 1)
    # The authors' start. The distribution is at least p there, so the quantile is not above it.
    q = spread * jnp.tan(jnp.pi / 2 * p) + size
    # Ten, as the authors' code.
    for _ in range(10):
        value = (jnp.arctan((q - size) / spread) + jnp.arctan((q + size) / spread)) / jnp.pi
        slope = (spread / (spread**2 + (q - size) ** 2) + spread / (spread**2 + (q + size) ** 2)) / jnp.pi
        q = q - (value - p) / slope
    q = jnp.where(width > 0, q, size)
    soft = jnp.clip(saturation / jnp.where(q > 0, q, 1), 1, maximum)
    return jnp.where((p > 0) & (q > 0), soft, maximum)


def _median(arrays: Sequence[Array], cut: Sequence[tuple[str, ...]] | None = None) -> Array:
    """Find the median of all entries, the mean of the two middle ones of an even number.

    By bisection on the bits: arrays are only compared and counted on their shards, never gathered or sorted. ``cut``
    are, for each array, the axes of the caller's own map that cut it.
    """
    sizes, cut = bound_axes(), [()] * len(arrays) if cut is None else cut
    count = sum(x.size * math.prod(sizes[name] for name in axes) for x, axes in zip(arrays, cut, strict=True))
    if count == 0:
        return jnp.zeros([], arrays[0].dtype if arrays else jnp.float32)
    low, high = (_select(arrays, cut, rank) for rank in ((count - 1) // 2, count // 2))
    # Halved before the sum, which could overflow.
    return low / 2 + high / 2


def _select(arrays: Sequence[Array], cut: Sequence[tuple[str, ...]], rank: int) -> Array:
    """Find the entry of ``rank`` in the sorted order of all arrays, from zero."""
    dtype = arrays[0].dtype
    width = jnp.finfo(dtype).bits
    unsigned = jnp.dtype(f"uint{width}")
    # The sign bit: IEEE floats order as integers do once negative ones are inverted and the others get it set.
    top = jnp.asarray(1 << (width - 1), unsigned)

    def key(x: Array) -> Array:
        """Map floats to unsigned integers in the same order."""
        bits = jax.lax.bitcast_convert_type(x, unsigned)
        return jnp.where(bits >= top, ~bits, bits | top)

    keys = [key(x) for x in arrays]

    def smaller(x: Array, candidate: Array, axes: tuple[str, ...]) -> Array:
        """Count the entries below a candidate, on all devices that hold some."""
        here = jnp.sum(x < candidate, dtype=jnp.int32).astype(jnp.float32)
        return jax.lax.psum(here, axes) if axes else here

    def refine(i: Array, answer: Array) -> Array:
        """Decide bit i of the answer, from the highest on."""
        candidate = answer | (top >> i.astype(unsigned))
        # Whole numbers in float32: exact up to 2^24 entries, and no overflow beyond 2^31.
        below = sum(smaller(x, candidate, axes) for x, axes in zip(keys, cut, strict=True))
        return jnp.where(below <= rank, candidate, answer)

    answer = jax.lax.fori_loop(0, width, refine, jnp.zeros([], unsigned))
    return jax.lax.bitcast_convert_type(jnp.where(answer >= top, answer ^ top, ~answer), dtype)
