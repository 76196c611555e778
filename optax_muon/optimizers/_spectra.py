"""SPECTRA."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SoftClip, SpectralMap


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(2, note="with another base, that of the base"),
    chain="adam_direction -> SoftClip -> scale_by_shape -> scale -> decay -> learning rate",
    learning_rate=1e-3,
)
def spectra(
    learning_rate: optax.ScalarOrSchedule,
    *,
    base: optax.GradientTransformation | None = None,
    maximum: Number = 10.0,
    orthogonalizer: SpectralMap | None = None,
    scale: Number = 1.0,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Bound the spectral norm of any optimizer's update, smoothly.

    For hidden matrices only. It keeps AdamW stable at rates where a few directions of its update grow too long, and
    leaves the others as they are, but for the factor of the shape.

    .. math::
        H_c(X) &= (I + X X^T / c^2)^{-1/2} X, \qquad X_t \text{ the base's update} \\
        W_t &= W_{t-1} - \eta_t \left( a \, s(\text{shape}) H_c(X_t) + \lambda W_{t-1} \right)

    Args:
        learning_rate: as the base's.
        base: a transformation without learning rate, which gives X; default `transforms.adam_direction()`.
        maximum: c; singular values approach it. 10 is the authors', 5 for their smallest model.
        orthogonalizer: None decomposes; a map works by products only, see `linalg.SoftClip`.
        scale: a.
        shape_scale: s, an object of `optax_muon.shapes`; ``shapes.Constant(1.0)`` with an infinite cap is the base.
        state_dtype: of the default base's first moment.

    Differs from the authors' code: vectors, which it bends by their Euclidean norm, go to another optimizer; their
    clipping of gradients is `transforms.clip_by_spectral_norm` before it; their inverse root is a coupled iteration;
    the constant c eta of their warm-up is left to a schedule of ``maximum``.

    References:
        Jiang, Semenov, Stich, SPECTRA, arXiv 2603.14315; github.com/mlolab/llm-spectral-clipping.
    """
    on = Stages(leaves, placement, state_dtype)
    clip = SoftClip(maximum, orthogonalizer=orthogonalizer)
    return optax.chain(
        base or on.bind(transforms.adam_direction)(),
        on.apply(clip),
        on.scale_by_shape(shape_scale),
        optax.scale(scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
