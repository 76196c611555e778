"""What a model tells of its parameters, module by module."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from optax_muon.matrices._by_name import Finding, UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path
from optax_muon.matrices.flax import _layer_axes as axes
from optax_muon.matrices.flax._ends import ends
from optax_muon.matrices.flax._layer_axes import Site
from optax_muon.matrices.flax._layer_table import LayerKind, lookup
from optax_muon.matrices.flax._roles import Attention, with_role, without_layer

Modules = Mapping[type, Mapping[str, "Leaf | Callable[[Any], Leaf]"]]


class Reading(NamedTuple):
    """What a model tells of its parameters.

    Attributes:
        shapes: a tree of `jax.ShapeDtypeStruct` like the parameters.
        leaves: by path, where the model tells.
        problems: by path, why it does not.
        specs: by path, how a parameter is sharded, where metadata or the array say so.
        convolutions: paths of their kernels.
        untold: paths of parameters of which their modules say nothing, so that names and neighbours may.
        layered: by path, the axis that metadata say numbers layers.
        variables: all that a Linen model's initialisation makes, boxes kept; empty for NNX.
    """

    shapes: PyTree
    leaves: dict[str, Leaf]
    problems: dict[str, str]
    specs: dict[str, Any]
    convolutions: frozenset[str] = frozenset()
    untold: frozenset[str] = frozenset()
    layered: Mapping[str, int] = MappingProxyType({})
    variables: PyTree = MappingProxyType({})


def read_site(
    site: Site, kinds: Mapping[type, LayerKind], attention: Attention, modules: Modules
) -> Finding | UnknownLeafError:
    """Read one parameter, with axes as its own module counts them; return the error where it cannot be told."""
    own = (lookup(modules, site.module) or {}).get(site.name)
    kind = lookup(kinds, site.module)
    try:
        if own is not None:
            return _given(site, own if isinstance(own, Leaf) else own(site.module), attention)
        if kind is not None and site.name in kind.names:
            return with_role(site, kind.read(site), attention)
        equation = axes.own_equation(site) if kind is None else None
        if equation is not None:
            told = site._replace(equation=equation)
            return with_role(told, axes.einsum(told), attention)
        dense = axes.own_dense(site) if kind is None else None
        if dense is not None:
            return with_role(site, dense, attention)
        return without_layer(site)
    # Returned and not raised: another module that shares the parameter may tell, and a message names all problems at
    # once.
    except UnknownLeafError as error:
        return error


def _given(site: Site, own: Leaf, attention: Attention) -> Finding:
    """Read what the user says of an own layer, before its type and its name: axes; a role of one module by its name."""
    own.check(site.path, site.shape)
    reduction, output = (tuple(axis % len(site.shape) for axis in side) for side in (own.reduction, own.output))
    found = Finding(
        dataclasses.replace(own, reduction=reduction, output=output), f"given for {type(site.module).__name__}"
    )
    if own.role != "hidden" or own.split is not None:
        return found._replace(assumed=own.assumed)
    # One class serves head, router and query alike: as for `nnx.Linear`, the name of the module tells which.
    named = with_role(site, found, attention)
    return named._replace(assumed=own.assumed)


def is_convolution(kind: LayerKind | None, name: str) -> bool:
    """Tell the kernel of a convolution."""
    return kind is not None and name in kind.names and kind.read in (axes.convolution, axes.transposed_convolution)


def alone(reading: Reading) -> Reading:
    """Finish the reading of a model that is not called: its first and last layers are told by their widths."""
    shapes = {path: x.shape for path, x in by_path(reading.shapes).items()}
    return reading._replace(leaves=reading.leaves | ends(shapes, reading.leaves, reading.convolutions))


def noted(found: Finding, change: Callable[[Leaf], Leaf]) -> Leaf:
    """Write a finding's reason into its leaf, after ``change``."""
    return dataclasses.replace(change(found.leaf), why=found.reason, assumed=found.assumed)


def abstract(tree: PyTree) -> PyTree:
    """Return shapes and dtypes of a tree of arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
