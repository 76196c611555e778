"""The two parts of a step along orthonormal columns, each orthogonalised."""

import dataclasses
from typing import Any, ClassVar

from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, squarable
from optax_muon.linalg._map import Info, MatrixOp, SpectralMap
from optax_muon.linalg.orthogonal._best import best


@dataclasses.dataclass(frozen=True)
class TangentParts(MatrixOp):
    r"""Orthogonalise what turns orthonormal columns within their span, and what leads out of it, each by itself.

    Use it, through `intrinsic_muon`, where weights have orthonormal columns (rows, where they are fewer) and shall keep
    them. It asks for one more product than Muon and no dual problem.

    .. math::
        Y = W \operatorname{orth}\big( \tfrac12 (W^T X - X^T W) \big) + \operatorname{orth}(X - W W^T X)

    Y is tangent, :math:`W^T Y + Y^T W = 0`, and the steepest direction where the two parts count as separate blocks;
    its own spectral norm may be as large as the root of two. On square matrices the second part is zero.

    Args:
        orthogonalizer: the map of both parts; None: `best()`.
    """

    commutes_with_transpose: ClassVar[bool] = True
    real_only: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("weights",)
    orthogonalizer: SpectralMap | None = None

    def init(self, shape: tuple[int, ...], dtype: Any) -> tuple[()]:
        """Return no state."""
        del shape, dtype
        return ()

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Any, Info]:
        """Map every matrix; the result has the dtype of ``x``."""
        del key
        self.check_others(x, others)
        if 0 in x.shape:
            return x, carry, Info()
        wide = x.shape[-1] > x.shape[-2]
        g, w = ((z.mT if wide else z).astype(accumulator_dtype(x.dtype)) for z in (x, others["weights"]))
        # Only directions matter of the one, and the other has entries of 1 at most where it should be.
        g, w = squarable(g), squarable(w, 0.125)
        orth = (self.orthogonalizer or best()).apply
        within = FLOAT32.matmul(w.mT, g)
        turn = FLOAT32.matmul(w, orth((within - within.mT) / 2))
        if x.shape[-1] == x.shape[-2]:  # what is left is rounding, which an orthogonaliser would bring to full size
            return (turn.mT if wide else turn).astype(x.dtype), carry, Info()
        leaving = orth(g - FLOAT32.matmul(w, within))
        # Once more, since an orthogonaliser fills directions that its input lacks, along the columns too.
        out = turn + leaving - FLOAT32.matmul(w, FLOAT32.matmul(w.mT, leaving))
        return (out.mT if wide else out).astype(x.dtype), carry, Info()
