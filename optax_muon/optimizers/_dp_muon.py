"""DP-Muon."""

import optax

from optax_muon import linalg, transforms
from optax_muon._numbers import require_whole
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(1),
    chain="heavy_ball -> NewtonSchulz -> decay -> learning rate",
    learning_rate=0.02,
)
def dp_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.9,
    kappa: int = 2,
    steps: int = 5,
    noise_deviation: Number | None = None,
    probes: int = 4,
    seed: int = 0,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the momentum of private gradients, without blowing up one that is mostly noise.

    For hidden matrices only, after `transforms.private_mean`, which stands before the partition and makes it private;
    this is post-processing.

    .. math::
        M_t = \mu M_{t-1} + G_t, \qquad Y_0 = M_t / \max(1, \|M_t\|_F), \qquad
        Y_j = p_\kappa(Y_{j-1} Y_{j-1}^T) Y_{j-1}, \qquad W_t = W_{t-1} - \eta_t (Y_q + \lambda W_{t-1})

    With ``noise_deviation`` (DP-MuonBC, OUR READING) what the noise in M adds to Y on average is taken off:
    `linalg.HeatCorrected`.

    Args:
        learning_rate: the size of an update in spectral norm, once the momentum is longer than 1.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        kappa: terms of the polynomial, one for the cubic and two for the quintic.
        steps: q, how often it is applied.
        noise_deviation: of the noise in an entry of a gradient, from `transforms.noise_deviations`; None: no
            correction.
        probes: of the correction; each costs two orthogonalisations.
        seed: of the correction's random signs; no secret.

    Differs from the paper in defaults, of which none was seen; the bias correction is read out of an abstract.

    References:
        Kim and Fan, DP-Muon, arXiv 2605.12994.

    Example:
        >>> import optax, optax_muon as om
        >>> private = om.transforms.private_mean(clip=1.0, noise_multiplier=1.1, seed=7)
        >>> tx = optax.chain(private, om.for_matrices(om.dp_muon(0.02), otherwise=optax.adam(1e-3)))
    """
    transforms.require_fraction("dp_muon: momentum", momentum)
    require_whole("dp_muon: probes", probes)
    on = Stages(leaves, placement, state_dtype)
    iterate = linalg.NewtonSchulz(linalg.taylor_coefficients(kappa, steps))
    op = iterate if noise_deviation is None else linalg.HeatCorrected(iterate, noise_deviation, momentum, probes)
    return optax.chain(
        on.heavy_ball(momentum, nesterov=False),
        on.bind(transforms.apply_to_matrices)(op, seed=seed),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
