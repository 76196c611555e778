"""The inputs of a Flax model's layers, taken on the way through the model."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype


def layer_inputs(forward: Callable[..., Any], *args: Any) -> dict[str, Float[Array, "tokens features"]]:
    """Run a Flax model and keep what enters each dense layer, for `stable_rank`.

    Args:
        forward: an `nnx.Module`; a function whose first argument is one; or, for Linen, a function that calls
            ``module.apply``, as in ``layer_inputs(lambda x: module.apply(variables, x), x)``.
        *args: its arguments.

    Returns:
        Path of the kernel, as in the parameters -> inputs (tokens, features), all calls of a layer one below the other.
        Dense layers only: ``Linear``, ``LinearGeneral``, ``Dense``, ``DenseGeneral``.

    Raises:
        ValueError: if no dense layer was called.

    Cost: no HVP; one forward pass, and its activations' memory. Pure: jit a function that reduces them, e.g. to
    `stable_rank`. Layers under `nn.scan` and `nn.remat` are traced apart and cannot be seen.

    References:
        Davis and Drusvyatskiy, arXiv 2512.04299; Linen's `flax.linen.intercept_methods`.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> from flax import nnx
        >>> x = om.diagnostics.layer_inputs(nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0))), jnp.eye(3))
        >>> {path: a.shape for path, a in x.items()}
        {'layers/0/kernel': (3, 3)}
    """
    from flax import nnx

    module = next((x for x in (forward, *args[:1]) if isinstance(x, nnx.Module)), None)
    seen: dict[str, list[Array]] = {}
    with _linen(seen) if module is None else _nnx(module, seen):
        forward(*args)
    if not seen:
        raise ValueError(
            "layer_inputs: forward called no dense layer of Flax; give the module itself or a function that calls it, "
            "without a jit between"
        )
    return {path: jnp.concatenate(inputs) for path, inputs in seen.items()}


def input_moments(forward: Callable[..., Any], *args: Any) -> dict[str, Float[Array, "features features"]]:
    """Run a Flax model and return the mean of ``x x^T`` over what enters each dense layer, for `newton_muon`.

    Args:
        forward: as for `layer_inputs`.
        *args: its arguments.

    Returns:
        Path of the kernel, as in the parameters -> second moment (features, features), float32 or wider.

    Raises:
        ValueError: if no dense layer was called.

    Cost: no HVP; one forward pass, its activations' memory, and a product for every layer. In a function without
    arguments, ``input_moments=lambda: om.diagnostics.input_moments(model, x)``, it runs when the optimizer renews its
    inverses alone.

    References:
        Du and Su, Newton-Muon, arXiv 2604.01472.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> from flax import nnx
        >>> model = nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
        >>> om.diagnostics.input_moments(model, 3 * jnp.eye(3))["layers/0/kernel"].diagonal().tolist()
        [3.0, 3.0, 3.0]
    """
    inputs = layer_inputs(forward, *args)
    wide = {path: x.astype(accumulator_dtype(x.dtype)) for path, x in inputs.items()}
    return {path: FLOAT32.matmul(x.mT, x) / len(x) for path, x in wide.items()}


def _keep(seen: dict[str, list[Array]], path: tuple[Any, ...], layer: Any, x: Array) -> None:
    """Store an input with the contracted axes last and flat."""
    axes = getattr(layer, "axis", -1)
    # Only general layers have an axis, a number or a tuple; dense ones contract the last.
    axes = [axis % x.ndim for axis in ((axes,) if isinstance(axes, int) else axes)]
    rows = jnp.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim))
    rows = rows.reshape(-1, math.prod(x.shape[axis] for axis in axes))
    seen.setdefault("/".join(map(str, (*path, "kernel"))), []).append(rows)


@contextlib.contextmanager
def _linen(seen: dict[str, list[Array]]) -> Iterator[None]:
    """Watch Linen's dense layers, under which inputs are added to ``seen`` by path."""
    from flax import linen

    def interceptor(call, args, kwargs, context):
        """Keep what enters a dense layer's call, then call it."""
        layer = context.module
        if context.method_name == "__call__" and isinstance(layer, linen.Dense | linen.DenseGeneral):
            _keep(seen, layer.path, layer, args[0] if args else kwargs["inputs"])
        return call(*args, **kwargs)

    with linen.intercept_methods(interceptor):
        yield


@contextlib.contextmanager
def _nnx(module: Any, seen: dict[str, list[Array]]) -> Iterator[None]:
    """Stand in for the calls of NNX's dense layers, as `nnx.capture` does for outputs: NNX has no interceptor."""
    from flax import nnx

    classes = (nnx.Linear, nnx.LinearGeneral)
    # By identity: a layer that is called twice, or shared, keeps its one path.
    paths = {id(layer): path for path, layer in nnx.iter_modules(module) if isinstance(layer, classes)}
    calls = {cls: cls.__call__ for cls in classes}

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a class's call."""

        def layer_call(layer, inputs, *args, **kwargs):
            """Keep what enters, if the layer belongs to the watched module."""
            if id(layer) in paths:
                _keep(seen, paths[id(layer)], layer, inputs)
            return call(layer, inputs, *args, **kwargs)

        return layer_call

    try:
        for cls, call in calls.items():
            # On the class, where Python looks special methods up; other threads' layers pass through by the test of
            # ids.
            setattr(cls, "__call__", watched(call))  # noqa: B010 - an assignment would be a type error
        yield
    finally:
        for cls, call in calls.items():
            setattr(cls, "__call__", call)  # noqa: B010
