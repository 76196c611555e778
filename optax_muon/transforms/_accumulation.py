"""Gradient accumulation that averages further gradients too."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax


def multi_steps(
    tx: optax.GradientTransformation,
    every: int | Callable[[Any], Any],
    *,
    trees: Sequence[str] = (),
    scalars: Sequence[str] = (),
    accumulator_dtype: Any = jnp.float32,
) -> optax.GradientTransformationExtraArgs:
    """Average gradients and named extra arguments over micro-batches, then take one step.

    Use it instead of `optax.MultiSteps` where the optimizer takes more than gradients. `optax.MultiSteps` averages the
    updates alone and hands on the extra arguments of the last micro-batch; that is wrong for an optimizer that takes a
    second gradient or the loss. Other extra arguments are handed on as there.

    Args:
        tx: the optimizer of the whole tree.
        every: micro-batches in a step, at least 1, or a schedule of it by step count.
        trees: extra arguments shaped like the parameters that are averaged, such as ``grads_at_previous_params``.
        scalars: extra arguments that are one number and are averaged, such as ``value``.
        accumulator_dtype: dtype of the averages.

    State: 1 float per parameter, and 1 for every name in ``trees``; `optax.MultiStepsState` around the optimizer's.

    Raises:
        ValueError: for ``every`` below 1; by ``update``, where a named argument is missing.

    Example:
        >>> import functools, optax, optax_muon as om
        >>> storm = functools.partial(om.muon_mvr, 0.02, previous="same_batch", gamma=1.0, clip=None)
        >>> tx = om.remember_previous_params(om.for_matrices(storm, otherwise=optax.adamw(3e-4)))
        >>> tx = om.multi_steps(tx, 4, trees=["grads_at_previous_params"])
    """
    if isinstance(every, int) and every < 1:
        raise ValueError(f"multi_steps: every must be at least 1, not {every}")
    tx, names = optax.with_extra_args_support(tx), (*trees, *scalars)

    def whole_init(params: Any) -> Any:
        """Initialise the optimizer alone; the extra trees have no state."""
        return tx.init(params["params"])

    def whole_update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        """Take one true step: unpack the averages, and hand them on under their names."""
        # optax.MultiSteps hands on keyword arguments of the last micro-batch alone: these come as its averaged updates.
        averaged = {name: updates[name] for name in names}
        before = params["params"] if params else None
        out, state = tx.update(updates["params"], state, before, **averaged, **extra_args)
        return {"params": out} | jax.tree.map(jnp.zeros_like, averaged), state

    # The extra arguments ride beside the gradients in one tree, so that optax's own accumulator averages them all.
    packed = optax.MultiSteps(
        optax.GradientTransformationExtraArgs(whole_init, whole_update), every, accumulator_dtype=accumulator_dtype
    )

    def pack(tree, given):
        return {"params": tree} | given

    def init_fn(params):
        # The accumulators take their shapes from the "parameters" of the packed tree.
        blank = {name: params for name in trees} | {name: jnp.zeros([], accumulator_dtype) for name in scalars}
        return packed.init(pack(params, blank))

    def update_fn(updates, state, params=None, **extra_args):
        """Add a micro-batch; return zeros until the last one of a step."""
        missing = [name for name in names if extra_args.get(name) is None]
        if missing:
            raise ValueError(f"multi_steps: update needs the extra argument {missing[0]!r}, which it is to average")
        given = {name: jax.tree.map(jnp.asarray, extra_args.pop(name)) for name in names}
        before = (
            None if params is None else pack(params, {name: params for name in trees} | {name: 0.0 for name in scalars})
        )
        averaged: Any = packed.update(pack(updates, given), state, before, **extra_args)
        return averaged[0]["params"], averaged[1]

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
