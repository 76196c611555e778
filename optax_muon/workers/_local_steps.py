"""Steps that each worker takes on its own, and what becomes of them when workers meet again."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon._numbers import is_known, require_whole
from optax_muon.matrices._resolve import Leaves
from optax_muon.transforms import random_k
from optax_muon.workers._exchange import Sender
from optax_muon.workers._mixing import one_worker, params_after
from optax_muon.workers._worker_axis import AxisName, own


class OverlappedState(NamedTuple):
    """State of `merge_overlapped`.

    Attributes:
        count: updates so far, int32 scalar.
        drift: the mean of all workers less this worker's own, when they were sent; zero where nothing was sent.
        compressor: that of the choice of entries.
    """

    count: Any
    drift: PyTree
    compressor: Any


def merge_overlapped(
    period: int,
    axis_name: AxisName,
    *,
    overlap: int = 0,
    fraction: float = 1.0,
    leaves: Leaves | None = None,
    seed: int | Array = 0,
) -> optax.GradientTransformation:
    r"""Average parameters now and then while workers go on: what they do in the meantime is kept.

    Put it last, after the learning rate.

    .. math::
        y_i = W_i \text{ after step } H - Q \text{ of a round}, \qquad z_i = W_i \text{ after step } H, \qquad
        W_i \leftarrow z_i + S \circ \left( \tfrac{1}{N} \textstyle\sum_j y_j - y_i \right)

    Args:
        period: H, steps of a round.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, whose updates stay.
        overlap: Q, steps during which the mean is on its way, below H; 0: workers wait for it.
        fraction: of every matrix's entries that are averaged, S, drawn for each round and the same for all workers.
            Vectors are averaged whole.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks; for a fraction below 1.
        seed: of the entries.

    State: 1 float per parameter and a count; none for one worker.

    Raises:
        ValueError: for a period below 1, an overlap outside [0, period) or a fraction outside (0, 1]; by ``update``,
            without parameters.

    References:
        Maziane et al., LOSCAR-SGD, arXiv 2605.20866.
    """
    require_whole("merge_overlapped: period", period)
    require_whole("merge_overlapped: overlap", overlap, least=0)
    if overlap >= period:
        raise ValueError(f"merge_overlapped: overlap must be below the period {period}, not {overlap}")
    if not is_known(fraction) or not 0 < fraction <= 1:
        raise ValueError(f"merge_overlapped: fraction must be in (0, 1], not {fraction}")
    if axis_name is None:
        return one_worker("merge_overlapped")
    chosen = optax.identity() if fraction == 1 else random_k(fraction, seed=seed)
    sender = Sender(chosen, axis_name, "merge_overlapped", leaves)

    def init_fn(params):
        """Have nothing on its way."""
        nothing = own(optax.tree.zeros_like(params), axis_name)
        return OverlappedState(jnp.zeros([], jnp.int32), nothing, sender.init(params))

    def update_fn(updates, state, params=None):
        """Send at one step of a round, and add what has arrived at its last."""
        moved = params_after(updates, params, "merge_overlapped")
        count = jnp.asarray(optax.safe_increment(state.count))

        def send() -> tuple[PyTree, Any]:
            """Compare what this worker sends with the mean of what all send."""
            sent, mean, kept = sender.send(moved, state.compressor)
            return own((jax.tree.map(lambda m, y: m - y, mean, sent), kept), axis_name)

        # The same step on all workers, so that all of them are in the branch that talks.
        leaving = (count + overlap) % period == 0
        drift, kept = lax.cond(leaving, send, lambda: own((state.drift, state.compressor), axis_name))
        arrives = count % period == 0
        merged = jax.tree.map(lambda u, d: u + jnp.where(arrives, d, 0).astype(u.dtype), updates, drift)
        return merged, OverlappedState(count, drift, kept)

    return optax.GradientTransformation(init_fn, update_fn)


class LocalStepsState(NamedTuple):
    """State of `local_steps`.

    Attributes:
        count: updates so far, int32 scalar.
        anchor: the parameters at the last meeting, shaped like them.
        inner: the inner optimizer's.
        outer: the outer optimizer's.
    """

    count: Any
    anchor: PyTree
    inner: optax.OptState
    outer: optax.OptState


def local_steps(
    inner: optax.GradientTransformation, outer: optax.GradientTransformation, period: int, axis_name: AxisName
) -> optax.GradientTransformationExtraArgs:
    r"""Let every worker go its own way for some steps, and take one step of an outer optimizer along what they did.

    Use it where workers can talk once in many steps alone. The outer optimizer begins with what talks: `average_over`,
    or `exchange` with a compressor.

    .. math::
        \Delta_i = X - W_i \text{ after } H \text{ inner steps}, \qquad
        X \leftarrow X + \text{outer}(\Delta_i; X), \qquad W_i \leftarrow X

    Args:
        inner: a whole optimizer, its rate and decay included; it keeps its state over meetings.
        outer: an optimizer that takes Delta for a gradient, e.g. ``optax.chain(om.workers.average_over("workers"),
            optax.sgd(0.7, momentum=0.9, nesterov=True))``.
        period: H.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`, for the state's type; None: one worker.

    State: 1 float per parameter, a count, and both optimizers'.

    Raises:
        ValueError: for a period below 1; by ``update``, without parameters.

    References:
        Douillard et al., DiLoCo, arXiv 2311.08105.
    """
    require_whole("local_steps: period", period)
    inner, outer = optax.with_extra_args_support(inner), optax.with_extra_args_support(outer)

    def init_fn(params):
        """Start where the parameters are, the same on all workers."""
        mine = own(params, axis_name)
        # A copy, so that parameters and state can both be donated to a jitted step.
        anchor = jax.tree.map(jnp.array, mine)
        states = own((inner.init(mine), outer.init(mine)), axis_name)
        return LocalStepsState(jnp.zeros([], jnp.int32), anchor, *states)

    def update_fn(updates, state, params=None, **extra_args):
        """Take an inner step, and every so often an outer one."""
        steps, inside = inner.update(updates, state.inner, params, **extra_args)
        moved = params_after(steps, params, "local_steps")
        count = jnp.asarray(optax.safe_increment(state.count))

        def meet() -> tuple[PyTree, PyTree, Any]:
            """Step the anchor, and go there."""
            done = jax.tree.map(lambda x, w: x - w, state.anchor, moved)
            step, outside = outer.update(done, state.outer, state.anchor)
            anchor = jax.tree.map(lambda x, u: (x + u).astype(x.dtype), state.anchor, step)
            back = jax.tree.map(lambda x, w, u: (x - w).astype(u.dtype), anchor, params, steps)
            return own((back, anchor, optax.tree.cast_like(outside, state.outer)), axis_name)

        emitted, anchor, outside = lax.cond(
            count % period == 0, meet, lambda: own((steps, state.anchor, state.outer), axis_name)
        )
        return emitted, LocalStepsState(count, anchor, inside, outside)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
