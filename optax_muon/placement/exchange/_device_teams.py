"""One matrix on several devices: every member holds some of its columns."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from optax_muon.linalg import Frobenius, NewtonSchulz
from optax_muon.linalg._map_stack import Op
from optax_muon.linalg._scale import one_if_zero, quotient, square_root
from optax_muon.placement.exchange._tiles import Grid, Kind, fill_axis, team_block


def team_iteration(op: Op) -> NewtonSchulz | None:
    """Give the plain iteration that a team can run in place of ``op``, the same polynomials; None: there is none.

    In a team the big products are divided already, so the Gram iteration's longer chain of small ones saves nothing.
    """
    plain = getattr(op, "plain", op)
    if isinstance(plain, NewtonSchulz) and isinstance(plain.normalizer, Frobenius):
        return plain
    return None


def team_costs(op: Op, dtype: Any) -> Callable[[int, int, int], tuple[float, float]] | None:
    """Give the function from (m, n, t) to FLOPs and bytes per device for an (m, n) matrix on a team of t.

    None: ``op`` runs on one device only.
    """
    plain = team_iteration(op)
    if plain is None:
        return None
    steps, terms = plain.rows.shape
    itemsize = plain.arithmetic.working_dtype(dtype).itemsize

    def of(m: int, n: int, t: int) -> tuple[float, float]:
        """Count what each of ``t`` members computes and sends for one m x n matrix."""
        # Rows are padded so that all members have the same number.
        m = -(-m // t) * t
        # The Gram matrix is summed over the team (as much as two gathers), and each product of it is gathered.
        sent = m * m * (t - 1) / t * (2 * jnp.dtype(jnp.float32).itemsize + (terms - 2) * itemsize)
        return steps * (4.0 * m * m * -(-n // t) + (terms - 2) * 2.0 * m**3 / t), steps * sent

    return of


def to_team(x: Array, kind: Kind, team: int) -> Array:
    """Divide the long side of tiles among a team: (count, rows, cols) to (count, team, elements)."""
    if team > 1:
        axis = 1 if kind.turned else 2
        share_length = -(-x.shape[axis] // team)
        x = fill_axis(x, axis, team * share_length)
        # A team may hold the long side in any order: the Gram matrix is a sum over it, and every column goes back to
        # where it came from. So the split needs no exchange within the tile.
        x = x.reshape(*x.shape[:axis], team, share_length, *x.shape[axis + 1 :])
        x = jnp.moveaxis(x, axis, 1)
    return x.reshape(x.shape[0], team, -1)


def from_team(x: Array, kind: Kind, team: int) -> Array:
    """Undo `to_team`: (count, team, elements) to (count, rows, cols)."""
    rows, cols = kind.block.local
    if team == 1:
        return x[:, 0, : rows * cols].reshape(-1, rows, cols)
    held = team_block(kind, team).local
    x = x[..., : math.prod(held)].reshape(-1, team, *held)
    if kind.turned:
        return x.reshape(-1, team * held[0], cols)[:, :rows]
    return jnp.swapaxes(x, 1, 2).reshape(-1, rows, team * held[1])[..., :cols]


def compute_in_teams(op: Op, x: Array, team: int, grid: Grid) -> Array:
    """Run the plain iteration on matrices (repeat, m, share of n), one after another; the shape is kept.

    Per step: the sum of everyone's Gram matrix, own rows of its polynomial, a gather of these, own columns of the
    product. Teams are consecutive devices of the grid.
    """
    plain = team_iteration(op)
    assert plain is not None
    devices, axes = math.prod(grid.values()), tuple(grid)
    groups = [list(range(first, first + team)) for first in range(0, devices, team)]
    m = x.shape[1]
    rows = -(-m // team)
    mine = lax.axis_index(axes) % team * rows
    storage, arithmetic = plain.arithmetic.working_dtype(x.dtype), plain.arithmetic

    def own(matrix: Array) -> Array:
        return lax.dynamic_slice_in_dim(matrix, mine, rows, 0)

    def step(y: Array, row: Array) -> tuple[Array, None]:
        """Take one step with the coefficients of ``row``."""
        # Columns are divided, and the Gram matrix is a sum over columns.
        gram = lax.psum(arithmetic.gram(y), axes, axis_index_groups=groups)
        inner = row[-1] * gram
        # Horner's rule: of every product a member computes its own rows, and all need the whole for the next one.
        for c in row[-2:0:-1]:
            part = c * own(gram) + arithmetic.matmul(own(gram).astype(storage), inner.astype(storage))
            inner = lax.all_gather(part.astype(storage), axes, axis_index_groups=groups, tiled=True)
        return (row[0] * y + arithmetic.matmul(inner.astype(storage), y)).astype(storage), None

    def one(x: Array) -> Array:
        """Run all steps on this member's columns of one matrix."""
        y = _normalized(x, axes, groups) / plain.safety
        table = jnp.asarray(plain.rows, jnp.real(y).dtype)
        return lax.scan(step, y.astype(storage), table)[0].astype(x.dtype)

    padded = jnp.pad(x, ((0, 0), (0, team * rows - m), (0, 0)))
    return (one(padded[0])[None] if x.shape[0] == 1 else lax.map(one, padded))[:, :m]


def _normalized(x: Array, axes: tuple[str, ...], groups: list[list[int]]) -> Array:
    """Divide a share (m, share of n) by the Frobenius norm of the team's whole matrix: zero stays zero, NaN NaN."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # Divided by the largest entry first: squares of what is left neither overflow nor vanish. A gather and not a
    # maximum over the team, which would drop a NaN.
    largest = jnp.max(lax.all_gather(jnp.max(jnp.abs(x)), axes, axis_index_groups=groups))
    x = quotient(x, one_if_zero(largest))
    norm = square_root(lax.psum(jnp.sum(jnp.real(x * jnp.conj(x))), axes, axis_index_groups=groups))
    return x / one_if_zero(norm)
