"""The placement that leaves every block where it is."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array

from optax_muon.linalg._map_stack import Op
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._shard_view import vary, varying_axes
from optax_muon.placement._beside_matrices import resharded
from optax_muon.placement._local import Local
from optax_muon.placement._placement import Done, Placement, Work
from optax_muon.placement._sharding import Layout, find_layout


@dataclasses.dataclass(frozen=True)
class OnShards(Placement):
    """Compute on the block of every matrix that the device holds, as if it were a matrix of its own; nothing is sent.

    The one placement on which the result depends: four blocks side by side are orthogonalised one by one, and together
    have a spectral norm of up to 2. Use it for steps between those on whole matrices, as `muon_bp` does. Named
    optimizers whose rule is one of whole matrices raise when they are given it. Matrices that are not sharded, or over
    batch axes alone, are whole, and so is everything without a mesh.

    A parameter of several matrices side by side (`Leaf.split`) whose cut side is sharded is one block on each device,
    whichever matrices that has parts of.

    Args:
        mesh: for code without an ambient mesh; a mesh in an array's type comes first.

    Raises:
        ValueError: from ``run``, under `jax.jit` on an Auto mesh where a leaf has no spec: nothing tells its blocks.
        TypeError: from ``run``, for an operation with a state, which belongs to whole matrices.

    Example:
        >>> import optax_muon as om
        >>> blocks = om.transforms.apply_to_matrices(om.linalg.best(), placement=om.OnShards())
    """

    mesh: Any = None

    def run(self, op: Op, works: Sequence[Work]) -> list[Done]:
        """Map every block."""
        for work in works:
            if jax.tree.leaves(work.carries) or work.keys is not None:
                raise TypeError(
                    f"OnShards: {type(op).__name__} keeps a state or draws random numbers for every whole matrix, and "
                    "blocks have none; give it om.OverMesh()"
                )
        layouts = [self.layout(work) for work in works]
        done: dict[int, Done] = {}
        groups: dict[Any, list[int]] = {}
        for i, layout in enumerate(layouts):
            groups.setdefault((layout.mesh, layout.inside), []).append(i)
        for (mesh, inside), members in groups.items():
            some, where = [works[i] for i in members], [layouts[i] for i in members]
            if mesh is None or (inside and where[0].is_manual):
                made = Local().run(op, _blocks(some, where))
            else:
                made = _mapped(op, some, where)
            done.update(zip(members, made, strict=True))
        return [done[i] for i in range(len(works))]

    def layout(self, work: Work) -> Layout:
        """Find how one array is sharded.

        Raises:
            ValueError: naming an array of which nothing tells it.
        """
        layout = find_layout(work.array, work.leaf, work.path, self.mesh)
        if layout.mesh is not None and layout.dims is None:
            raise ValueError(
                f"{work.path}: under jax.jit on an Auto mesh nothing tells how it is sharded, and OnShards computes on "
                "its blocks; give Leaf(..., spec=PartitionSpec(...)), or use an Explicit mesh"
            )
        return layout


def block_leaf(leaf: Leaf, layout: Layout) -> Leaf:
    """Give the axes of one device's block, which has no spec, and no split where that is sharded."""
    split = leaf.split
    if split is not None and layout.dims is not None:
        side = leaf.output if split.side == "output" else leaf.reduction
        split = None if any(layout.dims[axis] for axis in side) else split
    return dataclasses.replace(leaf, split=split, spec=None)


def _blocks(works: Sequence[Work], layouts: Sequence[Layout]) -> list[Work]:
    return [work._replace(leaf=block_leaf(work.leaf, layout)) for work, layout in zip(works, layouts, strict=True)]


def _mapped(op: Op, works: Sequence[Work], layouts: Sequence[Layout]) -> list[Done]:
    """Map the blocks of arrays of one mesh, in a `jax.shard_map` that sends nothing."""
    mesh, blocks = layouts[0].mesh, _blocks(works, layouts)
    specs = [PartitionSpec() if layout.spec is None else layout.spec for layout in layouts]

    def body(arrays: list[Array], others: list[dict[str, Array]]) -> list[Array]:
        """Map one device's blocks."""
        local = [w._replace(array=x, others=more) for w, x, more in zip(blocks, arrays, others, strict=True)]
        return [x.array for x in Local().run(op, local)]

    # An Explicit mesh wants arrays to be sharded as the specs say, which is how they are.
    arrays = [resharded(w.array, spec, mesh) for w, spec in zip(works, specs, strict=True)]
    others = [
        {name: resharded(x, spec, mesh) for name, x in w.others.items()} for w, spec in zip(works, specs, strict=True)
    ]
    beside = [dict.fromkeys(w.others, spec) for w, spec in zip(works, specs, strict=True)]
    mapped = jax.shard_map(
        body, mesh=mesh, in_specs=(specs, beside), out_specs=specs, axis_names=set(layouts[0].axes), check_vma=False
    )
    made = mapped(arrays, others)
    return [Done(vary(x, varying_axes(w.array)), w.carries, ()) for x, w in zip(made, works, strict=True)]
