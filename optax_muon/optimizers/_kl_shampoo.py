"""KL-Shampoo."""

from typing import Any, Literal

import jax.numpy as jnp
import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import Form, StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg.subspace._eigenbasis import Refresh
from optax_muon.linalg.subspace._lagged_whitening import LaggedWhitening
from optax_muon.linalg.subspace._whitening import KroneckerWhitening

LAGGED = "2 * (inputs**2 + outputs**2) + inputs + outputs"  # eigenvalues are kept beside the factors


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(
        1,
        "2 * (inputs**2 + outputs**2)",
        forms=(Form("where lagged", {"form": "lagged"}, StateSize(1, LAGGED)),),
        note="a side above ``max_side`` keeps none",
    ),
    chain="with_gradients(ema -> KroneckerWhitening) -> decay -> learning rate",
    learning_rate=3e-3,
    renamed={"decay": "second_moment_decay", "epsilon": "eps"},
)
def kl_shampoo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.9,
    second_moment_decay: Number = 0.95,
    refresh_every: int = 10,
    max_side: int = 10000,
    eps: float = 1e-8,
    form: Literal["present", "lagged"] = "present",
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
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
        second_moment_decay: beta, of the factors.
        refresh_every: updates between one QR step of the bases through which inverses are taken; the first update
            decomposes.
        max_side: a longer side is left as it is, and keeps no factor.
        eps: eigenvalues count at least this fraction of the largest; lagged: added to the roots, in units of
            gradients.
        form: ``present`` as above. ``lagged`` is the authors' own, see `linalg.LaggedWhitening`: the first gradient is
            only looked at, and later ones are whitened by what was known before them; eigenvalues are averaged on
            their own, from 0.1, and so depend on the gradients' scale.
        state_dtype: of the momentum. Factors and bases are float32 or wider.

    Differs from the authors' code in five ways, but for ``form="lagged"``: it takes its first step at once; its factors
    have seen the gradient that they whiten; its eigenvalues are measured on the factors; a factor starts from the first
    gradient's RMS times I instead of a fixed multiple, so that the rule is scale free; the floor of eigenvalues is
    relative. In both forms decay is applied to the weights before the step, not after.

    References:
        Lin et al., KL-Shampoo, arXiv 2509.03378; github.com/yorkerlin/KL-Methods.
    """
    transforms.require_fraction("kl_shampoo: momentum", momentum)
    transforms.require_fraction("kl_shampoo: second_moment_decay", second_moment_decay)
    if form not in ("present", "lagged"):
        raise ValueError(f"kl_shampoo: form must be 'present' or 'lagged', not {form!r}")
    on = Stages(leaves, placement, state_dtype)
    average = on.ema(momentum)
    whitening: Any = KroneckerWhitening(second_moment_decay, Refresh(refresh_every), max_side, eps)
    held = []
    if form == "lagged":
        whitening = LaggedWhitening(second_moment_decay, Refresh(refresh_every), max_side, eps)
        # At the first update neither momentum nor decay takes part.
        average = optax.conditionally_mask(average, _after_the_first)
        held = [optax.scale_by_schedule(lambda count: jnp.minimum(count, 1))]
    return optax.chain(
        transforms.with_gradients(optax.chain(average, on.apply_with_gradients(whitening))),
        decayed_weights(weight_decay),
        *held,
        optax.scale_by_learning_rate(learning_rate),
    )


def _after_the_first(step: Any, **extra_args: Any) -> Any:
    del extra_args
    return step > 0
