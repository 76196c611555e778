"""Whitening by averaged Gram matrices of gradients."""

import abc
import dataclasses
from typing import Any, ClassVar, TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._renamed import renamed_fields
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, of_one_squarable_size, squarable, summable
from optax_muon.linalg._map import Info, MatrixOp
from optax_muon.linalg._scale import length, square_root
from optax_muon.linalg.subspace._eigenbasis import (
    KEEP,
    SIDES,
    WHITENED,
    Refresh,
    followed,
    from_basis,
    gram,
    initial_factors,
    to_basis,
)

Op = TypeVar("Op", bound="GradientOp")


class GradientOp(MatrixOp):
    """A `MatrixOp` whose ``apply`` takes ``gradient``, the raw gradient's matrices, and which knows the time."""

    # Gram matrices here are X X^T: a complex matrix would want X X^H everywhere.
    real_only: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("gradient",)

    @abc.abstractmethod
    def at(self: Op, count: Array) -> Op:
        """Return the operation as it is at update ``count``, from zero; a scalar, the same for all matrices."""


@renamed_fields(epsilon="eps")
@dataclasses.dataclass(frozen=True)
class KroneckerWhitening(GradientOp):
    r"""Divide by the square root of a Kronecker covariance, fitted in Kullback-Leibler divergence (KL-Shampoo).

    Use it, through `kl_shampoo`, where Shampoo without a grafted step size is wanted.

    .. math::
        S_L \leftarrow \beta S_L + \tfrac{1 - \beta}{n} G S_R^{-1} G^T, \qquad
        S_R \leftarrow \beta S_R + \tfrac{1 - \beta}{m} G^T S_L^{-1} G, \qquad Y = S_L^{-1/2} X S_R^{-1/2}

    Both factors are renewed from the old ones. Inverses go through bases Q that follow the factors on a schedule, and
    the eigenvalues diag(Q^T S Q). A factor starts from the first nonzero gradient's RMS times I, without which a
    gradient of rank one would be divided by nothing.

    Args:
        decay: beta.
        refresh: when and how the bases follow.
        max_side: a longer side is left as it is, and keeps no factor.
        eps: eigenvalues count at least this fraction of the largest.
        even: bring each factor's eigenvalues to mean 1 before it whitens, so that Y has about the size of X.
        how: set by `at`.

    State: 2 (m^2 + n^2) floats for an m x n matrix.

    References:
        Lin et al., KL-Shampoo, arXiv 2509.03378.
    """

    decay: Number = 0.95
    refresh: Refresh = Refresh()
    max_side: int = 10000
    eps: float = 1e-8
    even: bool = False
    how: Any = KEEP

    def at(self, count: Array) -> "KroneckerWhitening":
        """Return the operation as it is at update ``count``, from zero."""
        return dataclasses.replace(self, how=self.refresh.how(count))

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start from factors of zero and bases of I."""
        return initial_factors(shape, dtype, self.max_side)

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Any, Info]:
        """Learn from ``gradient``, then whiten ``x``; a matrix without a factor passes."""
        del key
        self.check_others(x, others)
        if not carry or 0 in x.shape:
            return x, carry, Info()
        g = summable(others["gradient"].astype(accumulator_dtype(x.dtype)))
        old, new = self._seeded(g, carry), {}
        # Both factors are renewed from the old ones, so neither sees the other's present gradient.
        roots = self._roots(old)
        for side, other in zip(SIDES, SIDES[::-1], strict=True):
            if side in old:
                # The division comes before the product, which keeps huge and tiny gradients in range.
                scaled = _scaled(to_basis(g, _only(old, other)), _only(roots, other))
                learned = gram(squarable(scaled, WHITENED), side) / x.shape[-1 if side == "left" else -2]
                new[f"{side}_factor"] = self.decay * old[f"{side}_factor"] + (1 - self.decay) * learned
                new[side] = followed(old[side], new[f"{side}_factor"], self.how)
        return self.whitened(x, new), new, Info()

    def whitened(self, x: Float[Array, "*batch m n"], carry: dict[str, Array]) -> Float[Array, "*batch m n"]:
        """Whiten by the factors that the state holds."""
        bases = {side: carry[side] for side in SIDES if side in carry}
        roots = self._roots(carry)
        if self.even:
            # Before the products, which could overflow with the factors of huge or tiny gradients.
            roots = {side: root * _mean_size(carry[f"{side}_factor"]) for side, root in roots.items()}
        y = summable(x.astype(accumulator_dtype(x.dtype)))
        return from_basis(_scaled(to_basis(y, bases), roots), bases).astype(x.dtype)

    def _seeded(self, g: Array, memory: dict[str, Array]) -> dict[str, Array]:
        """Replace factors of zero by the RMS of ``g`` times I (its square, where only one side has a factor)."""
        rms = length(g) / (g.shape[-2] * g.shape[-1]) ** 0.5
        # S_L and S_R share the gradient's variance when there are two; one alone has all of it.
        both = sum(side in memory for side in SIDES) == 2
        seeded = dict(memory)
        for side in SIDES:
            if side in memory:
                factor = memory[f"{side}_factor"]
                blank = jnp.all(factor == 0, axis=(-2, -1), keepdims=True)
                identity = jnp.broadcast_to(jnp.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
                seed = (rms if both else rms * rms) * identity
                seeded[f"{side}_factor"] = jnp.where(blank, seed, factor)
        return seeded

    def _roots(self, memory: dict[str, Array]) -> dict[str, Array]:
        """Inverse square roots of the eigenvalues, by side."""
        return {
            side: inverse_root(along(memory[side], memory[f"{side}_factor"]), self.eps)
            for side in SIDES
            if side in memory
        }


@renamed_fields(epsilon="eps")
@dataclasses.dataclass(frozen=True)
class OneSidedWhitening(GradientOp):
    r"""Divide by the square root of the smaller side's averaged Gram matrix (ASGO).

    Use it, through `asgo`, where a factor of the longer side is too large.

    .. math::
        S \leftarrow \beta S + (1 - \beta) G G^T, \qquad Y = S^{+1/2} X, \qquad S^{+1/2} = (S^{1/2})^+

    written for a matrix with at most as many rows as columns; else from the right.

    Args:
        decay: beta; at 0 with the gradient itself as input, Y is its polar factor. None: a sum, which never forgets.
        refresh: when and how the basis of S follows.
        eps: eigenvalues below this fraction of the largest count as zero, and are left out.
        how: set by `at`.
        start: S begins at this times I, in units of squared gradients.

    State: 2 min(m, n)^2 floats for an m x n matrix.

    References:
        An et al., ASGO, arXiv 2503.20762, github.com/infinity-stars/ASGO.
    """

    decay: Number | None = 0.8
    refresh: Refresh = Refresh(every=1, method="decompose")
    eps: float | None = None
    how: Any = KEEP
    start: Number = 0.0

    def at(self, count: Array) -> "OneSidedWhitening":
        """Return the operation as it is at update ``count``, from zero."""
        return dataclasses.replace(self, how=self.refresh.how(count))

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start from a factor of ``start`` times I, and a basis of I."""
        n, wide = min(shape[-2:]), accumulator_dtype(dtype)
        identity = jnp.broadcast_to(jnp.eye(n, dtype=wide), (*shape[:-2], n, n))
        return {"factor": jnp.asarray(self.start, wide) * identity, "basis": identity}

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Any, Info]:
        """Learn from ``gradient`` and whiten ``x``."""
        del key
        self.check_others(x, others)
        if 0 in x.shape:
            return x, carry, Info()
        dtype = x.dtype
        # By one factor, so that the factor's root has the units of what it divides.
        g, x = of_one_squarable_size(*(a.astype(accumulator_dtype(x.dtype)) for a in (others["gradient"], x)))
        side = "left" if x.shape[-2] <= x.shape[-1] else "right"
        kept, new = (1.0, 1.0) if self.decay is None else (self.decay, 1 - self.decay)
        factor = kept * carry["factor"] + new * gram(g, side)
        basis = followed(carry["basis"], factor, self.how)
        values = along(basis, factor)
        # As for a pseudo-inverse: what rounding leaves of zero eigenvalues must not be inverted.
        cutoff = values.shape[-1] * jnp.finfo(values.dtype).eps if self.eps is None else self.eps
        kept = ~(values <= cutoff * jnp.max(values, axis=-1, keepdims=True))  # NaN is kept: it must be seen
        root = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1)), 0)
        bases = {side: basis}
        y = from_basis(_scaled(to_basis(x, bases), {side: root}), bases)
        return y.astype(dtype), {"factor": factor, "basis": basis}, Info()


