"""What a traced call says of every parameter."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.interpreters import partial_eval
from jaxtyping import PyTree

from optax_muon.matrices._by_name import Finding
from optax_muon.matrices._paths import by_path
from optax_muon.matrices.call._record import Record
from optax_muon.matrices.call._summary import Problem, summarize
from optax_muon.matrices.call._value import Value, View, whole
from optax_muon.matrices.call._walk import Reader
from optax_muon.matrices.names._words import HEAD_MODULE, SOFT_ROUTER


def findings_from_call(
    fn: Callable[..., Any], params: PyTree, inputs: Any, options: Any
) -> dict[str, Finding | Problem]:
    """Trace ``fn(params, *inputs, **options)`` and sum up what it does with each parameter, by path."""
    arrays = by_path(params)
    record = read_call(fn, params, [tuple(x.shape) for x in arrays.values()], inputs, options)
    return {path: _named(path, summarize(record, number)) for number, path in enumerate(arrays)}


def _named(path: str, found: Finding | Problem) -> Finding | Problem:
    """Roles that the way of the data leaves open: a last matrix in a residual stream, a router that mixes softly."""
    if isinstance(found, Problem) or found.leaf.role != "hidden":
        return found
    module = [name.lower() for name in [*path.split("/"), ""][-3:-1]]
    role = None
    if found.assumed and any(HEAD_MODULE.fullmatch(name) for name in module):
        role = "head"
    elif any(SOFT_ROUTER.fullmatch(name) for name in module) and len(found.leaf.output) == 1:
        role = "router"
    if role is None:
        return found
    return Finding(dataclasses.replace(found.leaf, role=role, split=None), f"named {module[0]!r}; {found.reason}")


def read_call(
    fn: Callable[..., Any], params: PyTree, shapes: list[tuple[int, ...]], inputs: Any, options: Any
) -> Record:
    """Trace a call and note what it does with every parameter, in the order of its leaves."""
    leaves, structure = jax.tree.flatten(params)
    given, inside = jax.tree.flatten((inputs, dict(options)))
    traced = [isinstance(x, jax.Array | np.ndarray | jax.ShapeDtypeStruct) for x in given]

    def called(weights: list[Any], arrays: list[Any]) -> Any:
        rest = iter(arrays)
        values = [next(rest) if is_array else x for x, is_array in zip(given, traced, strict=True)]
        args, keywords = jax.tree.unflatten(inside, values)
        return jax.tree.leaves(fn(jax.tree.unflatten(structure, weights), *args, **keywords))

    # Shapes alone, whatever came in: nothing is put on a device, and a model of any size is read on a laptop.
    abstract = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]
    arrays = [x for x, is_array in zip(given, traced, strict=True) if is_array]
    jaxpr = jax.make_jaxpr(called)(abstract, arrays).jaxpr
    # What no result needs would mislead: a top-k whose choice is dropped makes no router.
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    record = Record(shapes)
    weights = [Value((View(i, "weight", whole(shape)),), weight=True) for i, shape in enumerate(shapes)]
    inputs = [Value(given=True, raw=frozenset([i])) for i in range(len(jaxpr.invars) - len(weights))]
    outs = Reader(record).run(jaxpr, [*weights, *inputs], ())
    record.outputs = set().union(*(value.products for value in outs))
    return record
