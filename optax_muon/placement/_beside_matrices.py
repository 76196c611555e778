"""What a map over a mesh takes beside the matrices: how carries and keys are cut, and how arrays reach their specs."""

from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import PyTree

from optax_muon.matrices._cut_state import cut_spec, has_explicit, known_axes
from optax_muon.placement._placement import Work
from optax_muon.placement._sharding import Layout, axes_of_type, sizes_of


def cuts_of(work: Work, layout: Layout) -> tuple[PyTree, PyTree]:
    """Say how carries and keys are cut: by their types on an Explicit mesh, as `Lift` makes them on an Auto one."""
    mesh = layout.mesh

    def of_type(x: Any) -> PartitionSpec:
        """Take the cut along one axis that a type names; there is no other."""
        sharding = jax.typeof(x).sharding
        known = sharding.mesh.axis_names == mesh.axis_names and sum(entry is not None for entry in sharding.spec) == 1
        return sharding.spec if known else PartitionSpec()

    def as_made(x: Any) -> PartitionSpec:
        """Cut as the parameter is, but for what the caller's own map has whole on every device."""
        spec = None if layout.inside else layout.spec
        return PartitionSpec() if spec is None else cut_spec(x.shape, spec, work.array.shape, sizes_of(mesh))

    carries = jax.tree.map(of_type if has_explicit(mesh) else as_made, work.carries)
    return carries, jax.tree.map(of_type, work.keys)


def resharded(x: Any, spec: PartitionSpec | None, mesh: Any) -> Any:
    """Reshard an array over Explicit axes, where `jax.shard_map` takes only what its spec says."""
    if axes_of_type(jax.typeof(x).sharding.mesh, AxisType.Explicit, longer_than=0):
        known = PartitionSpec() if spec is None else known_axes(spec, mesh)
        return jax.sharding.reshard(x, jax.sharding.NamedSharding(mesh, known))
    return x
