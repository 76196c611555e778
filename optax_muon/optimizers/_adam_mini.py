"""Adam-mini."""

from collections.abc import Mapping

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.transforms._block_rms import BLOCKS, Block


@card(
    kind="any",
    confidence="PARTIAL",
    state=StateSize(1, "outputs", note="an embedding keeps 1 per row, a vector 1 per entry"),
    chain="with_gradients(ema -> divide_by_block_rms) -> decay -> learning rate",
    learning_rate=3e-4,
    in_place=True,
)
def adam_mini(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.9,
    second_moment_decay: Number = 0.95,
    eps: float = 1e-8,
    blocks: Mapping[str, Block] = BLOCKS,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Adam with one second moment for every output, every token and every head.

    For every leaf: alone, or beside a matrix optimizer as ``otherwise`` of `for_matrices`, where it saves AdamW's
    second state for embeddings and head.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad
        v_t = \beta v_{t-1} + (1 - \beta) \operatorname{mean}_{\text{block}} G_t^2 \\
        W_t &= W_{t-1} - \eta_t \left( \frac{M_t / (1 - \mu^t)}{\sqrt{v_t / (1 - \beta^t)} + \epsilon}
        + \lambda W_{t-1} \right)

    Args:
        learning_rate: AdamW's own.
        momentum: Adam's first decay rate, in [0, 1).
        second_moment_decay: Adam's second, in [0, 1).
        eps: Adam's.
        blocks: role or path glob -> what a block is, see `transforms.divide_by_block_rms`. Queries and keys whose heads
            are matrices of their own, by a batch axis or a split, have one per head by ``{"*query*": "both", "*key*":
            "both"}`` over `transforms.BLOCKS`.
        placement: unused, there being no matrix work to place; taken so that optimizers can be exchanged.
        state_dtype: of the first moment.

    Differs from the authors' code that was read, an early version: that has one block for every other whole tensor, and
    plain Adam for embeddings and head. Blocks by output and by token are the paper's partition of Transformers, as we
    know it; vectors, which it takes whole, have one per entry here.

    References:
        Zhang et al., Adam-mini, arXiv 2406.16793; github.com/zyushun/Adam-mini.
    """
    del placement
    transforms.require_fraction("adam_mini: momentum", momentum)
    on = Stages(leaves, None, state_dtype)
    average = optax.ema(momentum, debias=True, accumulator_dtype=state_dtype)
    divided = on.bind(transforms.divide_by_block_rms)(second_moment_decay, blocks, eps=eps)
    return optax.chain(
        transforms.with_gradients(optax.chain(average, divided)),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
