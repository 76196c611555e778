"""Newton-Schulz on the Gram matrix: for wide matrices most of the work moves to the shorter side."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon.linalg.orthogonal._iteration import Iteration
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz, even_polynomial
from optax_muon.linalg.orthogonal._restarts import Rows, choose_restarts, is_safe


@dataclasses.dataclass(frozen=True)
class GramNewtonSchulz(Iteration):
    r"""Orthogonalise by the same polynomials as `NewtonSchulz`, iterated on the Gram matrix.

    Use it for matrices at least 1.5 times as long as wide, or let `best` decide; square matrices take the plain
    iteration. Within a segment only m x m products are formed, for a matrix Q that stands for the polynomials so far:

    .. math::
        R = X X^T, \quad Q = I; \qquad
        Z = c_1 R + c_2 R^2 + \dots, \quad Q \leftarrow c_0 Q + Z Q, \quad R \leftarrow (c_0 + Z) R (c_0 + Z);
        \qquad X \leftarrow Q X

    Rounding makes small eigenvalues of R wrong, even negative, and every step lifts them by the square of its slope.
    A restart ends the segment: it forms R from X again. Restarts follow from the schedule and the rounding, so that
    the largest singular value stays within a few percent of the exact one. Only operands of products are rounded to a
    narrow storage; sums stay wide.

    Args:
        coefficients: a table of `optax_muon.linalg`, or a NumPy array of shape (steps, terms), lowest degree first.
        normalize: brings the singular values into [0, 1]; None: the norm that the table was made for.
        arithmetic: storage dtype and precision of the products. Float32 storage at DEFAULT precision raises, for
            a TPU rounds every operand of it to bfloat16: no restarts save that.
        restarts: steps after which R is formed anew, ascending; None: chosen. Unsafe ones raise.

    Raises:
        ValueError: for coefficients in a `jax.Array`, an arithmetic that no restart makes safe, restarts that do not
            ascend or are unsafe, or a table that rounding would drive out of its bounds.

    Cost: ``S 4 m^2 n + (4 T - 3 S) 2 m^3`` FLOPs for T quintic steps in S segments, m <= n.

    Differs from Dao-AILab's code: Q is multiplied from the left, which is up to fifteen times as accurate at no cost;
    restarts depend on the arithmetic; the norm has no epsilon.

    References:
        Zhang, Amsel, Chen, Dao (2026), github.com/Dao-AILab/gram-newton-schulz.

    Example:
        >>> import optax_muon as om
        >>> om.linalg.GramNewtonSchulz().restarts_used
        (2,)
        >>> om.linalg.GramNewtonSchulz(arithmetic=om.linalg.BFLOAT16).restarts_used
        (1, 3)
    """

    restarts: tuple[int, ...] | None = None

    def __post_init__(self):
        """Raise on traced coefficients, an arithmetic that no restart makes safe, and unsafe restarts."""
        super().__post_init__()
        if isinstance(self.coefficients, jax.Array):
            raise ValueError("GramNewtonSchulz: coefficients decide the restarts; give a table or a NumPy array")
        if self.arithmetic.significand_bits is None:
            raise ValueError(f"GramNewtonSchulz: no restarts make arithmetic {self.arithmetic} safe; use NewtonSchulz")
        if self.restarts is None:
            return
        steps, edges = len(self.rows), (0, *self.restarts, len(self.rows))
        if not all(low < high for low, high in itertools.pairwise(edges)):
            raise ValueError(f"GramNewtonSchulz: restarts must ascend within 1 .. {steps - 1}, not {self.restarts}")
        if not is_safe(self._rows, self.safety, self.restarts, *self._rounding):
            raise ValueError(
                f"GramNewtonSchulz: restarts {self.restarts} are unsafe in this arithmetic; {self._chosen()} are not"
            )

    @property
    def restarts_used(self) -> tuple[int, ...]:
        """The restarts in force."""
        return self._chosen() if self.restarts is None else tuple(self.restarts)

    @property
    def plain(self) -> NewtonSchulz:
        """The plain iteration of the same schedule."""
        return NewtonSchulz(self.coefficients, self.normalize, self.arithmetic)

    def flops(self, m: int, n: int) -> int:
        """Count the products of one m x n matrix."""
        m, n = sorted((m, n))
        if m == n:
            return self.plain.flops(m, n)
        (steps, terms), segments = self.rows.shape, len(self.restarts_used) + 1
        # Per segment R = X X^T and X <- Q X. Per step the even polynomial, (terms - 2) products; per step but the first
        # of a segment three more: two renew R, one renews Q.
        return segments * 4 * m * m * n + ((terms - 2) * steps + 3 * (steps - segments)) * 2 * m**3

    def iterate(
        self,
        x: Float[Array, "*batch m n"],
        gram: Float[Array, "*batch m m"] | None,
        rows: Float[Array, "steps terms"],
        scale: Float[Array, "*batch 1 1"] | None = None,
    ) -> Float[Array, "*batch m n"]:
        """Run the schedule, segment by segment."""
        if x.shape[-2] == x.shape[-1]:
            return self.plain.iterate(x, gram, rows, scale)
        for low, high in itertools.pairwise((0, *self.restarts_used, len(rows))):
            # Later segments form R from X anew, which makes it positive semi-definite again up to one rounding.
            gram = self.arithmetic.gram(x) if gram is None else gram
            q = self._segment(gram, rows[low:high], x.dtype)
            q = q if scale is None else scale * q
            x = self.arithmetic.matmul(q.astype(x.dtype), x).astype(x.dtype)
            gram = scale = None
        return x

    def _segment(self, gram: Array, rows: Array, storage: jax.typing.DTypeLike) -> Array:
        """Return Q, the product of the segment's polynomials, from R; both ``(*batch, m, m)``, wide.

        Products see operands rounded to ``storage``, and the sums between them stay wide: in a direction of a tiny
        singular value Z vanishes, so that the rounding of an operand hurts R by its square alone.
        """

        def matmul(a, b):
            return self.arithmetic.matmul(a.astype(storage), b.astype(storage))

        def step(carry, row):
            """Renew R by the row before, then Q by this one; the carry is (Q, R, Z, c0)."""
            q, gram, z, c = carry
            # Z and c are those of the row before: so nothing is spent on an R that nobody reads after the last row.
            half = c * gram + matmul(gram, z)
            gram = c * half + matmul(z, half)
            z = even_polynomial(gram, row, self.arithmetic, storage)
            # From the left: up to 38 times as accurate as the published order, measured without restarts.
            return (row[0] * q + matmul(z, q), gram, z, row[0]), None

        z = even_polynomial(gram, rows[0], self.arithmetic, storage)
        identity = jnp.broadcast_to(jnp.eye(gram.shape[-1], dtype=rows.dtype), gram.shape)
        return jax.lax.scan(step, (z + rows[0][0] * identity, gram, z, rows[0][0]), rows[1:])[0][0]

    @property
    def _rows(self) -> Rows:
        """The schedule as tuples of Python floats, hashable for the cache of `choose_restarts`."""
        return tuple(tuple(float(c) for c in row) for row in np.asarray(self.rows))

    @property
    def _rounding(self) -> tuple[int, float]:
        """Bits that a product keeps, and the relative rounding of a stored Gram matrix."""
        # None was turned away in __post_init__.
        bits = self.arithmetic.significand_bits
        assert bits is not None
        return bits, self.arithmetic.gram_rounding

    def _chosen(self) -> tuple[int, ...]:
        """Return the restarts that the schedule and the arithmetic ask for."""
        return choose_restarts(self._rows, self.safety, *self._rounding)
