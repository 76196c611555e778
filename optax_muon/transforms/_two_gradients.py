"""Steps that need a second gradient: this batch's, at the parameters of one step ago."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, PyTree

from optax_muon.matrices._paths import by_path, map_by_path


class PreviousParamsState(NamedTuple):
    """State of `remember_previous_params`.

    Attributes:
        previous: the parameters of one step ago.
        inner: the optimizer's state.
    """

    previous: PyTree
    inner: optax.OptState


def remember_previous_params(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Keep the parameters of one step ago in an optimizer's state.

    Put it around the optimizer of the *whole* tree, since the second gradient is taken at all of the previous
    parameters; inside `multi_steps`, where it keeps those before the last true step. Read them by `previous_params`.

    Args:
        tx: the optimizer.

    Raises:
        ValueError: by ``update``, without parameters.

    State: 1 float per parameter, and the optimizer's.
    """
    tx = optax.with_extra_args_support(tx)

    def init_fn(params):
        # A copy, so that parameters and state can both be donated to a jitted step.
        return PreviousParamsState(jax.tree.map(lambda p: p.copy(), params), tx.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Let the optimizer move, and keep the parameters that it moved from."""
        if params is None:
            raise ValueError("remember_previous_params: update needs the parameters")
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        return updates, PreviousParamsState(params, inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def previous_params(state: optax.OptState, params: PyTree) -> PyTree:
    """Find the parameters of one step ago in a state, arranged like ``params``.

    Use it in a training step of your own; `step_with_two_gradients` calls it for you.

    Args:
        state: of an optimizer inside `remember_previous_params`.
        params: the present parameters.

    Raises:
        ValueError: if no state holds them.
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, PreviousParamsState))
    found = [node for node in nodes if isinstance(node, PreviousParamsState)]
    if not found:
        raise ValueError(
            "previous_params: no previous parameters in this state; wrap it in om.remember_previous_params"
        )
    table = by_path(found[0].previous)
    return map_by_path(lambda path, _, previous: previous, params, table)


def step_with_two_gradients(
    loss: Callable[..., Array], tx: optax.GradientTransformation
) -> Callable[..., tuple[PyTree, optax.OptState, Array]]:
    """Make the training step of an optimizer that wants ``grads_at_previous_params``.

    Use it with `muon_mvr`, `limuon` and `optmuon` in their forms that correct by the same batch. It costs a second
    forward and backward pass on the same batch. Jit it as any step.

    Args:
        loss: ``loss(params, *batch)``, a scalar.
        tx: an optimizer inside `remember_previous_params`, in `multi_steps` or not.

    Returns:
        ``step(params, state, *batch) -> (params, state, loss)``; ``value`` is passed to the optimizer as well.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> storm = om.muon_mvr(0.1, previous="same_batch", gamma=1.0, clip=None)
        >>> tx = om.remember_previous_params(storm)
        >>> step = om.step_with_two_gradients(lambda p, x: jnp.mean((x @ p["up"]["kernel"]) ** 2), tx)
        >>> params = {"up": {"kernel": jnp.eye(4)}}
        >>> params, state, value = step(params, tx.init(params), jnp.ones((2, 4)))
    """
    tx = optax.with_extra_args_support(tx)

    def step(params: PyTree, state: optax.OptState, *batch: Any) -> tuple[PyTree, optax.OptState, Array]:
        """Take both gradients on one batch, then one step."""
        value, grads = jax.value_and_grad(loss)(params, *batch)
        # On this batch: STORM's correction cancels the noise only if both gradients saw the same samples.
        before = jax.grad(loss)(previous_params(state, params), *batch)
        updates, state = tx.update(grads, state, params, grads_at_previous_params=before, value=value)
        return optax.apply_updates(params, updates), state, value

    return step
