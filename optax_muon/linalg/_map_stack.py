"""An operation over a stack of matrices, one after another, and one stack after another."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info, MatrixOp, SpectralMap

Op = SpectralMap | MatrixOp


def map_stack(
    op: Op,
    stack: Array,
    carry: PyTree = (),
    keys: Array | None = None,
    others: Mapping[str, Array] | None = None,
    *,
    reuse: bool = False,
) -> tuple[Array, PyTree, Info]:
    """Apply an operation to a stack (count, m, n).

    One matrix at a time: on a CPU 5 to 20 % faster than a batched product, and one matrix's temporaries alive. A stack
    of one is not looped over.

    Args:
        op: the operation.
        stack: the matrices.
        carry: its state, leading axis: matrices.
        keys: one random key per matrix, or None.
        others: further matrices, one stack like ``stack`` for each name.
        reuse: ``stack`` is a temporary that a `SpectralMap` may overwrite.
    """
    if isinstance(op, SpectralMap):
        return _map_spectrum(op, stack, reuse), (), Info()

    def one(args: tuple[Array, PyTree, Array | None, dict[str, Array]]) -> tuple[Array, PyTree, Info]:
        """Apply the operation to one matrix with what belongs to it."""
        x, carry, key, others = args
        return op.apply(x, carry, key=key, **others)

    given = (stack, carry, keys, dict(others or {}))
    if stack.shape[0] == 1:
        return jax.tree.map(lambda a: a[None], one(jax.tree.map(lambda a: a[0], given)))
    return lax.map(one, given)


def after(xs: PyTree, previous: Array | None) -> PyTree:
    """Give the arrays of a tree as they are, but not before ``previous`` is there.

    XLA starts independent chains together, and the temporaries of all of them are alive at once; it drops
    `jax.lax.optimization_barrier` before it schedules. A condition that is always true, which the compiler cannot
    know, orders them on every platform and costs nothing beside a matrix product.
    """
    if previous is None or 0 in previous.shape:
        return xs
    done = _true(previous)
    return jax.tree.map(lambda x: x if 0 in x.shape else jnp.where(done, x, jnp.zeros_like(x)), xs)


def split_stack(x: Array, sizes: Sequence[int]) -> list[Array]:
    """Split a stack (count, m, n) into consecutive stacks of the given sizes, which add up to ``count``."""

    def seen(x: Array) -> list[Array]:
        ends = itertools.accumulate(sizes, initial=0)
        return [lax.slice_in_dim(x, start, stop) for start, stop in itertools.pairwise(ends)]

    if _few(x, sizes):
        return seen(x)
    return lax.platform_dependent(x, cpu=lambda x: split_on_cpu(x, sizes), default=seen)


def split_on_cpu(x: Array, sizes: Sequence[int]) -> list[Array]:
    """Split a stack as `split_stack` does, in programs for a CPU alone.

    XLA compiles one kernel for every slice on a CPU, about as dear as the iteration itself; slices at offsets that it
    cannot see are all the same kernel, and a fifth of the price.
    """
    starts = list(itertools.accumulate(sizes, initial=0))[:-1]
    if _few(x, sizes):
        return [lax.slice_in_dim(x, i, i + size) for i, size in zip(starts, sizes, strict=True)]
    known, hidden = _true(x), lax.optimization_barrier(tuple(jnp.int32(i) for i in starts))
    return [_piece(x, known, i, size) for i, size in zip(hidden, sizes, strict=True)]


def _few(x: Array, sizes: Sequence[int]) -> bool:
    """Tell whether slices of a stack are too few to cost anything."""
    return len(sizes) < 8 or 0 in x.shape


def _piece(x: Array, known: Array, start: Array, size: int) -> Array:
    """Slice (size, m, n) at an offset that the compiler cannot see."""
    return lax.cond(known, *_branches(size), x, start)


@functools.cache
def _branches(size: int) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """The same functions for every piece of one size: JAX then traces them once."""

    def there(x: Array, i: Array) -> Array:
        return lax.dynamic_slice_in_dim(x, i, size)

    def elsewhere(x: Array, _: Array) -> Array:
        return jnp.zeros_like(x[:size])

    return there, elsewhere


def _true(x: Array) -> Array:
    """Always true, which the compiler cannot know: of 32 bits at most 32 are set."""
    first = jnp.real(x[(0,) * x.ndim]).astype(jnp.float32)
    return lax.population_count(lax.bitcast_convert_type(first, jnp.uint32)) <= 32


def _map_spectrum(op: SpectralMap, stack: Array, reuse: bool) -> Array:
    """Apply a map to a stack (count, m, n)."""
    if 0 in stack.shape:
        return op.apply(stack)  # it still raises on what it cannot take
    if stack.shape[0] == 1:
        return op.apply(stack[0])[None]
    return map_in_place(op, stack) if reuse else lax.map(op.apply, stack)


def map_in_place(op: SpectralMap, stack: Array) -> Array:
    """Loop over a stack (count, m, n) and write every result over its matrix: no second buffer of that size."""

    def body(i: Any, buffer: Array) -> Array:
        y = op.apply(lax.dynamic_index_in_dim(buffer, i, 0, keepdims=False))
        return lax.dynamic_update_index_in_dim(buffer, y, i, 0)

    return lax.fori_loop(0, stack.shape[0], body, stack)
