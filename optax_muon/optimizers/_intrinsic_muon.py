"""Intrinsic Muon."""

from typing import Any, Literal

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, SVDPolar, TangentParts, best
from optax_muon.matrices._pairs import Pairs


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="ema -> in_partner_metric(orthogonalize) -> scale_by_shape -> learning rate",
    learning_rate=5e-3,
    couples=True,
)
def intrinsic_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    manifold: Literal["fixed rank", "stiefel"] = "fixed rank",
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.0,
    pairs: Pairs | None = None,
    floor: Number = 1e-8,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise in the manifold's own metric: products of two factors, or matrices with orthonormal columns.

    For adapters, as `lora_muon` without its decay, and for weights that stay orthogonal, where it is cheaper than
    solving for the steepest tangent direction.

    .. math::
        \text{fixed rank, } W = A B: \qquad
        A &\leftarrow A - \eta_t \, c \operatorname{orth}(G_A P_A) P_A, \quad P_A = (B B^T)^{-1/2}, \qquad
        B \leftarrow B - \eta_t \, c \, P_B \operatorname{orth}(P_B G_B), \quad P_B = (A^T A)^{-1/2} \\
        \text{Stiefel, } W^T W = I: \qquad
        W &\leftarrow \operatorname{orth}\big( W - \eta_t \, c \, [ W \operatorname{orth}(\operatorname{skew}(W^T G))
        + \operatorname{orth}(G - W W^T G) ] \big)

    Args:
        learning_rate: of a product, how far each factor moves it in spectral norm; on the Stiefel manifold an angle.
        manifold: ``"fixed rank"``, or ``"stiefel"``: orthonormal columns, or rows where these are fewer.
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`. The way back to the manifold is exact.
        momentum: the decay rate mu of an average of the gradients, in [0, 1); the authors' is 0.
        pairs: of factors, as for `lora_muon`; the fixed rank alone has any.
        floor: the eigenvalue of a Gram matrix below which nothing is divided by it, in squared units of the weights,
            as for `transforms.in_partner_metric`.
        shape_scale: c, an object of `optax_muon.shapes`, of every factor's own shape; the authors' code for language
            models has ``RMSMatch(0.2)``.

    A matrix without a partner takes Muon's step. Weights that start off the Stiefel manifold are brought to it by the
    first update.

    Differs from the authors' code, which adds eps to the Gram matrix and inside the root, where below a floor it
    fades here, and halves the step where a factor would lose its rank. Its variant with momentum averages products;
    here, as in LoRA-Muon, it is that of each factor's gradients. The default table is Polar Express.

    References:
        Li et al., Intrinsic Muon, arXiv 2605.09238; github.com/1bang118/manifold-intrinsic-muon.
    """
    transforms.require_fraction("intrinsic_muon: momentum", momentum)
    if manifold not in ("fixed rank", "stiefel"):
        raise ValueError(f"intrinsic_muon: manifold must be 'fixed rank' or 'stiefel', not {manifold!r}")
    on = Stages(leaves, placement, state_dtype)
    fixed = manifold == "fixed rank"
    direction: Any = on.apply(orthogonalizer or best())
    if fixed:
        direction = on.bind(transforms.in_partner_metric)(direction, pairs, floor=floor)
    else:
        direction = on.bind(transforms.apply_with_weights)(TangentParts(orthogonalizer))
    return optax.chain(
        on.ema(momentum),
        direction,
        on.scale_by_shape(shape_scale),
        optax.scale_by_learning_rate(learning_rate),
        *(() if fixed else [on.bind(transforms.project_weights)(SVDPolar())]),
    )