def _mean_size(factor: Float[Array, "*batch m m"]) -> Float[Array, "*batch 1"]:
    """Return the root of a factor's mean eigenvalue."""
    return square_root(jnp.mean(jnp.diagonal(factor, axis1=-2, axis2=-1), axis=-1, keepdims=True))


def along(basis: Float[Array, "*batch m m"], factor: Float[Array, "*batch m m"]) -> Float[Array, "*batch m"]:
    """Return ``diag(Q^T S Q)``, what a factor measures along the columns of a basis."""
    return jnp.sum(basis * FLOAT32.matmul(factor, basis), axis=-2)


def inverse_root(values: Float[Array, "*batch m"], eps: float) -> Float[Array, "*batch m"]:
    """Return ``1 / sqrt`` of values raised to ``eps`` times the largest; all zero gives zero."""
    largest = jnp.max(values, axis=-1, keepdims=True)
    floored = jnp.maximum(values, eps * largest)
    return jnp.where(floored == 0, 0, 1 / jnp.sqrt(jnp.where(floored == 0, 1, floored)))


def _only(memory: dict[str, Array], side: str) -> dict[str, Array]:
    """Return the basis of one side alone, if it has one."""
    return {side: memory[side]} if side in memory else {}


def _scaled(x: Array, roots: dict[str, Array]) -> Array:
    """Multiply rows by ``roots["left"]`` (m) and columns by ``roots["right"]`` (n), where they are given."""
    x = x * roots["left"][..., :, None] if "left" in roots else x
    return x * roots["right"][..., None, :] if "right" in roots else x
