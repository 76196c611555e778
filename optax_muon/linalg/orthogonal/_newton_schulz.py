"""Newton-Schulz orthogonalisation: odd polynomials of a matrix, products only."""

import dataclasses

import jax
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import Arithmetic
from optax_muon.linalg.orthogonal._iteration import Iteration


@dataclasses.dataclass(frozen=True)
class NewtonSchulz(Iteration):
    r"""Orthogonalise by a schedule of odd polynomials, the plain iteration.

    Use it where stability in every dtype matters more than speed; it approximates the polar factor ``U V^T`` as well
    as its table does and is scale invariant.

    .. math::
        X_0 = G / (\text{safety} \cdot \|G\|), \qquad
        X_{t+1} = c_{t0} X_t + (c_{t1} A_t + c_{t2} A_t^2 + \dots) X_t, \qquad A_t = X_t X_t^T

    Args:
        coefficients: a table of `optax_muon.linalg`, or any array of shape (steps, terms), lowest degree first; an
            array may be a tracer, and its signs are the caller's affair.
        normalize: brings the singular values into [0, 1]; None: the norm that the table was made for.
        arithmetic: storage dtype and precision of the products.

    Cost: ``steps (4 m^2 n + 2 m^3)`` FLOPs for quintic rows, m <= n; a cubic saves the ``2 m^3``.

    Differs from the published listings: the norm has no epsilon, so tiny gradients are orthogonalised as well.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> y = om.linalg.NewtonSchulz(om.linalg.YOU_2025).apply(jnp.diag(jnp.array([3.0, 1.0])))
        >>> [round(float(v), 1) for v in jnp.diag(y)]
        [1.0, 1.0]
    """

    def flops(self, m: int, n: int) -> int:
        """Count the products of one m x n matrix."""
        m, n = sorted((m, n))
        steps, terms = self.rows.shape
        return steps * (4 * m * m * n + (terms - 2) * 2 * m**3)

    def iterate(
        self,
        x: Float[Array, "*batch m n"],
        gram: Float[Array, "*batch m m"] | None,
        rows: Float[Array, "steps terms"],
        scale: Float[Array, "*batch 1 1"] | None = None,
    ) -> Float[Array, "*batch m n"]:
        """Run the schedule."""
        if gram is not None:
            # The first step reuses the normaliser's Gram matrix, so Schatten-4 normalisation costs no product.
            x, rows = odd_polynomial(x, rows[0], self.arithmetic, gram, scale).astype(x.dtype), rows[1:]

        def step(y, row):
            return odd_polynomial(y, row, self.arithmetic).astype(y.dtype), None

        # A scan, not a Python loop: one step's temporaries are alive at a time, and the program stays small. In narrow
        # storage, an accelerator's, a loop would copy its iterate in every step, at a tenth of a product's price.
        return jax.lax.scan(step, x, rows, unroll=x.dtype.itemsize < 4)[0]


def odd_polynomial(
    x: Array, row: Array, arithmetic: Arithmetic, gram: Array | None = None, scale: Array | None = None
) -> Array:
    """Evaluate ``c0 X + (c1 A + c2 A^2 + ...) X`` with ``A = X X^H``, m <= n; with a scale, of ``scale x``."""
    gram = arithmetic.gram(x) if gram is None else gram
    outer, inner = row[0], even_polynomial(gram, row, arithmetic, x.dtype)
    if scale is not None:
        outer, inner = outer * scale, inner * scale
    # Summed in the accumulator's dtype; the caller rounds to storage, once a step.
    return outer * x.astype(gram.dtype) + arithmetic.matmul(inner.astype(x.dtype), x)


def even_polynomial(gram: Array, row: Array, arithmetic: Arithmetic, storage: jax.typing.DTypeLike) -> Array:
    """Evaluate ``c1 A + c2 A^2 + ...`` by Horner's rule, every operand in its storage dtype."""
    # Products see stored operands, and the sums between them stay wide.
    inner, stored = row[-1] * gram, gram.astype(storage)
    for c in row[-2:0:-1]:
        inner = c * gram + arithmetic.commuting(stored, inner.astype(storage))
    return inner
