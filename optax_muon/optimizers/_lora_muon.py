"""LoRA-Muon."""

from typing import Any

import optax

from optax_muon import transforms
from optax_muon._numbers import require_finite_positive
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._pairs import Pairs


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="ema -> in_partner_metric(orthogonalize) -> unpaired(decay) -> learning rate -> decay_product",
    learning_rate=0.1,
    couples=True,
)
def lora_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    pairs: Pairs | None = None,
    adapter_scale: Number = 1.0,
    floor: Number = 1e-8,
    balance_every: int = 0,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Move the product of an adapter's two factors by a spectral step, however it is shared out between them.

    For fine-tuning by low-rank adapters, and for layers that are trained as products. The learning rate is that of the
    product: it carries over between ranks, and between adapters that start with other sizes of their factors.

    .. math::
        W &= A B, \qquad M_t = \mu M_{t-1} + (1 - \mu) G_t \ \text{(both factors)}, \qquad
        R_A = (A^T A)^{-1/2}, \quad R_B = (B B^T)^{-1/2} \\
        D_A &= -\tfrac{\eta_t}{2 \alpha} \operatorname{orth}(M_A R_B) R_B, \qquad
        D_B = -\tfrac{\eta_t}{2 \alpha} R_A \operatorname{orth}(R_A M_B) \\
        A &\leftarrow s A + D_A / s, \qquad B \leftarrow s B + D_B / s, \qquad s = \sqrt{1 - \eta_t \lambda}

    Args:
        learning_rate: how far the product moves in spectral norm, half by each factor.
        pairs: path of the factor that the data enters -> path of the other, a mapping or a tree, or a callable that
            makes one from the parameters; None: by names, ``lora_a`` and ``lora_b``, ``lora_down`` and ``lora_up``.
        adapter_scale: alpha, by which the model multiplies the product.
        floor: the eigenvalue of a Gram matrix below which nothing is divided by it, in squared units of the weights,
            as for `transforms.in_partner_metric`.
        balance_every: of how many updates every last one brings the factors to one norm (`transforms.balance_pairs`);
            0 for none.
        weight_decay: lambda, of the product, multiplied by the learning rate; of the weights where a matrix has no
            partner. A number, a schedule of it by the step from zero, or a transformation, which sees the factors.

    A matrix without a partner takes a step of Muon without a shape scale. An adapter whose B is zero moves it alone at
    first; then A's step is as large as A, since each half moves the product alike: warm the learning rate up.

    Differs from the paper in the inverse root, which is exact above the floor and not a polynomial's, and in the
    table, here Polar Express with five steps.

    References:
        LoRA-Muon, arXiv 2606.12921.
    """
    transforms.require_fraction("lora_muon: momentum", momentum)
    require_finite_positive("lora_muon", adapter_scale=adapter_scale)
    on = Stages(leaves, placement, state_dtype)
    own = isinstance(weight_decay, optax.GradientTransformation)
    decay = decayed_weights(weight_decay)
    tx = optax.chain(
        on.ema(momentum),
        on.bind(transforms.in_partner_metric)(
            on.apply(orthogonalizer or best()), pairs, floor=floor, split=0.5 / adapter_scale
        ),
        decay if own else on.bind(transforms.unpaired)(decay, pairs),
        optax.scale_by_learning_rate(learning_rate),
        *(() if own else [on.bind(transforms.decay_product)(_times(weight_decay, learning_rate), pairs)]),
    )
    return on.bind(transforms.balance_pairs)(tx, pairs, period=balance_every) if balance_every else tx


def _times(a: Any, b: Any) -> optax.ScalarOrSchedule:
    """Multiply two numbers or schedules."""

    def at(x: Any, count: Any) -> Any:
        """Return the number at a step."""
        return x(count) if callable(x) else x

    return (lambda count: at(a, count) * at(b, count)) if callable(a) or callable(b) else a * b
