"""Low-rank Muon."""

import optax

from optax_muon import shapes
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import BySize, ColumnSketch, RandomizedPolar, Sketch, SpectralMap, best
from optax_muon.optimizers._muon import muon


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_ema -> BySize -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.025,
)
def low_rank_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    rank: int = 200,
    threshold: int = 500,
    orthogonalizer: SpectralMap | None = None,
    sketch: Sketch = ColumnSketch(),  # noqa: B008 - immutable
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.01,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the part of the momentum that a few random columns span.

    For hidden matrices only, large ones: smaller ones get the whole polar factor. With ``momentum=0``,
    ``weight_decay=0`` and ``shapes.Constant(1.0)`` it is the paper's low-rank matrix-signed gradient descent.

    .. math::
        N_t = \text{EMA with Nesterov}, \qquad Q = \operatorname{qr}(N_t \Omega), \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \, Q \operatorname{orth}(Q^T N_t) + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale; 0.025 is the authors'.
        rank: columns of Q; 200 to 400.
        threshold: the shorter side from which on matrices are sketched, itself included, at least ``rank``; 500 or
            1000.
        orthogonalizer: a map of `optax_muon.linalg`, for the small factor and for small matrices; default
            `best()`.
        sketch: how columns are drawn; ``linalg.GaussianSketch()`` combines all of them.

    Differs from the authors' code, which draws only the first columns of a tall matrix; here any may be drawn. As
    matrix-signed descent it is PARTIAL: no factor on its step was seen.

    References:
        He, Deng, Lu, low-rank orthogonalization, arXiv 2509.11983; github.com/dengzhanwang/Low-rank-Muon.
    """
    if threshold < rank:
        raise ValueError(f"low_rank_muon: threshold must be at least rank={rank}, not {threshold}")
    small = orthogonalizer or best()
    # `BySize` wants the longest side that stays with the whole factor.
    sketched = RandomizedPolar(rank, oversample=0, power_steps=0, sketch=sketch, orthogonalizer=small)
    return muon(
        learning_rate,
        orthogonalizer=BySize(threshold - 1, sketched, small),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        leaves=leaves,
        placement=placement,
        state_dtype=state_dtype,
    )
