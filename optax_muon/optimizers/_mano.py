"""Mano."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="heavy_ball -> alternate(tangent_to_weights -> equilibrate) -> scale_to_rms -> decay -> learning rate",
    learning_rate=1e-3,
    in_place=True,
)
def mano(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.95,
    nesterov: bool = False,
    rms: float = 0.2,
    weight_decay: WeightDecay = 0.1,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Turn the weights of every input and those of every output by turns, without an orthogonaliser.

    For hidden matrices only, at AdamW's cost. At even steps the vectors are those of inputs, along the outputs; at odd
    ones those of outputs.

    .. math::
        M_t &= \mu M_{t-1} + G_t, \qquad w = W_k / \|W_k\|, \qquad d_k = M_k - \langle M_k, w \rangle w \\
        W_t &= W_{t-1} - \eta_t \left( r \sqrt{n} \, d_k / \|d_k\| + \lambda W_{t-1} \right) \quad
        \text{for every vector } k \text{, of length } n

    Args:
        learning_rate: an entry's step over 0.2, as AdamW's.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        rms: r, of an update's entries before the learning rate.
        placement: unused, there being no matrix work to place; taken so that optimizers can be exchanged.

    Differs from the authors' code where a vector of the update is zero: the others are then longer, so that the
    matrix has its RMS. A port that counts steps once per parameter takes the wrong turns.

    References:
        Mano, arXiv 2601.23000; github.com/xie-lab-ml/Mano-Restriking-Manifold-Optimization-for-LLM-Training.
    """
    transforms.require_fraction("mano: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    inputs, outputs = (
        optax.chain(on.bind(transforms.tangent_to_weights)(side), on.bind(transforms.equilibrate)(side))
        for side in ("reduction", "output")
    )
    return optax.chain(
        on.heavy_ball(momentum, nesterov=nesterov),
        transforms.alternate(2, inputs, otherwise=outputs),
        on.bind(transforms.scale_to_rms)(rms),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
