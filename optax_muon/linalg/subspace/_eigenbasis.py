"""Orthogonal bases for the two sides of a matrix, and averages of Gram matrices that they follow."""

import abc
import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_fraction
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, of_squarable_size
from optax_muon.linalg._decompositions import eigenvectors, orthonormal

SIDES = ("left", "right")
KEEP, DECOMPOSE, ITERATE = 0, 1, 2
WHITENED = 7 / 16  # of `squarable`: a gradient of 1e30 over the root of its own size is 1e15, and stays as it is


def initial_factors(shape: tuple[int, ...], dtype: Any, max_side: int) -> dict[str, Array]:
    """Make factors of zero and bases of I for the sides up to ``max_side``, by ``<side>_factor`` and ``<side>``."""
    carry, wide = {}, accumulator_dtype(dtype)
    for side, n in zip(SIDES, shape[-2:], strict=True):
        # A vocabulary's side would need n^2 floats: no factor, no basis, and the other side turns alone.
        if 0 < n <= max_side:
            full = (*shape[:-2], n, n)
            carry[f"{side}_factor"] = jnp.zeros(full, wide)
            carry[side] = jnp.broadcast_to(jnp.eye(n, dtype=wide), full)
    return carry


def gram(x: Float[Array, "*batch m n"], side: str) -> Array:
    """Return ``X X^T`` for the left side, ``(*batch, m, m)``, and ``X^T X`` for the right, ``(*batch, n, n)``."""
    return FLOAT32.matmul(x, x.mT) if side == "left" else FLOAT32.matmul(x.mT, x)


def to_basis(x: Float[Array, "*batch m n"], bases: dict[str, Array]) -> Array:
    """Return ``Q_L^T X Q_R``, ``(*batch, m, n)``; a side without a basis stays as it is."""
    x = FLOAT32.matmul(bases["left"].mT, x) if "left" in bases else x
    return FLOAT32.matmul(x, bases["right"]) if "right" in bases else x


def from_basis(x: Float[Array, "*batch m n"], bases: dict[str, Array]) -> Array:
    """Return ``Q_L X Q_R^T``, the inverse of `to_basis`."""
    x = FLOAT32.matmul(bases["left"], x) if "left" in bases else x
    return FLOAT32.matmul(x, bases["right"].mT) if "right" in bases else x


def followed(
    basis: Float[Array, "*batch m m"], factor: Float[Array, "*batch m m"], how: Array | int, *, sort: bool = True
) -> Array:
    """Bring a basis nearer to the eigenvectors of a positive semi-definite factor.

    Args:
        basis: orthogonal, eigenvectors in columns.
        factor: positive semi-definite.
        how: `KEEP` the basis, `DECOMPOSE` the factor, or `ITERATE`: one step of orthogonal iteration, largest
            eigenvalues first. The order of the columns is kept, so what was measured along them stays valid. A scalar,
            shared by the stack, so that a branch not taken costs nothing.
        sort: whether an iteration takes the columns in the order of their eigenvalues, as QR wants it, or as they are.

    Returns:
        The basis that follows, ``(*batch, m, m)``.
    """

    def decompose(basis, factor):
        """Return the eigenvectors, largest eigenvalue first."""
        del basis
        # eigh ascends; largest first is the order that `ITERATE` keeps.
        return eigenvectors(factor)[..., ::-1]

    def iterate(basis, factor):
        """Take one step of orthogonal iteration."""
        product = FLOAT32.matmul(factor, basis)
        if not sort:
            return orthonormal(product)
        # QR favours its first columns, so they are sorted by diag(Q^T S Q) for it, as SOAP's authors do, and put back:
        # they permute the second moment instead, which a map cannot reach.
        order = jnp.argsort(-jnp.sum(basis * product, axis=-2), axis=-1)
        q = orthonormal(jnp.take_along_axis(product, order[..., None, :], axis=-1))
        return jnp.take_along_axis(q, jnp.argsort(order, axis=-1)[..., None, :], axis=-1)

    def like(turn):
        """Give what ``turn`` returns in the basis's dtype: gradients may be wider than the parameters were."""
        return lambda basis, factor: turn(basis, factor).astype(basis.dtype)

    return jax.lax.switch(how, [lambda basis, factor: basis, like(decompose), like(iterate)], basis, factor)


@dataclasses.dataclass(frozen=True)
class Refresh:
    """When and how bases follow their factors: decomposed at the first update, then as said here.

    Use it to trade decompositions against how closely bases follow.

    Args:
        every: updates between refreshes.
        method: ``iterate`` is one step of orthogonal iteration by QR, ``decompose`` a full eigendecomposition.
        count_from: number of the first update; refreshes come at multiples of ``every``. Papers count from 0 or 1.

    Raises:
        ValueError: for ``every`` below 1, or an unknown method.
    """

    every: int = 10
    method: Literal["iterate", "decompose"] = "iterate"
    count_from: int = 0

    def __post_init__(self):
        """Raise on what cannot be."""
        if self.every < 1:
            raise ValueError(f"refresh_every must be at least 1, not {self.every}")
        if self.method not in ("iterate", "decompose"):
            raise ValueError(f"method must be 'iterate' or 'decompose', not {self.method!r}")

    def how(self, count: Array) -> Array:
        """Say what `followed` is to do at update ``count``, from zero."""
        refresh = DECOMPOSE if self.method == "decompose" else ITERATE
        due = (count + self.count_from) % self.every == 0
        # One step of iteration from the identity is far from the eigenvectors; a decomposition is there at once.
        return jnp.where(count == 0, DECOMPOSE, jnp.where(due, refresh, KEEP))


