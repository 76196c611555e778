"""Muon with momentum variance reduction: MVR1, MVR2, STORM and MARS."""

from typing import Any, Literal

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
        2,
        forms=(
            Form("without clipping", {"clip": None}, StateSize(1)),
            Form("with the same batch", {"previous": "same_batch"}, StateSize(1)),
        ),
        note="the step of the latter keeps the previous parameters besides, 1 more",
    ),
    chain="correct_by_same_batch -> clip_by_frobenius_norm -> ema -> orthogonalize -> scale_by_shape -> "
    "decay -> learning rate",
    learning_rate=3e-3,
    # MVR2, the form with the better rate, is what comparisons and contracts run.
    defaults={"previous": "same_batch"},
    extra_args=("grads_at_previous_params",),
)
def muon_mvr(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    gamma: Number = 0.025,
    previous: Literal["last_batch", "same_batch"] = "last_batch",
    clip: Any | None = 1.0,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise a momentum whose variance a previous gradient reduces.

    For hidden matrices; take it where gradients are noisy. The forms: MVR1 and MARS-M are the defaults; MVR2 is
    ``previous="same_batch"``; STORM is that with ``gamma=1, clip=None``.

    .. math::
        C_t &= G_t + \gamma \tfrac{\mu}{1 - \mu} (G_t - G^{\text{prev}}_t), \qquad
        C_t \leftarrow C_t / \max(1, \|C_t\|_F / c) \\
        M_t &= \mu M_{t-1} + (1 - \mu) C_t \\
        W_t &= W_{t-1} - \eta_t \left( s(\text{shape}) \, \operatorname{orth}(M_t) + \lambda W_{t-1} \right)

    The previous gradient is zero at the first step, then the last step's (last_batch) or this batch's at the last
    parameters (same_batch).

    Args:
        learning_rate: AdamW's own rates carry over with the default shape scale; the authors use 3e-3.
        gamma: strength of the correction; 0 is Muon without look-ahead, 1 - mu with last_batch and no clip is
            Nesterov's Muon, 1 with same_batch and no clip is STORM.
        previous: whose gradient is subtracted; ``same_batch`` costs a second backward pass, and ``update`` then takes
            ``grads_at_previous_params`` (see `optax_muon.step_with_two_gradients`).
        clip: c, the largest Frobenius norm of a matrix's corrected gradient; None: no clipping.
        shape_scale: s, an object of `optax_muon.shapes`.
        state_dtype: of the momentum and the stored gradient.

    Differs from the authors' code: norms have no epsilon, and MVR2 does not clip the second gradient by its global
    norm (clip both before ``update`` if you clip one). The default of gamma is the language-model recipe's.

    References:
        Chang, Liu, Yuan, On the Convergence of Muon and Beyond, arXiv 2509.15816, algorithms MVR1 and MVR2; arXiv
        2510.21800 (MARS-M, its form with one buffer).
    """
    transforms.require_fraction("muon_mvr: momentum", momentum)
    if previous not in ("last_batch", "same_batch"):
        raise ValueError(f"muon_mvr: previous must be 'last_batch' or 'same_batch', not {previous!r}")
    on = Stages(leaves, placement, state_dtype)
    weight = gamma * momentum / (1 - momentum)
    clipping = [] if clip is None else [on.bind(transforms.clip_by_frobenius_norm)(clip)]
    average = on.ema(momentum)
    if previous == "same_batch":
        averaging = [transforms.correct_by_same_batch(weight), *clipping, average]
    elif clipping:
        averaging = [on.bind(transforms.correct_by_last_gradient)(weight), *clipping, average]
    else:
        averaging = [on.bind(transforms.extrapolated_ema)(momentum, gamma)]
    return optax.chain(
        *averaging,
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
