"""Whitening by what was known before the present gradient, with eigenvalues averaged on their own."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype, bounded_entries, squarable, summable
from optax_muon.linalg._map import Info
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
from optax_muon.linalg.subspace._whitening import GradientOp


@dataclasses.dataclass(frozen=True)
class LaggedWhitening(GradientOp):
    r"""Divide by the square root of a Kronecker covariance of earlier gradients, as the authors of KL-Shampoo do.

    .. math::
        Y &= Q_L \left( \frac{Q_L^T X Q_R}{\sqrt{d_L d_R^T} + \epsilon} \right) Q_R^T
        \qquad \text{with the old } Q, d; \text{ then} \\
        S_L &\leftarrow \beta S_L + \tfrac{1 - \beta}{n} G Q_R \operatorname{diag}(d_R)^{-1} Q_R^T G^T, \qquad
        d_L \leftarrow \beta d_L + \tfrac{1 - \beta}{n} \operatorname{diag}\left( P \operatorname{diag}(d_R)^{-1} P^T
        \right), \qquad P = Q_L^T G Q_R

    and the right side likewise. At update 0 both d are ``initial``, S_L is :math:`(1 - \beta) G G^T / n`, and the bases
    are its eigenvectors; what is emitted there means nothing. `KroneckerWhitening` whitens by factors that have seen
    the present gradient, takes d from S, and does not depend on the gradients' scale. Use this one, through
    ``kl_shampoo(form="lagged")``, to compare with the authors' results.

    Args:
        decay: beta.
        refresh: when the bases follow S, by one product and QR.
        max_side: a longer side is left as it is, and keeps no factor.
        eps: added to the roots, in units of gradients.
        initial: every eigenvalue at first.
        largest: no inverse root exceeds ``max(10, min(side, largest))``.
        how: set by `at`, as is ``first``.
        first: whether this is update 0.

    State: 2 (m^2 + n^2) + m + n floats for an m x n matrix.

    References:
        Lin et al., KL-Shampoo, arXiv 2509.03378; github.com/yorkerlin/KL-Methods.
    """

    decay: Number = 0.95
    refresh: Refresh = Refresh()
    max_side: int = 10000
    eps: float = 1e-8
    initial: float = 0.1
    largest: float = 4000.0
    how: Any = KEEP
    first: Any = False

    def at(self, count: Array) -> "LaggedWhitening":
        """Return the operation as it is at update ``count``, from zero."""
        return dataclasses.replace(self, how=self.refresh.how(count), first=count == 0)

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start from factors of zero, bases of I and eigenvalues ``initial``."""
        factors = initial_factors(shape, dtype, self.max_side)
        bases = {side: factors[side] for side in SIDES if side in factors}
        return factors | {f"{side}_values": jnp.full(q.shape[:-1], self.initial, q.dtype) for side, q in bases.items()}

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Any, Info]:
        """Whiten ``x``, then learn from ``gradient``."""
        del key
        self.check_others(x, others)
        if not carry or 0 in x.shape:
            return x, carry, Info()
        g = summable(others["gradient"].astype(accumulator_dtype(x.dtype)))
        bases = {side: carry[side] for side in SIDES if side in carry}
        roots = {side: self._spread(jnp.sqrt(carry[f"{side}_values"]), side) for side in bases}
        size = roots.get("left", 1) * roots.get("right", 1) + self.eps
        y = from_basis(to_basis(x.astype(g.dtype), bases) / size, bases)
        # The first gradient is measured as it is: nothing is known of the other side yet.
        scales = {side: jnp.where(self.first, 1, root) for side, root in roots.items()}
        return y.astype(x.dtype), self._learned(g, carry, bases, scales), Info()

    def _learned(self, g: Array, old: dict[str, Array], bases: dict[str, Array], scales: dict[str, Array]) -> Any:
        """Take up a gradient, by what was known of the other side before it."""
        new, projected = {}, to_basis(g, bases)
        for side, other in zip(SIDES, SIDES[::-1], strict=True):
            if side not in bases:
                continue
            along, scale = (-1 if side == "left" else -2), scales.get(other, 1)
            half = to_basis(g, {other: bases[other]} if other in bases else {}) / scale
            learned = gram(squarable(half, WHITENED), side) / g.shape[along]
            factor = self.decay * old[f"{side}_factor"] + (1 - self.decay) * learned
            seen = jnp.mean(jnp.square(bounded_entries(projected / scale)), axis=along)
            values = self.decay * old[f"{side}_values"] + (1 - self.decay) * seen
            least = max(10.0, min(g.shape[-2 if side == "left" else -1], self.largest)) ** -2
            values = jnp.maximum(values, least)
            new[f"{side}_factor"] = factor
            new[f"{side}_values"] = jnp.where(self.first, old[f"{side}_values"], values)
            new[side] = followed(bases[side], factor, self.how, sort=False)
        return new

    @staticmethod
    def _spread(values: Array, side: str) -> Array:
        return values[..., :, None] if side == "left" else values[..., None, :]
