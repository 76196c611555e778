"""SoftMuon."""

import jax
import optax

from optax_muon import shapes, transforms
from optax_muon._numbers import require_share
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import Ridge, SpectralMap, Spectrum, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="only_matrices -> tempered(nesterov_ema) -> scale_by_shape -> decay -> learning rate",
    static=("hard_fraction",),
    defaults={"steps": 60},
    couples=True,
)
def soft_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    steps: int,
    hard_fraction: float = 0.9,
    orthogonalizer: SpectralMap | None = None,
    ridge: SpectralMap | None = None,
    momentum: Number = 0.95,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    maximum_temperature: float = 1e9,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon, and near the end of training let small singular directions step less.

    For hidden matrices only. The temperature follows from two medians over all singular values of the gradients at
    the switch, so every matrix given to one optimizer shares it; see `transforms.tempered`.

    .. math::
        N_t &= \text{EMA with Nesterov} = U S V^T \\
        W_t &= W_{t-1} - \eta_t (c(\text{shape}) \operatorname{orth}(N_t) + \lambda W_{t-1}) \quad (t \le \alpha N) \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, U \operatorname{diag} \frac{\tau_t s}{\sqrt{1 + (\tau_t s)^2}}
        V^T + \lambda W_{t-1} \right) \quad \text{(after)}

    Args:
        learning_rate: the size of a hard update in spectral norm, before the shape scale.
        steps: N, of the whole training.
        hard_fraction: alpha, the share of it that is Muon; 1 is Muon throughout.
        orthogonalizer: of the hard steps; default `best()`.
        ridge: the map with which `linalg.Ridge` works in the soft steps; None decomposes.
        maximum_temperature: cap of tau, in reciprocal units of the gradient.

    Differs from the authors' code: the ridge by their five coupled Newton-Schulz steps errs by up to 9 %; here it is
    exact, or by the orthogonalizer.

    References:
        Feoktistov et al., Softsign, arXiv 2605.31371; github.com/brain-lab-research/softsign.
    """
    transforms.require_fraction("soft_muon: momentum", momentum)
    require_share("soft_muon: hard_fraction", hard_fraction)
    on = Stages(leaves, placement, state_dtype)
    hard = on.lift(orthogonalizer or best())
    spectrum = on.lift(Spectrum())
    empty = optax.EmptyState()

    def singular_values(gradients, average):
        del average
        done = spectrum.apply(gradients, spectrum.init(gradients))[2]
        return jax.tree.leaves({path: result.carries for path, result in done.items()})

    level = 1 - 1e-4
    return optax.chain(
        _only_matrices(hard),
        transforms.tempered(
            on.ema(momentum, nesterov=True),
            hard=lambda m: hard.apply(m, empty)[0],
            soft=lambda m, tau: on.lift(Ridge(tau, ridge)).apply(m, empty)[0],
            measure=singular_values,
            steps=steps,
            hard_steps=int(hard_fraction * steps),
            saturation=level / (1 - level**2) ** 0.5,
            maximum=maximum_temperature,
        ),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def _only_matrices(lift: transforms.Lift) -> optax.GradientTransformation:
    """Raise at ``init``, not at the first step, for a leaf that is no matrix."""
    return optax.GradientTransformation(lift.init, lambda updates, state, params=None: (updates, state))
