"""Muon."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_ema -> orthogonalize -> scale_by_shape -> decay -> learning rate",
)
def muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the momentum of every hidden matrix.

    For hidden matrices only; wrap it in `optax_muon.for_matrices` so that embeddings, heads, biases and norms get
    another optimizer.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad M_0 = 0 \\
        U_t &= \mu M_t + (1 - \mu) G_t \quad \text{(nesterov; else } M_t) \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, \operatorname{orth}(U_t) + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale; 0.02 is a good start with
            `shapes.Jordan()`, AdamW's own rate with `shapes.RMSMatch(0.2)`.
        orthogonalizer: a map of `optax_muon.linalg`; default `best(POLAR_EXPRESS_NANOGPT_2025)`,
            the plain or the Gram iteration by shape.

    Differs from Keller Jordan's code: the norm has no epsilon; the default table is Polar Express, his is
    `linalg.JORDAN_2024`; convolutions are scaled by their matrix shape, not by their kernel height and width. From
    `optax.contrib.muon`: no bias correction (`transforms.nesterov_ema(debias=True)` has it), and embeddings and heads
    raise instead of being orthogonalised.

    References:
        Keller Jordan et al., Muon, https://kellerjordan.github.io/posts/muon (2024); Shen et al., On the Convergence
        Analysis of Muon, arXiv 2505.23737, algorithms 1 and 3.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> params = {"up": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}
        >>> tx = om.for_matrices(om.muon(0.02), otherwise=optax.adamw(3e-4))
        >>> updates, state = tx.update(params, tx.init(params), params)
        >>> round(float(updates["up"]["kernel"][0, 0]), 3)
        -0.022
    """
    transforms.require_fraction("muon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
