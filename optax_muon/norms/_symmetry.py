"""Rules for layers that are symmetric under a permutation of items on one side and rotations on the other."""

from typing import Literal

from optax_muon.linalg import Composed, SpectralMap
from optax_muon.linalg._center import Center
from optax_muon.norms._entrywise import AxisNorm
from optax_muon.norms._oracle import Oracle
from optax_muon.norms._radius import DualPower
from optax_muon.norms._spectral import Spectral


def equivariant(
    items: Literal["reduction", "output"],
    rule: Literal["normalized", "spectral", "normalized_then_spectral", "spectral_then_normalized"] = "normalized",
    *,
    centered: bool = False,
    power: float = 1.0,
    orthogonalizer: SpectralMap | None = None,
) -> Composed:
    r"""Make an operation that commutes with permuting items and with rotating their vectors.

    Use it for embeddings, heads, routers and gated layers in `transforms.apply_by_role`. Items are a head's vocabulary,
    a router's experts or the neurons of a gated layer's gate and up (``"output"``), an embedding's tokens or the
    neurons that a down projection reads (``"reduction"``).

    .. math::
        \text{normalized: } D_i = X_i / \|X_i\|_2 \text{ for every item i}; \qquad
        \text{spectral: } D = \langle X, \operatorname{orth}(X) \rangle^\alpha \operatorname{orth}(X)

    Args:
        items: the axis that counts them.
        rule: one of the two, or both in the order named; behind a normalisation the power has no effect.
        centered: take out what is common to all items before, between and after, for a softmax that ignores it.
        power: alpha; 1 steps by the nuclear norm (PolarGrad), 0 as Muon.
        orthogonalizer: of the spectral rule; default that of `Spectral`.

    Raises:
        ValueError: for an unknown axis or rule.

    References:
        Lau and Su, arXiv 2605.18106, github.com/timlautk/equivariant_optimizers.
    """
    # Made even where it is not used, for its error on a wrong axis.
    center = Center(items)
    spectral = Spectral() if orthogonalizer is None else Spectral(orthogonalizer)
    steps = {
        "normalized": Oracle(AxisNorm("output" if items == "reduction" else "reduction")),
        "spectral": Oracle(spectral, DualPower(power)),
    }
    names = rule.split("_then_")
    if not set(names) <= set(steps) or len(set(names)) < len(names):
        raise ValueError(f"equivariant: unknown rule {rule!r}")
    ops = [steps[name] for name in names]
    if centered:
        # Neither rule keeps a zero mean, hence again after each.
        ops = [center, *(op for step in ops for op in (step, center))]
    return Composed(*ops)
