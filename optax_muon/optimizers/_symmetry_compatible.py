"""Symmetry-compatible rules for every kind of layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import optax

from optax_muon import norms, shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap


@card(
    kind="roles",
    confidence="EXACT",
    state=StateSize(1),
    chain="ema -> apply_by_role -> scale_by_role -> decay -> learning rate",
    renamed={"rules": "ops"},
)
def symmetry_compatible(
    learning_rate: optax.ScalarOrSchedule,
    *,
    ops: Mapping[str, SpectralMap | MatrixOp] | None = None,
    rates: Mapping[str, Any] | None = None,
    momentum: Number = 0.95,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Give every layer an update rule with the symmetries of that layer.

    For the whole tree. By default (`symmetry_ops`) hidden matrices get Muon, embeddings a unit step for every
    token, heads and routers the same for every output with what is common to all of them taken out.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad M_0 = 0 \\
        W_t &= (1 - \eta_t \lambda) W_{t-1} - \eta_t r_{\text{role}} D_{\text{role}}(M_t)

    Args:
        learning_rate: eta; of the hidden matrices, about 0.02.
        ops: role or path glob -> operation D, over those of `symmetry_ops`; see `norms.equivariant`.
        rates: r, role or path glob -> a factor on the learning rate, 1 where none is given. The authors' recipes,
            in units of the hidden rate: embedding 25, head 0.25 (dense model); embedding 100, head 1, router 0.15
            (mixture of experts, hidden rate 5e-3).
        weight_decay: lambda, decoupled, multiplied by the learning rate, by no factor of ``rates``.

    Differs from the authors' code: norms have no epsilon and the one-sided inverse root no damping
    (``linalg.Ridge`` as orthogonalizer has it); vectors are normalised to RMS 1; gate and up vectors of a neuron are
    separate items; hidden matrices are averaged without look-ahead; the decay's rate is the hidden one for all.

    References:
        Lau, Su, symmetry-compatible optimizers, arXiv 2605.18106; github.com/timlautk/equivariant_optimizers.

    Example:
        >>> import optax_muon as om
        >>> ops = om.symmetry_ops(neurons_out=["*/gate/kernel", "*/up/kernel"], neurons_in=["*/down/kernel"])
        >>> tx = om.symmetry_compatible(0.02, ops=ops, rates={"embedding": 25.0, "head": 0.25})
    """
    transforms.require_fraction("symmetry_compatible: momentum", momentum)
    chosen = symmetry_ops() | dict(ops or {})
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum),
        on.apply_by_role(chosen),
        on.bind(transforms.scale_by_role)(rates or {}),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def symmetry_ops(
    rule: Any = "normalized",
    *,
    neurons_out: Sequence[str] = (),
    neurons_in: Sequence[str] = (),
    power: float = 1.0,
    orthogonalizer: SpectralMap | None = None,
) -> dict[str, SpectralMap | MatrixOp]:
    """Give the operation of every role, and of gated layers by path.

    Args:
        rule: of everything but hidden matrices and vectors, as `norms.equivariant` names them.
        neurons_out: path globs of kernels whose outputs are neurons (gate, up).
        neurons_in: path globs of kernels that read neurons (down).
        power: of the nuclear norm in spectral rules.
        orthogonalizer: of hidden matrices and spectral rules; default that of `norms.Spectral`.
    """
    spectral = norms.Spectral() if orthogonalizer is None else norms.Spectral(orthogonalizer)
    options = {"power": power, "orthogonalizer": orthogonalizer}
    centered = norms.equivariant("output", rule, centered=True, **options)
    return {
        **{glob: norms.equivariant("output", rule, **options) for glob in neurons_out},
        **{glob: norms.equivariant("reduction", rule, **options) for glob in neurons_in},
        "hidden": norms.Oracle(norms.Scaled(spectral, shapes.Jordan())),
        "embedding": norms.equivariant("reduction", rule, **options),
        "head": centered,
        "router": centered,
        "vector": norms.Oracle(norms.RMS()),
    }
