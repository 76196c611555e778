"""Muon."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Keller Jordan et al., Muon (2024); Shen et al., On the Convergence Analysis of Muon, arXiv 2505.23737",
    confidence="EXACT",
    state="1",
    chain="nesterov_ema -> orthogonalize -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="no epsilon in the norm; the default table is Polar Express, Jordan's is JORDAN_2024",
)
def muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.95,
    nesterov: bool = True,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
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
        momentum: the retained fraction mu, in [0, 1).
        nesterov: look one step ahead by interpolation.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter.

    Differs from Keller Jordan's code: the norm has no epsilon; convolutions are scaled by their matrix shape, not by
    their kernel height and width. From `optax.contrib.muon`: no bias correction (`transforms.nesterov_ema(debias=True)`
    has it), and embeddings and heads are refused instead of orthogonalised.

    References:
        Keller Jordan et al., https://kellerjordan.github.io/posts/muon (2024); arXiv 2505.23737, algorithms 1 and 3.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> params = {"up": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}
        >>> tx = om.for_matrices(om.muon(0.02), otherwise=optax.adamw(3e-4))
        >>> updates, state = tx.update(params, tx.init(params), params)
        >>> round(float(updates["up"]["kernel"][0, 0]), 3)
        -0.022
    """
    transforms.require_fraction("muon: momentum", momentum)
    average = transforms.nesterov_ema if nesterov else optax.ema
    options = {} if nesterov else {"debias": False}
    return optax.chain(
        average(momentum, accumulator_dtype=state_dtype, **options),
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
