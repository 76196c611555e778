"""Riemannion."""

from typing import Any, Literal

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
    confidence="PARTIAL",
    state=StateSize(1),
    chain="paired(step_at_fixed_rank) -> unpaired(heavy_ball -> orthogonalize -> decay -> learning rate)",
    learning_rate=0.01,
    couples=True,
)
def riemannion(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.9,
    keeps: Literal["momentum", "direction"] = "momentum",
    pairs: Pairs | None = None,
    adapter_scale: Number = 1.0,
    floor: Number = 1e-8,
    weight_decay: WeightDecay = 0.0,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon on the manifold of matrices of one rank, of which an adapter's product is one.

    For adapters, where the product is to move as one matrix and not by halves: the step is a tangent vector with equal
    singular values, and a decomposition of twice the rank brings it back. Both factors move from the first step on,
    also from an adapter whose B is zero.

    .. math::
        X &= A B = L \Sigma R, \qquad D = (I - L L^T) G_A (B B^T)^{-1/2} R + L (A^T A)^{-1/2} G_B \\
        M_t &= \mu \operatorname{project}(M_{t-1}) + D, \qquad
        \Xi = \operatorname{project}(\operatorname{orth}(M_t)), \qquad
        A B \leftarrow \operatorname{truncate}_r\big( (1 - \eta_t \lambda) X - \tfrac{\eta_t}{\alpha} \Xi \big)

    Args:
        learning_rate: how far the product moves in spectral norm.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        keeps: ``"momentum"`` carries M to the next step, as Muon does; ``"direction"`` carries Xi.
        pairs: path of the factor that the data enters -> path of the other, as for `lora_muon`.
        adapter_scale: alpha, by which the model multiplies the product.
        floor: the eigenvalue of a Gram matrix below which nothing is divided by it, in squared units of the weights.
        weight_decay: lambda, multiplied by the learning rate, of the product and of matrices without a partner: a
            number or a schedule of it. A transformation serves the latter alone.
        orthogonalizer: of matrices without a partner, a map of `optax_muon.linalg`; default `best()`. That of a product
            is exact.

    A matrix without a partner takes the step of Muon with a heavy ball, which is what this is at full rank. The new
    factors are those nearest to the old ones: nothing that changes updates may follow.

    Differs from the published algorithm in the retraction, whose printed form loses the present point, and in needing
    no adapter of twice the rank: factor gradients are divided by the partner's root. What a port of it carries along is
    the direction. Its initialization from a gradient is not here.

    References:
        Bogachev et al., LoRA meets Riemannion, arXiv 2507.12142.
    """
    transforms.require_fraction("riemannion: momentum", momentum)
    require_finite_positive("riemannion", adapter_scale=adapter_scale)
    if keeps not in ("momentum", "direction"):
        raise ValueError(f"riemannion: keeps must be 'momentum' or 'direction', not {keeps!r}")
    own = isinstance(weight_decay, optax.GradientTransformation)
    on = Stages(leaves, placement, state_dtype)
    product = on.bind(transforms.step_at_fixed_rank)(
        _times(1 / adapter_scale, learning_rate),
        momentum,
        weight_decay=0.0 if own else _times(adapter_scale, weight_decay),
        keeps=keeps,
        floor=floor,
        pairs=pairs,
    )
    alone = optax.chain(
        on.heavy_ball(momentum, nesterov=False),
        on.apply(orthogonalizer or best()),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    return optax.chain(on.bind(transforms.paired)(product, pairs), on.bind(transforms.unpaired)(alone, pairs))


def _times(factor: Number, x: Any) -> optax.ScalarOrSchedule:
    """Multiply a number or a schedule."""

    def at(count: Any) -> Any:
        """Return the number at a step."""
        return factor * x(count)

    return at if callable(x) else factor * x
