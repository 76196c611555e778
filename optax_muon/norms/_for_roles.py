"""A norm for every role, and the oracles of such a choice."""

from collections.abc import Mapping
from typing import Any

from optax_muon.linalg import SpectralMap
from optax_muon.norms._entrywise import Max
from optax_muon.norms._norm import Norm
from optax_muon.norms._oracle import Oracle
from optax_muon.norms._scaled import RMS, Embed, FanPower, Linear, Scaled


def for_roles(orthogonalizer: SpectralMap | None = None) -> dict[str, Norm]:
    """Return Scion's norm of every role.

    Use it as the starting point of a choice of your own: it is a plain dictionary. Hidden matrices and routers map RMS
    to RMS (`Linear`), embeddings l1 to RMS (`Embed`), heads bound the largest entry times the fan-in (normalised Sign),
    vectors their root mean square.

    Args:
        orthogonalizer: of the hidden matrices and routers; default that of `Spectral`.

    References:
        Pethick et al., Scion, arXiv 2502.07529, github.com/LIONS-EPFL/scion.
    """
    linear = Linear() if orthogonalizer is None else Linear(orthogonalizer)
    # Scion's "normalized" Sign divides by the fan-in: logits then move alike at every width.
    head = Scaled(Max(), FanPower(reduction=-1))
    # Routers are our choice, Scion's code has none: to the norm they are dense layers.
    return {"hidden": linear, "embedding": Embed(), "head": head, "router": linear, "vector": RMS()}


def oracles(norms: Mapping[str, Norm], radii: Mapping[str, Any] | Any = 1.0) -> dict[str, Oracle]:
    """Pair norms with radii.

    Args:
        norms: role or path glob -> norm.
        radii: a number or `Radius` for all, or one by key of ``norms``, 1 where none is given.

    Raises:
        ValueError: for a radius without a norm, or one that is not positive.
    """
    if not isinstance(radii, Mapping):
        return {key: Oracle(norm, radii) for key, norm in norms.items()}
    # A misspelt role would otherwise train at radius 1 in silence.
    lost = [key for key in radii if key not in norms]
    if lost:
        raise ValueError(f"radii: no norm for {lost[0]!r} among {', '.join(map(repr, norms))}")
    return {key: Oracle(norm, radii.get(key, 1.0)) for key, norm in norms.items()}
