"""A norm's oracle as an operation that can be lifted to trees."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float, PyTree

from optax_muon.linalg import Info, MatrixOp
from optax_muon.norms._norm import Norm, inner
from optax_muon.norms._radius import Fixed, Radius


@dataclasses.dataclass(frozen=True)
class Oracle(MatrixOp):
    r"""Step along a norm's oracle by a radius; no state.

    Use it as an operation in `transforms.apply_by_role` or `linalg.Composed`; `transforms.scale_by_lmo` lifts it alone.

    .. math:: y = \rho(d) \operatorname{lmo}(x, 1), \qquad d = \langle x, \operatorname{lmo}(x, 1) \rangle

    ``Info.dual`` is :math:`\langle x, y \rangle`; d is the dual norm of x as far as the oracle is exact, and costs one
    product instead of a decomposition.

    Args:
        norm: the norm.
        radius: rho, a number or a `Radius`, in the units of the norm.

    Raises:
        ValueError: for a radius that is not positive; from ``init``, for a shape on which the norm does not exist.
    """

    norm: Norm
    radius: Any = 1.0

    def __post_init__(self):
        """Bring a number to a `Radius`."""
        if not isinstance(self.radius, Radius):
            object.__setattr__(self, "radius", Fixed(self.radius))

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the norm does."""
        return self.norm.commutes_with_transpose

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the norm does."""
        return self.norm.commutes_with_padding

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Check the shape; return no state."""
        del dtype
        self.norm.check(shape)
        return ()

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Step along every matrix."""
        del key
        self.check_others(x, others)
        y = self.norm.direction(x)
        # Not ``norm.dual``: that decomposes, and this is the right number for an inexact oracle, whose pairing falls
        # short.
        dual = inner(x, y)
        radius = self.radius.at(dual)
        return (radius[..., None, None] * y).astype(x.dtype), carry, Info(dual=radius * dual)
