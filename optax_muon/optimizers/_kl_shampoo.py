"""KL-Shampoo."""

from typing import Any, Literal

import jax.numpy as jnp
import optax

from optax_muon import transforms
from optax_muon._registry import card
from optax_muon.linalg.subspace._eigenbasis import Refresh
from optax_muon.linalg.subspace._lagged_whitening import LaggedWhitening
from optax_muon.linalg.subspace._whitening import KroneckerWhitening
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Lin et al., KL-Shampoo, arXiv 2509.03378",
    confidence="EXACT",
    state="1 + 2 (m^2 + n^2) / (m n) for an m x n matrix",
    chain="ema -> KroneckerWhitening -> decoupled decay -> learning rate",
    deviations="factors have seen the present gradient and start from the first one's RMS, eigenvalues are those of "
    "the factors; form='lagged' is the authors' own",
    learning_rate=3e-3,
)
def kl_shampoo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Any = 0.9,
    decay: Any = 0.95,
    refresh_every: int = 10,
    max_side: int = 10000,
    epsilon: float = 1e-8,
    form: Literal["present", "lagged"] = "present",
    weight_decay: Any = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Whiten the momentum by a Kronecker covariance of the gradients, without Adam inside.

    For hidden matrices. Each factor is measured in the geometry of the other, so that their product fits the
    gradients' covariance; Shampoo without that needs grafting.

    .. math::
        S_L &\leftarrow \beta S_L + \tfrac{1 - \beta}{n} G_t S_R^{-1} G_t^T, \qquad
        S_R \leftarrow \beta S_R + \tfrac{1 - \beta}{m} G_t^T S_L^{-1} G_t \\
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad
        W_t = W_{t-1} - \eta_t \left( S_L^{-1/2} M_t S_R^{-1/2} + \lambda W_{t-1} \right)

    Args:
        learning_rate: entries of an update have RMS about 1 before it, as Adam's, so AdamW's rates are a start.
        momentum: the retained fraction mu, in [0, 1).
        decay: beta, of the factors.
        refresh_every: updates between one QR step of the bases through which inverses are taken; the first update
            decomposes.
        max_side: a longer side is left as it is, and keeps no factor.
        epsilon: eigenvalues count at least this fraction of the largest; lagged: added to the roots, in units of
            gradients.
        form: ``present`` as above. ``lagged`` is the authors' own, see `linalg.LaggedWhitening`: the first gradient is
            only looked at, and later ones are whitened by what was known before them; eigenvalues are averaged on
            their own, from 0.1, and so depend on the gradients' scale.
        weight_decay: decoupled, multiplied by the learning rate.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own. Factors and bases are float32 or wider.

    State: 1 float per parameter, and 2 (m^2 + n^2) for an m x n matrix, m + n more where lagged; a side above
    ``max_side`` keeps none.

    Differs from the authors' code in five ways, but for ``form="lagged"``: it takes its first step at once; its factors
    have seen the gradient that they whiten; its eigenvalues are measured on the factors; a factor starts from the first
    gradient's RMS times I instead of a fixed multiple, so that the rule is scale free; the floor of eigenvalues is
    relative. In both forms decay is applied to the weights before the step, not after.

    References:
        arXiv 2509.03378; github.com/yorkerlin/KL-Methods.
    """
    transforms.require_fraction("kl_shampoo: momentum", momentum)
    transforms.require_fraction("kl_shampoo: decay", decay)
    if form not in ("present", "lagged"):
        raise ValueError(f"kl_shampoo: form must be 'present' or 'lagged', not {form!r}")
    average = optax.ema(momentum, debias=False, accumulator_dtype=state_dtype)
    whitening: Any = KroneckerWhitening(decay, Refresh(refresh_every), max_side, epsilon)
    held = []
    if form == "lagged":
        whitening = LaggedWhitening(decay, Refresh(refresh_every), max_side, epsilon)
        # At the first update neither momentum nor decay takes part.
        average = optax.conditionally_mask(average, _after_the_first)
        held = [optax.scale_by_schedule(lambda count: jnp.minimum(count, 1))]
    whitened = transforms.apply_with_gradients(whitening, leaves=leaves, placement=placement)
    return optax.chain(
        transforms.with_gradients(optax.chain(average, whitened)),
        optax.add_decayed_weights(weight_decay),
        *held,
        optax.scale_by_learning_rate(learning_rate),
    )


def _after_the_first(step: Any, **extra_args: Any) -> Any:
    del extra_args
    return step > 0
