"""Newton-Schulz orthogonalisation: odd polynomials of a matrix, products only."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, Arithmetic, require_inexact
from optax_muon.linalg._coefficients import POLAR_EXPRESS_NANOGPT_2025, Coefficients
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._normalize import Frobenius, Normalizer


@dataclasses.dataclass(frozen=True)
class NewtonSchulz(SpectralMap):
    r"""Orthogonalise by a schedule of odd polynomials, the plain iteration.

    Use it where stability in every dtype matters more than speed; it approximates the polar factor ``U V^T`` as well
    as its table does and is scale invariant.

    .. math::
        X_0 = G / (\text{safety} \cdot \|G\|), \qquad
        X_{t+1} = c_{t0} X_t + (c_{t1} A_t + c_{t2} A_t^2 + \dots) X_t, \qquad A_t = X_t X_t^T

    Args:
        coefficients: a table of `optax_muon.linalg`, or any array of shape (steps, terms), lowest degree first; an
            array may be a tracer.
        normalize: brings the singular values into [0, 1].
        arithmetic: storage dtype and precision of the products.

    Cost: ``steps (4 m^2 n + 2 m^3)`` FLOPs for quintic rows, m <= n.

    Differs from the published listings: the norm has no epsilon, so tiny gradients are orthogonalised as well.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> y = om.linalg.NewtonSchulz(om.linalg.YOU_2025).apply(jnp.diag(jnp.array([3.0, 1.0])))
        >>> [round(float(v), 1) for v in jnp.diag(y)]
        [1.0, 1.0]
    """

    coefficients: Coefficients | Array | np.ndarray = POLAR_EXPRESS_NANOGPT_2025
    normalize: Normalizer = Frobenius()
    arithmetic: Arithmetic = FLOAT32

    def __post_init__(self):
        """Refuse a table that is not (steps, terms)."""
        rows = self.rows
        if rows.ndim != 2 or rows.shape[0] < 1 or rows.shape[1] < 2:
            raise ValueError(f"NewtonSchulz: coefficients must have shape (steps >= 1, terms >= 2), not {rows.shape}")

    @property
    def rows(self) -> Array | np.ndarray:
        """The schedule as an array, shape (steps, terms)."""
        if isinstance(self.coefficients, Coefficients):
            return np.asarray(self.coefficients.rows)
        return self.coefficients if isinstance(self.coefficients, jax.Array) else np.asarray(self.coefficients)

    @property
    def safety(self) -> float:
        """The factor that the norm is multiplied by."""
        return self.coefficients.safety if isinstance(self.coefficients, Coefficients) else 1.0

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Orthogonalise every matrix; the result has the dtype of ``x``."""
        require_inexact(x, "NewtonSchulz")
        if 0 in x.shape:
            return x
        tall = x.shape[-2] > x.shape[-1]
        y = x.mT if tall else x
        y = self.normalize.apply(y) / self.safety
        storage = self.arithmetic.working_dtype(x.dtype)

        def step(y, row):
            return odd_polynomial(y, row, self.arithmetic).astype(storage), None

        # A scan, not a Python loop: one step's temporaries are alive at a time, and the program stays small.
        y, _ = jax.lax.scan(step, y.astype(storage), jnp.asarray(self.rows, jnp.real(y).dtype))
        y = y.astype(x.dtype)
        return y.mT if tall else y

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Compose the polynomials on the normalised spectrum."""
        s = self.normalize.scalar(s) / self.safety
        for row in self.rows:
            s = s * jnp.polyval(jnp.asarray(row[::-1], s.dtype), s * s)
        return s


def odd_polynomial(x: Array, row: Array, arithmetic: Arithmetic) -> Array:
    """Evaluate ``c0 X + (c1 A + c2 A^2 + ...) X`` with ``A = X X^H`` by Horner's rule, m <= n."""
    gram = arithmetic.matmul(x, jnp.conj(x.mT))
    inner, gram_stored = row[-1] * gram, gram.astype(x.dtype)
    for c in row[-2:0:-1]:
        inner = c * gram + arithmetic.matmul(gram_stored, inner.astype(x.dtype))
    return row[0] * x + arithmetic.matmul(inner.astype(x.dtype), x)