class Basis(abc.ABC):
    """A pair of orthogonal bases for every matrix of a stack.

    Attributes:
        turns: whether `update` ever changes the bases.
    """

    turns: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Make the state for a stack ``(*batch, m, n)``: bases ``left`` (m, m) and ``right`` (n, n), absent where I."""

    def how(self, count: Array) -> Array | int:
        """Say what `followed` is to do after update ``count``, from zero."""
        del count
        return KEEP

    def update(self, x: Float[Array, "*batch m n"], memory: dict[str, Array], how: Array | int) -> dict[str, Array]:
        """Return the state after a gradient ``x``; ``how`` says whether the bases turn."""
        del x, how
        return memory


@dataclasses.dataclass(frozen=True)
class IdentityBasis(Basis):
    """No rotation; with it a rotated Adam is Adam.

    Use it as the control of a rotation.
    """

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Keep nothing."""
        del shape, dtype
        return {}


@dataclasses.dataclass(frozen=True)
class RandomBasis(Basis):
    """Fixed random orthogonal bases, the same for matrices of one shape.

    Use it as the control of SOAP, without factors or decompositions. The convergence theory of SOAP holds for any bases
    that do not depend on the present gradient (arXiv 2604.21616).

    Args:
        seed: of the bases.
    """

    seed: int = 0

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Draw the bases."""
        memory = {}
        for i, side in enumerate(SIDES):
            n = shape[-2 + i]
            # Two keys per seed, so that a square matrix's sides differ.
            normal = jax.random.normal(jax.random.key(2 * self.seed + i), (n, n), accumulator_dtype(dtype))
            memory[side] = jnp.broadcast_to(jnp.linalg.qr(normal)[0], (*shape[:-2], n, n))
        return memory


@dataclasses.dataclass(frozen=True)
class EigenBasis(Basis):
    r"""Eigenvectors of averaged Gram matrices, Shampoo's: those of SOAP and SPlus.

    Use it with `transforms.rotated` for SOAP and SPlus.

    .. math::
        L_t = \beta L_{t-1} + (1 - \beta) G_t G_t^T, \qquad R_t = \beta R_{t-1} + (1 - \beta) G_t^T G_t

    The bases used at a step never depend on that step's gradient. They are decomposed after the first gradient, then
    refreshed; all in float32 or wider.

    Args:
        decay: beta.
        refresh_every: updates between refreshes.
        max_side: a longer side is left unrotated, and keeps no factor.
        method: of a refresh; ``iterate`` is one step of orthogonal iteration by QR (SOAP), ``decompose`` a full
            eigendecomposition (SPlus).
        count_from: number of the first update; refreshes come at multiples of ``refresh_every``.

    Raises:
        ValueError: for a decay outside [0, 1), refresh_every below 1, a negative max_side or an unknown method.

    State: m^2 + n^2 floats for the factors and as many for the bases, of an m x n matrix.

    References:
        Vyas et al., SOAP, arXiv 2409.11321, github.com/nikhilvyas/SOAP; Frans et al., SPlus, arXiv 2506.07254.
    """

    decay: Number = 0.95
    refresh_every: int = 10
    max_side: int = 10000
    method: Literal["iterate", "decompose"] = "iterate"
    count_from: int = 0
    turns: ClassVar[bool] = True

    def __post_init__(self):
        """Raise on what cannot be."""
        # For its checks.
        Refresh(self.refresh_every, self.method, self.count_from)
        if self.max_side < 0:
            raise ValueError(f"EigenBasis: max_side must not be negative, not {self.max_side}")
        require_fraction("EigenBasis: decay", self.decay)

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start from factors of zero and bases of I."""
        return initial_factors(shape, dtype, self.max_side)

    def how(self, count: Array) -> Array:
        """Decompose at the first update, then refresh on schedule."""
        return Refresh(self.refresh_every, self.method, self.count_from).how(count)

    def update(self, x: Float[Array, "*batch m n"], memory: dict[str, Array], how: Array | int) -> dict[str, Array]:
        """Average the Gram matrices, and turn the bases where ``how`` says so."""
        # Gradients of 1e30 and 1e-30 are scaled for their squares; the eigenvectors, all that is used, do not see it.
        new, wide = {}, of_squarable_size(x.astype(accumulator_dtype(x.dtype)))
        for side in SIDES:
            if side in memory:
                factor = self.decay * memory[f"{side}_factor"] + (1 - self.decay) * gram(wide, side)
                new[f"{side}_factor"] = factor.astype(memory[side].dtype)
                new[side] = followed(memory[side], new[f"{side}_factor"], how)
        return new
