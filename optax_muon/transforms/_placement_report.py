"""What an update of a tree will cost on a mesh."""

from jaxtyping import PyTree

from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._by_name import Rules
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import Leaves, findings
from optax_muon.placement._on_shards import OnShards
from optax_muon.placement._over_mesh import OverMesh
from optax_muon.placement._placement import Work
from optax_muon.placement._report import PlacementReport, report


def placement_report(
    params: PyTree,
    op: SpectralMap | MatrixOp | None = None,
    placement: OverMesh | OnShards | None = None,
    leaves: Leaves | None = None,
    rules: Rules = (),
    *,
    strict: bool | None = None,
) -> PlacementReport:
    """Plan one update over a mesh and say what it costs; nothing is computed.

    Args:
        params: arrays, or `jax.ShapeDtypeStruct`s with shardings; or without, where ``placement`` has mesh and specs.
            An abstract mesh will do, so a plan for a thousand devices can be read on a laptop.
        op: the map; default `linalg.best()`.
        placement: as for the optimizer.
        leaves: as for `for_matrices`; matrices only are planned.
        rules: as for `for_matrices`.
        strict: as for `for_matrices`.

    Raises:
        ValueError: where shardings are not known; for a rule or leaf that matches nothing.

    Example:
        >>> import jax, jax.numpy as jnp, optax_muon as om
        >>> mesh = jax.sharding.AbstractMesh((8,), ("fsdp",))
        >>> spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
        >>> kernel = jax.ShapeDtypeStruct((64, 256), jnp.float32, sharding=spec)
        >>> params = {str(i): {"up": {"kernel": kernel}} for i in range(8)}
        >>> report = om.placement_report(params, om.linalg.NewtonSchulz())
        >>> report.flops == report.plain / 8, report.nbytes == report.bound
        (True, True)
    """
    placement = placement or OverMesh()
    arrays = by_path(params)
    found = findings(params, leaves, rules, strict=strict is not False)
    hidden = {path: entry.leaf for path, entry in found.items() if entry.leaf.role == "hidden"}
    return report(op or best(), placement, [Work(arrays[path], leaf, path=path) for path, leaf in hidden.items()])
