"""A Flax model's forward pass as a function of its parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from flax import nnx
from flax.core import meta
from jaxtyping import PyTree


def nnx_call(model: nnx.Module, wrt: Any, inputs: Sequence[Any]) -> tuple[Callable[..., Any], PyTree, tuple[Any, ...]]:
    """Function, parameters and inputs of an NNX model's call; statistics and keys are inputs.

    Parameters are a pair, those that are trained and those that are not: a table before adapters is a table, frozen or
    not.
    """
    graph, params, frozen, rest = nnx.split(model, nnx.Param if wrt is None else wrt, nnx.Param, ...)

    def call(params: PyTree, rest: PyTree, *inputs: Any, method: str = "__call__", **options: Any) -> Any:
        # Merged into copies: what the call changes, as running statistics, must not leave the trace.
        return getattr(nnx.merge(graph, *params, jax.tree.map(lambda x: x, rest)), method)(*inputs, **options)

    return call, (params, frozen), (rest, *inputs)


def linen_call(
    model: nn.Module, variables: Mapping[str, Any], inputs: Sequence[Any]
) -> tuple[Callable[..., Any], PyTree, tuple[Any, ...]]:
    """Function, parameters and inputs of a Linen model's call; ``variables``: abstract, all that init makes.

    Parameters are a pair, as of an NNX model; of Linen's all are trained.
    """
    params = meta.unbox(variables.get("params", {}))
    rest = {name: value for name, value in variables.items() if name != "params"}

    def call(params: PyTree, rest: PyTree, *inputs: Any, **options: Any) -> Any:
        params, _ = params
        # Boxes are put back, so that modules find their metadata; other random streams fall back to this one.
        boxed = meta.replace_boxed(variables.get("params", {}), params)
        key = jax.random.key(0)
        out, _ = model.apply({"params": boxed, **rest}, *inputs, rngs={"params": key}, mutable=True, **options)
        return out

    return call, (params, {}), (rest, *inputs)
