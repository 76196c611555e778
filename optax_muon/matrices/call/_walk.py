"""Walks the equations of a traced call."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from optax_muon.matrices.call import _control_flow, _elementwise, _products, _reshaping  # noqa: F401 - they fill RULES
from optax_muon.matrices.call._record import Product, Record
from optax_muon.matrices.call._rules import RULES, source_of
from optax_muon.matrices.call._value import Dims, Place, Value, data


class Reader:
    """Walks traces and keeps the record."""

    def __init__(self, record: Record):
        self.record = record

    def run(self, jaxpr: Any, args: Sequence[Value], place: Place) -> list[Value]:
        """Walk an inner trace, closed or open; the values of its results."""
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        known: dict[Any, Value] = dict.fromkeys(jaxpr.constvars, Value())
        known.update(zip(jaxpr.invars, args, strict=True))

        def look(var: Any) -> Value:
            return Value() if isinstance(var, Literal) else known[var]

        for number, eqn in enumerate(jaxpr.eqns):
            ins, here = [look(var) for var in eqn.invars], (*place, number)
            # A primitive that JAX adds tomorrow must not be taken for one that keeps axes apart.
            apply = RULES.get(eqn.primitive.name, unknown)
            for var, value in zip(eqn.outvars, apply(self, eqn, ins, here), strict=True):
                keeps = value.weight or _has_gradient(var) or _is_quantized(eqn, var)
                known[var] = value if keeps else _cut_off(value)
        return [look(var) for var in jaxpr.outvars]

    def mapped(self, value: Value, change: Callable[[Dims], Dims | None], place: Place, eqn: Any) -> Value:
        """Change the dimensions of every view; a weight that cannot be followed is opaque."""
        made, lost = value.mapped(change)
        if value.weight:
            self.record.opaque(place, lost, source_of(eqn), "its axes cannot be followed through this reshape")
        return made


def unknown(walk: Reader, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Join data; a parameter that meets a primitive without a rule is opaque, and the result a product of it."""
    name, weights = eqn.primitive.name, [value for value in ins if value.weight]
    if not weights:
        return [data(ins)] * len(eqn.outvars)
    for value in weights:
        walk.record.opaque(place, value.views, source_of(eqn), f"{name} has no rule")
    sources = frozenset().union(*(value.products for value in ins))
    walk.record.followed |= sources
    walk.record.products[place] = Product(sources=sources)
    return [data(ins, products=frozenset([place]), computed=True)] * len(eqn.outvars)


def _has_gradient(var: Any) -> bool:
    dtype = getattr(var.aval, "dtype", None)
    return dtype is not None and not jax.dtypes.issubdtype(dtype, jax.dtypes.extended) and jnp.issubdtype(
        dtype, jnp.inexact
    )  # fmt: skip


def _is_quantized(eqn: Any, var: Any) -> bool:
    """Tell numbers of few bits that stand for floats, and their products, from indices."""
    if eqn.primitive.name in ("dot_general", "conv_general_dilated", "ragged_dot_general"):
        return True
    dtype = getattr(var.aval, "dtype", None)
    return dtype is not None and dtype != jnp.bool_ and getattr(dtype, "itemsize", 4) == 1


def _cut_off(value: Value) -> Value:
    """Integers pass no gradient on: what they were made of is no part of the product that they choose."""
    return dataclasses.replace(value, views=(), products=frozenset())
