"""Smooth relatives of the polar factor and of the hard cap."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import is_known, require_positive
from optax_muon._renamed import renamed_fields
from optax_muon._types import Number
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg.spectral._by_svd import TwoWayMap, numerical_rank


@renamed_fields(epsilon="eps")
@dataclasses.dataclass(frozen=True)
class SoftSign(TwoWayMap):
    r"""Bend singular values smoothly to 1: linear below ``eps``, orthogonal far above it.

    Use it in place of an orthogonaliser where directions of pure noise should not be blown up to full size. It is not
    scale invariant: ``eps`` is in the units of the matrix.

    .. math::
        h_\kappa(s) = \frac{s}{(\varepsilon^\kappa + s^\kappa)^{1/\kappa}}

    Args:
        eps: the bend, >= 0; at 0 every singular value over the numerical rank becomes 1. A number or a traced scalar.
        kappa: sharpness > 0; 2 is `Ridge`, 4 models Polar Express, large values approach ``min(s / eps, 1)``.
        orthogonalizer: None decomposes; for kappa = 2 alone a map takes the left block of ``orth([X, eps I])``,
            which is the same matrix, products only and never rank deficient.

    Raises:
        ValueError: for a negative or infinite eps, kappa not positive, or an orthogonaliser with kappa other than
            2.

    References:
        SoftMuon, arXiv 2605.31371; Oikonomidis et al., arXiv 2605.11850 (h_kappa).

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> y = om.linalg.SoftSign(4.0).apply(jnp.diag(jnp.array([3.0, 0.0])))
        >>> [round(float(v), 3) for v in y.diagonal()]
        [0.6, 0.0]
    """

    eps: Number
    kappa: float = 2.0
    orthogonalizer: SpectralMap | None = None

    def __post_init__(self):
        """Raise on a negative bend, and an orthogonaliser where none helps."""
        require_positive("SoftSign", kappa=self.kappa)
        if is_known(self.eps) and not 0 <= float(self.eps) < float("inf"):
            raise ValueError(f"SoftSign: eps must be finite and not negative, not {self.eps}")
        if self.orthogonalizer is not None and self.kappa != 2:
            raise ValueError(f"SoftSign: an orthogonalizer gives kappa=2 alone, not kappa={self.kappa}")

    def by_products(self, orthogonalizer: SpectralMap, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Orthogonalise the matrix with a multiple of the identity beside it."""
        # orth([X, eps I]) has singular values sqrt(s^2 + eps^2) on its way, never below eps: so no small ones to lift.
        m, n = x.shape[-2:]
        block = jnp.broadcast_to(jnp.asarray(self.eps, x.dtype) * jnp.eye(m, dtype=x.dtype), (*x.shape[:-2], m, m))
        return orthogonalizer.apply(jnp.concatenate([x, block], axis=-1))[..., :n]

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Bend the spectrum."""
        eps = jnp.asarray(self.eps, s.dtype)
        if self.orthogonalizer is not None:
            norm = jnp.hypot(s, eps)
            return self.orthogonalizer.scalar(norm) * s / jnp.where(norm == 0, 1, norm)
        # Two divisions: their product could overflow.
        larger, bend = _bend(s, eps, self.kappa)
        # What is rounding of a decomposition would be noise of full size at eps = 0.
        return jnp.where(numerical_rank(s), s / larger / bend, 0)


@dataclasses.dataclass(frozen=True)
class Ridge(TwoWayMap):
    r"""Orthogonalise with a ridge, SoftMuon's map.

    Use it where a temperature sets how far directions of noise are lifted, as in `soft_muon`.

    .. math::
        M (M^T M + \tau^{-2} I)^{-1/2} = U \operatorname{diag} \frac{\tau s}{\sqrt{1 + (\tau s)^2}} V^T

    It is `SoftSign` at ``eps = 1 / tau`` and kappa 2.

    Args:
        tau: temperature > 0 in reciprocal units of the matrix; infinity orthogonalises, and small values give
            ``tau M``. A number or a traced scalar, so that a schedule may set it.
        orthogonalizer: as for `SoftSign`.

    Raises:
        ValueError: for tau that is not positive.

    Differs from the authors' code: their coupled iteration of five steps errs by up to 9 % at tau = 1; here the
    orthogonaliser's own accuracy is all there is.

    References:
        Feoktistov et al., Softsign, arXiv 2605.31371.
    """

    tau: Number
    orthogonalizer: SpectralMap | None = None

    def __post_init__(self):
        """Raise on a temperature that is not positive."""
        require_positive("Ridge", tau=self.tau)

    def by_products(self, orthogonalizer: SpectralMap, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """As `SoftSign`."""
        return self._soft.by_products(orthogonalizer, x)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Bend the spectrum."""
        return self._soft.scalar(s)

    @property
    def _soft(self) -> SoftSign:
        """The same map as a `SoftSign`."""
        # 1 / inf is 0, which orthogonalises.
        return SoftSign(1 / self.tau, orthogonalizer=self.orthogonalizer)


@dataclasses.dataclass(frozen=True)
class SoftClip(TwoWayMap):
    r"""Bend singular values smoothly under a cap: small ones pass, large ones approach ``maximum``.

    Use it on updates, as SPECTRA does (kappa = 2), where the hard cap's kink is not wanted.

    .. math::
        H_c(X) = (I + X X^T / c^2)^{-1/2} X, \qquad s \mapsto \frac{s}{(1 + (s / c)^\kappa)^{1/\kappa}}

    It is ``maximum`` times `SoftSign` at ``eps = maximum``.

    Args:
        maximum: c > 0; a number or a traced scalar.
        kappa: sharpness; infinity would be `SpectralClip`.
        orthogonalizer: as for `SoftSign`.

    Raises:
        ValueError: for maximum or kappa that is not positive, or an orthogonaliser with kappa other than 2.

    References:
        Jiang, Semenov, Stich, SPECTRA, arXiv 2603.14315.
    """

    maximum: Number
    kappa: float = 2.0
    orthogonalizer: SpectralMap | None = None

    def __post_init__(self):
        """Raise on a cap that is not positive, and an orthogonaliser where none helps."""
        require_positive("SoftClip", maximum=self.maximum, kappa=self.kappa)
        if self.orthogonalizer is not None and self.kappa != 2:
            raise ValueError(f"SoftClip: an orthogonalizer gives kappa=2 alone, not kappa={self.kappa}")

    def by_products(self, orthogonalizer: SpectralMap, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """As `SoftSign`, scaled back."""
        return self._soft.by_products(orthogonalizer, x) * jnp.asarray(self.maximum, x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Bend the spectrum."""
        maximum = jnp.asarray(self.maximum, s.dtype)
        if self.orthogonalizer is not None:
            return self._soft.scalar(s) * maximum
        _, bend = _bend(s, maximum, self.kappa)
        return jnp.minimum(s, maximum) / bend

    @property
    def _soft(self) -> SoftSign:
        """The `SoftSign` that ``maximum`` is multiplied to, for its products; ``kappa`` is 2 there."""
        return SoftSign(self.maximum, orthogonalizer=self.orthogonalizer)


def _bend(s: Array, eps: Array, kappa: float) -> tuple[Array, Array]:
    """Return l, the larger of both, and ``(1 + (smaller / l)^kappa)^(1 / kappa)``: no power can overflow."""
    larger = jnp.maximum(s, eps)
    larger = jnp.where(larger == 0, 1, larger)
    return larger, (1 + (jnp.minimum(s, eps) / larger) ** kappa) ** (1 / kappa)
