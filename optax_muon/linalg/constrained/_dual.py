"""Two ways to the multipliers at which the best direction of the spectral ball obeys linear equations."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._types import Number
from optax_muon.linalg.constrained._constraint import Equations

Orthogonalize = Callable[[Array], Array]


def descend(
    x: Float[Array, "*batch m n"],
    equations: Equations,
    orthogonalize: Orthogonalize,
    start: Array,
    *,
    steps: int,
    rate: Number,
    falling: bool,
) -> tuple[Array, Array]:
    """Descend the dual ``|x + L*(multipliers)|_*``, whose gradient is the residual; give direction and multipliers."""

    def step(i: Array, multipliers: Array) -> Array:
        """Take one step against the residual."""
        wrong = equations.residual(orthogonalize(x + equations.adjoint(multipliers)))
        share = 1 - i / steps if falling else 1
        return multipliers - (jnp.asarray(rate, wrong.dtype) * share * wrong).astype(multipliers.dtype)

    multipliers = jax.lax.fori_loop(0, steps, step, start) if steps else start
    return orthogonalize(x + equations.adjoint(multipliers)), multipliers


def bisect(
    x: Float[Array, "*batch m n"], equations: Equations, orthogonalize: Orthogonalize, *, steps: int
) -> tuple[Array, Array]:
    """Find the one multiplier of every matrix where its residual is zero; give direction and multipliers.

    The residual grows with the multiplier, and its root is within twice the nuclear norm of ``x``. The direction is
    that mixture of the last interval's two which has no residual: where the residual jumps, at a singular value of
    zero, neither of the two is right and the mixture is, and elsewhere its error is the square of the interval.
    """
    first = orthogonalize(x)
    wrong = equations.residual(first)
    if not steps:
        return first, jnp.zeros_like(wrong)

    def at(multiplier: Array) -> Array:
        return orthogonalize(x + equations.adjoint(multiplier))

    bound = 2 * jnp.sum(x * first, axis=(-2, -1))

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        """Keep the half with the root."""
        low, high = ends
        middle = (low + high) / 2
        below = equations.residual(at(middle)) < 0
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    ends = jnp.where(wrong > 0, -bound, 0), jnp.where(wrong > 0, 0, bound)
    # The mixture's shares depend on x as the root does, so that nothing is to be differentiated in the loop.
    low, high = jax.lax.fori_loop(0, steps, halve, jax.lax.stop_gradient(ends))
    directions = at(low), at(high)
    under, over = map(equations.residual, directions)
    gap = over - under
    share = jnp.clip(jnp.where(gap > 0, over / jnp.where(gap > 0, gap, 1), 0.5), 0, 1)
    mixed = share[..., None, None] * directions[0] + (1 - share)[..., None, None] * directions[1]
    return mixed, share * low + (1 - share) * high
