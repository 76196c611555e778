"""Leaves of any model, read from a trace of its call."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import PyTree

from optax_muon.matrices._by_name import Finding, Rules, UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import find
from optax_muon.matrices.call._findings import findings_from_call
from optax_muon.matrices.call._summary import Problem
from optax_muon.matrices.names._read import by_name


def leaves_from_call(
    fn: Callable[..., Any], params: PyTree, *inputs: Any, rules: Rules = (), **options: Any
) -> PyTree[Leaf]:
    """Read the role and the axes of every parameter from a trace of ``fn(params, *inputs, **options)``.

    For any model in any framework, or in none: the products of the call say which axes are contracted, stacked or cut
    into pieces, the way to the output which matrix is the head, ranking which is a router, a lookup which is a table.
    Nothing is computed.

    Args:
        fn: the forward pass as a function of the parameters, e.g. ``model.apply`` with ``{"params": params}`` made
            inside, ``lambda state, x: nnx.merge(graph, state)(x)``, or an Equinox model put together again. Not its
            gradient, and best with its output layer, which cannot be told from the last matrix of a block otherwise.
        params: arrays or `jax.ShapeDtypeStruct`.
        *inputs: of the call, arrays or `jax.ShapeDtypeStruct`; what is no array (None, a bool, a string) is passed on.
        rules: pairs of a path glob and a role or a `Leaf`, as for `for_matrices`; the first match wins. A role keeps
            the axes that the trace tells.
        **options: keywords of the call, as ``inputs`` are.

    Returns:
        A tree of `Leaf` like ``params``; `describe` shows where each was read.

    Raises:
        UnknownLeafError: naming parameters that the call uses in two ways, in a primitive that is not known, or not at
            all where the name does not tell either.

    Example:
        >>> import jax, jax.numpy as jnp, optax_muon as om
        >>> shapes = {"w": jnp.zeros((32, 8)), "out": jnp.zeros((5, 32))}
        >>> def model(p, tokens):
        ...     return jnp.tanh(jnp.tanh(tokens) @ p["w"].T) @ p["out"].T
        >>> leaves = om.leaves_from_call(model, shapes, jax.ShapeDtypeStruct((2, 8), jnp.float32))
        >>> leaves["w"].reduction, leaves["w"].role, leaves["out"].role
        ((1,), 'input', 'head')
    """
    shapes = {path: tuple(x.shape) for path, x in by_path(params).items()}
    leaves, problems = {}, {}
    for path, found in findings_from_call(fn, params, inputs, options).items():
        found = _by_its_name(path, found, shapes) if isinstance(found, Problem) else found
        if isinstance(found, Problem):
            problems[path] = found.why
        else:
            leaves[path] = dataclasses.replace(found.leaf, why=found.reason, assumed=found.assumed)
    found = find(params, rules, leaves, problems)
    return map_by_path(
        lambda path, x, entry: dataclasses.replace(entry.leaf, why=entry.reason, assumed=entry.assumed), params, found
    )


def _by_its_name(path: str, problem: Problem, shapes: Mapping[str, tuple[int, ...]]) -> Finding | Problem:
    """What the call does not use is told by its name where that leaves no doubt."""
    if not problem.unused:
        return problem
    try:
        found = by_name(path, shapes[path], shapes)
    except UnknownLeafError as error:
        return Problem(f"{problem.why}, and {error}")
    return problem if found.assumed else Finding(found.leaf, f"{problem.why}; {found.reason}")
