"""Gluon."""

from collections.abc import Mapping
from typing import Any

import optax

from optax_muon import norms as om_norms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap
from optax_muon.norms import Norm


@card(
    kind="roles",
    confidence="EXACT",
    state=StateSize(1),
    chain="first_gradient_ema -> apply_by_role -> learning rate",
)
def gluon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    norms: Mapping[str, Norm] | None = None,
    radii: Mapping[str, Any] | Any = 1.0,
    momentum: Number = 0.9,
    estimator: optax.GradientTransformation | None = None,
    orthogonalizer: SpectralMap | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step every layer along the oracle of its norm, by a radius of its own that may follow its smoothness.

    For the whole tree, without Adam. Three choices of radius: a number (unconstrained Scion); a decaying rate,
    ``gluon(*...)`` of `gluon_schedules`; ``norms.Smoothness(L0, L1)`` per role or layer, with constants that
    `transforms.measure_smoothness` and `norms.fit_smoothness` find.

    .. math::
        M_t &= \beta_t M_{t-1} + (1 - \beta_t) G_t, \qquad M_0 = G_0 \\
        W_t &= W_{t-1} - \eta_t \rho(d_t) \operatorname{lmo}_1(M_t), \qquad
        d_t = \langle M_t, \operatorname{lmo}_1(M_t) \rangle \\
        \rho(d) &= \rho \quad \text{or} \quad d / (L_0 + L_1 d)

    Args:
        learning_rate: eta; 1 with `norms.Smoothness`.
        radii: rho, a positive number or a `norms.Radius`, one for all or by key of ``norms``.
        momentum: the decay rate beta, in [0, 1), or a schedule of it.
        estimator: what makes M of gradients, in place of the average; its own numbers count then, not ``momentum``.
            Variance reduction of strength gamma (1: STORM) is `transforms.correct_by_same_batch` or
            `transforms.correct_by_last_gradient`, of ``gamma * mu / (1 - mu)``, before ``optax.ema(mu, debias=False)``;
            between many workers it is `workers.marina`, or an average and `workers.exchange`.
        orthogonalizer: of the default norms; default that of `norms.Spectral`.
        state_dtype: of the average.

    Differs from the paper: adaptive radii use the momentum's dual norm, which is the gradient's at ``momentum=0``, and
    the theory's constants were not seen in full; ``Smoothness(1 / eta, 0)`` is PolarGrad, ``Smoothness(0, 1 / eta)`` a
    fixed radius. The forms with variance reduction and those of federated learning are OUR READING of two abstracts.

    References:
        Riabinin et al., Gluon: Making Muon and Scion Great Again, arXiv 2505.13416; Qian et al., Muon is Provably
        Faster with Momentum Variance Reduction, arXiv 2512.16598; Qian et al., Communication-Efficient Gluon in
        Federated Learning, arXiv 2604.10689.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> params = {"up": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}
        >>> tx = om.gluon(1.0, radii={"hidden": om.norms.Smoothness(8.0, 2.0), "vector": 0.01})
        >>> updates, state = tx.update(params, tx.init(params), params)
    """
    chosen = om_norms.for_roles(orthogonalizer) | dict(norms or {})
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.first_gradient_ema(momentum) if estimator is None else estimator,
        on.apply_by_role(om_norms.oracles(chosen, radii)),
        optax.scale_by_learning_rate(learning_rate),
    )


def gluon_schedules(radius: float) -> dict[str, optax.Schedule]:
    """Give the paper's stochastic schedules: rates ``radius (k+1)^(-3/4)`` and momentum ``1 - (k+1)^(-1/2)``.

    Args:
        radius: of the first step.

    Example:
        >>> import optax_muon as om
        >>> tx = om.gluon(**om.gluon_schedules(0.1))
    """
    return {"learning_rate": lambda k: radius * (k + 1) ** -0.75, "momentum": lambda k: 1 - (k + 1) ** -0.5}
