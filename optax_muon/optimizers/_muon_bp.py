"""MuonBP."""

import optax

from optax_muon import norms, shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, best
from optax_muon.placement import OnShards


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="heavy_ball -> alternate(orthogonalize -> scale_by_shape | scale_by_lmo -> scale) -> decay -> learning rate",
    learning_rate=1e-3,
)
def muon_bp(
    learning_rate: optax.ScalarOrSchedule,
    *,
    period: int = 5,
    block_rate: Number = 1.0,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise whole matrices at every P-th step, and between these the block that each device holds.

    For hidden matrices that are sharded: the steps between send nothing between devices. Without a mesh, or where
    matrices are whole, it is Muon. On an Auto mesh leaves need their spec. The result depends on the sharding, by the
    rule.

    .. math::
        M_t &= \mu M_{t-1} + G_t, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(M_t) + \lambda W_{t-1} \right)
        \quad \text{(first step, and every } P\text{-th)} \\
        W_t &= W_{t-1} - \eta_t \left( \rho \, c(\text{block's shape}) \operatorname{orth}(M_t^{(b)})
        + \lambda W_{t-1} \right) \quad \text{(else, for every block } b)

    Args:
        learning_rate: an entry's step over 0.2 with `shapes.RMSMatch(0.2)`, as AdamW's.
        period: P, in steps; 5 is recommended, 1 is Muon. Blocks alone were reported to be unstable at scale.
        block_rate: rho, the rate of the steps on blocks over the learning rate.
        orthogonalizer: a map of `optax_muon.linalg`.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        placement: of the steps on whole matrices; those on blocks are `OnShards`.

    b blocks, each orthogonal, have a spectral norm of up to :math:`\sqrt b` together.

    Differs from a port that takes its first full step at step P; the two rates have one schedule, and the default table
    is Polar Express.

    References:
        MuonBP, arXiv 2510.16981.
    """
    transforms.require_fraction("muon_bp: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    orthogonalizer = orthogonalizer or best()
    whole = optax.chain(on.apply(orthogonalizer), on.scale_by_shape(shape_scale))
    # As one oracle, which measures the block where `scale_by_shape` would measure the matrix.
    oracle = norms.Scaled(norms.Spectral(orthogonalizer), shape_scale)
    blocks = optax.chain(
        on.bind(transforms.scale_by_lmo)(oracle, placement=OnShards()),
        optax.scale(block_rate),
    )
    return optax.chain(
        on.heavy_ball(momentum, nesterov=nesterov),
        transforms.alternate(period, whole, otherwise=blocks),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
