"""The best direction of the spectral ball among those that obey linear equations."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optax_muon._numbers import require_not_negative, require_whole
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp, SpectralMap
from optax_muon.linalg._scale import largest_entry, length, one_if_zero, quotient, unit_length
from optax_muon.linalg.constrained._constraint import Constraint
from optax_muon.linalg.constrained._dual import bisect, descend
from optax_muon.linalg.orthogonal._best import best
from optax_muon.linalg.orthogonal._coefficients import POLAR_EXPRESS_MANIFOLDS_2025


class Solution(NamedTuple):
    """What the dual gave for a stack of matrices.

    Attributes:
        direction: matrices ``(*batch, m, n)`` of spectral norm 1, in float32 or wider.
        multipliers: of the equations, in units of the matrices' root mean square singular value.
        state: for the next call.
    """

    direction: Array
    multipliers: Array
    state: PyTree


@dataclasses.dataclass(frozen=True)
class Constrained(MatrixOp):
    r"""Take the direction of the spectral ball that goes furthest along a matrix and obeys linear equations.

    Use it in place of an orthogonaliser for weights that should stay where they are allowed to be. It is an oracle cut
    by equations, and solved in its dual, one orthogonalisation a step:

    .. math::
        D = \arg\max_{\|D\|_2 \le 1, \; L(D) = 0} \langle X, D \rangle = \operatorname{orth}(X + L^*(\Lambda)),
        \qquad \Lambda = \arg\min \|X + L^*(\Lambda)\|_*

    The dual is nowhere larger than where a singular value is zero, and there its slope jumps: steps that do not fall
    go back and forth across it. Steps are in units of the root mean square singular value of X.

    Args:
        constraint: `Stiefel`, `Sphere` or `Interference`: L, L* and which way the dual is solved.
        orthogonalizer: None: `best` with the ten steps of Polar Express. A table that ripples (five steps, 13 %)
            finds multipliers no better than that.
        steps: of descent, or halvings of the interval where the constraint is one equation; 0 leaves the first guess.
        rate: of the descent, in units of the matrix's root mean square singular value over the norm of ``L L*``.
        falling: let the rate fall linearly to zero over the steps.
        warm_start: start from the multipliers of the call before, kept as state.

    Raises:
        ValueError: for steps that are no whole number, or a negative rate; by ``apply`` without weights, where the
            constraint needs them.

    State: the constants of the constraint; with a warm start the multipliers and a vector of `Sphere`.

    References:
        Bernstein, Modular Manifolds (2025); arXiv 2601.08393 (SSO); Lu et al., arXiv 2605.08949 (Muon-OGD).

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> op = om.linalg.Constrained(om.linalg.Sphere(None), om.linalg.SVDPolar())
        >>> x, w = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([[3.0, 0.0], [0.0, 0.0]])
        >>> op.apply(x, op.init((2, 2), jnp.float32), weights=w)[0].round(3).tolist()
        [[0.0, 0.0], [0.0, 1.0]]
    """

    real_only: ClassVar[bool] = True
    same_cost: ClassVar[bool] = True
    constraint: Constraint
    orthogonalizer: SpectralMap | None = None
    steps: int = 20
    rate: Number = 0.5
    falling: bool = True
    warm_start: bool = False

    def __post_init__(self):
        """Raise on what cannot be."""
        require_whole("Constrained: steps", self.steps, least=0)
        require_not_negative("Constrained", rate=self.rate)

    @property
    def takes(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The weights, where the equations are theirs: what does not need them is not sent them."""
        return ("weights",) if self.constraint.needs_weights else ()

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Keep the constants, and zero multipliers for a warm start."""
        state = self.constraint.constants(shape, dtype)
        if self.warm_start:
            if not self.constraint.one_equation:
                state["multipliers"] = jnp.zeros(self.constraint.multipliers(shape), accumulator_dtype(dtype))
            state |= self.constraint.carried(shape, dtype)
        return state

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], Any, Info]:
        """Solve for every matrix; the result has the dtype of ``x``, and zero gives zero."""
        del key
        self.check_others(x, others)
        require_inexact(x, "Constrained")
        if 0 in x.shape:
            return x, carry, Info()
        solved = self.solve(x, carry, others.get("weights"))
        wide = x.astype(solved.direction.dtype)
        size = one_if_zero(largest_entry(wide))
        dual = jnp.sum(quotient(wide, size) * solved.direction, axis=(-2, -1)) * size[..., 0, 0]
        return solved.direction.astype(x.dtype), solved.state, Info(dual=dual)

    def solve(self, x: Float[Array, "*batch m n"], carry: Any, weights: Array | None = None) -> Solution:
        """Solve for every matrix, and show the multipliers."""
        wide = accumulator_dtype(x.dtype)
        x = unit_length(x.astype(wide)) * min(x.shape[-2:]) ** 0.5
        equations = self.constraint.equations(None if weights is None else weights.astype(wide), carry)
        orthogonalizer = self.orthogonalizer or best(POLAR_EXPRESS_MANIFOLDS_2025)
        if self.constraint.one_equation:
            direction, multipliers = bisect(x, equations, orthogonalizer.apply, steps=self.steps)
        else:
            direction, multipliers = descend(
                x,
                equations,
                orthogonalizer.apply,
                self._start(equations.residual(x), carry),
                steps=self.steps,
                rate=jnp.asarray(self.rate, wide) / self.constraint.size,
                falling=self.falling,
            )
        # Multipliers that a warm start has kept would give a matrix of zeros a direction.
        direction = jnp.where(length(x) == 0, 0, direction)
        return Solution(direction, multipliers, self._kept(carry, multipliers, equations.carried))

    def _start(self, residual: Array, carry: Any) -> Array:
        """Return the first multipliers: those that were kept, or a guess where there are none."""
        guess = residual * (-self.constraint.guess / self.constraint.size)
        if not self.warm_start:
            return guess
        kept = carry["multipliers"]
        blank = jnp.all(kept == 0, axis=(-2, -1), keepdims=True)
        return jnp.where(blank, guess, kept)

    def _kept(self, carry: Any, multipliers: Array, carried: dict[str, Array]) -> Any:
        """Put the new state together."""
        if not self.warm_start:
            return carry
        if not self.constraint.one_equation:
            carried = carried | {"multipliers": multipliers}
        return carry | carried
