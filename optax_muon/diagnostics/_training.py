"""Measures inside a training loop: per matrix, and only every so many steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.diagnostics._blocks import Blocks
from optax_muon.matrices._by_name import Rules
from optax_muon.matrices._resolve import Leaves


def per_matrix(
    f: Callable[[Array], Array], *, leaves: Leaves | None = None, rules: Rules = ()
) -> Callable[[PyTree], dict[str, Array]]:
    """Turn a measure of matrices into one of trees, for `optax.snapshot` and `optax.monitor`.

    Use it to log a measure of every layer during training.

    Args:
        f: stack (count, reduction, output) -> numbers (count,), e.g. `nuclear_rank` or a norm's ``value``.
        leaves: as for `for_matrices`.
        rules: as for `for_matrices`.

    Returns:
        A function from a tree to path -> numbers (matrices,) of its hidden matrices.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> rank = om.diagnostics.per_matrix(om.diagnostics.nuclear_rank)
        >>> tx = optax.chain(optax.snapshot("rank", rank), om.muon(0.02))
        >>> params = {"up": {"kernel": jnp.eye(4)}}
        >>> _, state = tx.update(params, tx.init(params), params)
        >>> float(optax.tree.get(state, "rank")["up/kernel"][0])
        4.0
    """

    def of_tree(tree: PyTree) -> dict[str, Array]:
        """Measure the hidden matrices of a tree: path -> numbers (matrices,)."""
        return Blocks.of(tree, leaves, rules).measure(f, tree)

    return of_tree


class EveryState(NamedTuple):
    """State of `every`.

    Attributes:
        count: updates so far, int32 scalar.
        last: the last measurement; zeros before the first.
    """

    count: Any
    last: Any


def every(steps: int, measurement: Callable[..., Any], **example: Any) -> optax.GradientTransformationExtraArgs:
    """Measure at the first step and then every ``steps`` steps, for `optax.monitor`; between, the last one stands.

    Use it where a measure is too expensive for every step. The measurement runs inside a `jax.lax.cond`, so the other
    steps do not pay for it.

    Args:
        steps: updates between measurements, at least 1.
        measurement: ``f(updates, params, **extra) -> tree``, e.g. a closure over `measure` and the loss.
        **example: an array, or a `jax.ShapeDtypeStruct`, for each extra argument that the measurement takes; the
            optimizer's ``update`` then must be given an argument of that name.

    Returns:
        A transformation whose update is the measurement; put it in `optax.monitor` and nowhere else.

    Raises:
        ValueError: for steps that are no whole number of at least 1; from ``update``, for a missing extra argument.

    State: the measurement.

    Example:
        >>> import jax, jax.numpy as jnp, optax, optax_muon as om
        >>> loss = lambda params, x: jnp.sum((x @ params["up"]["kernel"]) ** 2) / 2
        >>> top = lambda grads, params, batch: om.diagnostics.top_curvature(loss, params, batch)["up/kernel"].value
        >>> params, x = {"up": {"kernel": jnp.eye(3)}}, 2 * jnp.eye(3)
        >>> tx = optax.chain(optax.monitor({"L": om.diagnostics.every(100, top, batch=x)}), om.muon(0.02))
        >>> _, state = tx.update(jax.grad(loss)(params, x), tx.init(params), params, batch=x)
        >>> round(float(optax.tree.get(state, "L")[0]), 3)
        4.0
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"every: steps must be a whole number of at least 1, not {steps!r}")

    def init_fn(params):
        """Make a state of zeros in the measurement's shapes."""
        # State must have its final shapes before the first update; tracing tells them and computes nothing.
        shapes = jax.eval_shape(measurement, params, params, **example)
        return EveryState(jnp.zeros([], jnp.int32), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))

    def update_fn(updates, state, params=None, **extra_args):
        """Return the measurement, new or the last one, in the updates' place."""
        missing = [name for name in example if name not in extra_args]
        if missing:
            raise ValueError(f"every: update needs the extra argument {missing[0]!r}, which the measurement takes")
        chosen = {name: extra_args[name] for name in example}
        last = jax.lax.cond(
            state.count % steps == 0,
            lambda: measurement(updates, params, **chosen),
            lambda: state.last,
        )
        return last, EveryState(optax.safe_increment(state.count), last)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
