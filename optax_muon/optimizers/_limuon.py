"""LiMuon: Muon on STORM's momentum, stored whole or at low rank."""

import jax
import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import Form, StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(
        1,
        forms=(Form("with a ``rank``", {"rank": 4}, StateSize(0, "rank * (inputs + outputs + 1)")),),
        note="the step keeps the previous parameters besides, 1 more",
    ),
    chain="correct_by_same_batch -> ema -> orthogonalize -> scale_by_shape -> decay -> learning rate",
    extra_args=("grads_at_previous_params",),
)
def limuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.9,
    rank: int | None = None,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    seed: int | jax.Array = 0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise a momentum corrected by a second gradient of the same batch.

    For hidden matrices. ``update`` takes ``grads_at_previous_params``: use `optax_muon.step_with_two_gradients`.

    .. math::
        M_t = G_t + \mu \left( M_{t-1} - \nabla f(W_{t-1}; \xi_t) \right), \quad M_1 = G_1, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(M_t) + \lambda W_{t-1} \right)

    With ``rank`` the momentum is kept between updates as its randomised SVD.

    Args:
        learning_rate: eta.
        momentum: the decay rate mu, in [0, 1); the paper's beta is 1 - mu.
        rank: of the stored momentum; None: stored whole. The paper takes 8 and 16.
        seed: of the sketches.
        state_dtype: of the momentum where it is stored whole.

    Differs from the paper: nothing known; where its text leaves open which momentum is orthogonalised at low rank, it
    is the one before compression.

    References:
        Huang, Luo, Chen, LiMuon, arXiv 2509.14562, options 1 and 2, as restated by others; no code of the authors is
        known.
    """
    transforms.require_fraction("limuon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    if rank is None:
        averaging = [
            transforms.correct_by_same_batch(momentum / (1 - momentum)),
            on.ema(momentum),
        ]
    else:
        averaging = [on.bind(transforms.low_rank_storm)(momentum, rank, seed=seed)]
    return optax.chain(
        *averaging,
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
