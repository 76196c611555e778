"""COSMOS: Adam in the leading subspace of the gradients, an orthogonaliser on the rest."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._renamed import renamed_fields
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, squarable, summable
from optax_muon.linalg._decompositions import eigenvectors, orthonormal
from optax_muon.linalg._map import Info, SpectralMap
from optax_muon.linalg._scale import largest_entry, square_root, unit_length
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz
from optax_muon.linalg.subspace._eigenbasis import gram
from optax_muon.linalg.subspace._whitening import GradientOp


@renamed_fields(second_moment="second_moment_decay", epsilon="eps")
@dataclasses.dataclass(frozen=True)
class LeadingSubspace(GradientOp):
    r"""Treat the leading input subspace by Adam, its complement by an orthogonaliser, and join both at fixed size.

    Use it, through `cosmos`, where SOAP's full factors are too large.

    With P the leading eigenvectors of the averaged Gram matrix on the reduction side (written for matrices (out, in)):

    .. math::
        A = \frac{N P}{\sqrt{V / (1 - \beta_2^t)} + \varepsilon} P^T, \qquad
        B = \sqrt{m n} \frac{\operatorname{orth}(N - N P P^T)}{\|\operatorname{orth}(N - N P P^T)\|_F}, \qquad
        Y = \sqrt{m n} \frac{A + \gamma B}{\|A + \gamma B\|_F}

    P follows by one QR step each update, and is decomposed from the first gradient.

    References:
        Liu et al., COSMOS, arXiv 2502.17410, github.com/lliu606/COSMOS.

    Args:
        rank: columns of P, at most the smaller side, beyond which a gradient shows nothing but rounding.
        momentum: beta_1 of the heavy ball that makes N, whose normalisation is done here.
        second_moment_decay: beta_2.
        gamma: weight of the orthogonalised rest.
        orthogonalizer: a map of `optax_muon.linalg`.
        eps: Adam's.
        count: set by `at`.

    State: (m + n) k + k^2 floats for an m x n matrix, k the rank.
    """

    rank: int = 64
    momentum: Number = 0.95
    second_moment_decay: Number = 0.95
    gamma: Number = 0.2
    orthogonalizer: SpectralMap = NewtonSchulz()
    eps: float = 1e-8
    count: Any = 0

    def at(self, count: Array) -> "LeadingSubspace":
        """Return the operation as it is at update ``count``, from zero."""
        return dataclasses.replace(self, count=count)

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start from zeros: the basis (n, k), its projected factor (k, k) and Adam's second moment (k, m)."""
        # Stacks are (reduction, output) and the paper's matrices (out, in): its G is our transpose, P acts from the
        # left.
        (*batch, n, m), wide = shape, accumulator_dtype(dtype)
        k = min(self.rank, n, m)
        shapes = {"basis": (n, k), "gram": (k, k), "second": (k, m)}
        return {name: jnp.zeros((*batch, *tail), wide) for name, tail in shapes.items()}

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Any, Info]:
        """Learn from ``gradient`` and treat ``x``, a Nesterov heavy ball; stacks are (reduction, output)."""
        del key
        self.check_others(x, others)
        if 0 in x.shape:
            return x, carry, Info()
        wide = accumulator_dtype(x.dtype)
        g = squarable(others["gradient"].astype(wide))
        # One scalar for all matrices, so that the decomposition is skipped and not merely masked after the first
        # update.
        basis, small = jax.lax.cond(jnp.asarray(self.count) == 0, self._first, self._next, carry, g)
        beta, t = self.second_moment_decay, jnp.asarray(self.count, wide) + 1
        second = beta * carry["second"] + (1 - beta) * jnp.square(FLOAT32.matmul(basis.mT, g))
        # The sum of the heavy ball's weights, so that N is an average.
        weights = (1 - self.momentum**t) / (1 - self.momentum)
        ahead = (summable(x.astype(wide)) / (1 + self.momentum * weights)).astype(wide)
        inside = FLOAT32.matmul(basis.mT, ahead)
        size = square_root(second / (1 - beta**t))
        # Columns that a gradient of lower rank leaves empty hold rounding, which Adam would bring to full size.
        floor = 100 * jnp.finfo(wide).eps * jnp.max(size, axis=(-2, -1), keepdims=True)
        size = (size + floor + self.eps).astype(wide)
        adam = FLOAT32.matmul(basis, inside / jnp.where(size == 0, 1, size))
        joined = adam + self.gamma * self._rest(ahead, ahead - FLOAT32.matmul(basis, inside))
        # RMS 1 whatever the mixture, so that one learning rate serves every rank and gamma.
        y = _of_norm(joined, (x.shape[-1] * x.shape[-2]) ** 0.5)
        return y.astype(x.dtype), {"basis": basis, "gram": small, "second": second}, Info()

    def _first(self, carry: dict[str, Array], g: Array) -> tuple[Array, Array]:
        """Return the leading eigenvectors of the first gradient's Gram matrix, (n, k), and its factor there, (k, k)."""
        basis = eigenvectors(gram(g, "left"))[..., ::-1][..., : carry["basis"].shape[-1]]
        return basis, (1 - self.second_moment_decay) * gram(FLOAT32.matmul(basis.mT, g), "left")

    def _next(self, carry: dict[str, Array], g: Array) -> tuple[Array, Array]:
        """Return the basis one QR step on, (n, k), and the averaged factor in it, (k, k)."""
        old, small, beta = carry["basis"], carry["gram"], self.second_moment_decay
        # In this order no n x n matrix is formed.
        seen = FLOAT32.matmul(g, FLOAT32.matmul(g.mT, old))
        basis = orthonormal(beta * FLOAT32.matmul(old, small) + (1 - beta) * seen)
        # The factor is known within the old basis alone; T^T S T expresses it in the new one.
        change = FLOAT32.matmul(old.mT, basis)
        kept = FLOAT32.matmul(change.mT, FLOAT32.matmul(small, change))
        return basis, beta * kept + (1 - beta) * gram(FLOAT32.matmul(basis.mT, g), "left")

    def _rest(self, whole: Array, rest: Array) -> Array:
        """Orthogonalise what the subspace left, unless that is rounding, which would be blown up to full size."""
        # The subspace is everything: the difference would be rounding alone.
        if rest.shape[-2] <= min(self.rank, rest.shape[-1]):
            return jnp.zeros_like(rest)
        size = (rest.shape[-1] * rest.shape[-2]) ** 0.5
        norms = [largest_entry(a) for a in (rest, whole)]
        # 10 sqrt(m n) eps: rounding of the projection's products, entry by entry.
        noise = norms[0] <= 10 * size * jnp.finfo(rest.dtype).eps * norms[1]
        return jnp.where(noise, 0, _of_norm(self.orthogonalizer.apply(rest), size))


def _of_norm(x: Array, norm: float) -> Array:
    """Scale every matrix to Frobenius norm ``norm``; zero stays zero."""
    return unit_length(x) * norm
