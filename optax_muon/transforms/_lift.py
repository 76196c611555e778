"""From a map on matrices to a transformation of a parameter tree: the only tree <-> matrix code."""

import dataclasses
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.linalg import FLOAT32, MatrixOp, MessageOp, SpectralMap
from optax_muon.matrices._cut_state import cut_like
from optax_muon.matrices._leaf import Leaf, Role, matrix_shapes, restore
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.matrices._shard_view import shard_view, vary, varying_axes, whole_shape
from optax_muon.placement._over_mesh import OverMesh
from optax_muon.placement._placement import Done, Placement, Work


class LiftState(NamedTuple):
    """State of a lifted operation.

    Attributes:
        count: updates so far, int32 scalar; random keys follow from it.
        carries: path -> the operation's state, one entry per stack of the parameter.
    """

    count: Any
    carries: PyTree


@dataclasses.dataclass(frozen=True)
class Lift:
    """A map or operation on matrices, lifted to trees.

    Transforms whose rule couples matrices use it directly, for the duals; others use `apply_to_matrices`.

    Args:
        op: a `SpectralMap` or `MatrixOp`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the work runs; None: `OverMesh`, which is the local device where there is no mesh.
        roles: roles it accepts; any other leaf is an error.
        seed: of the random keys, for an operation that needs them.
    """

    op: SpectralMap | MatrixOp
    leaves: Leaves | None = None
    placement: Placement | None = None
    roles: tuple[Role, ...] = ("hidden",)
    seed: int | Array = 0

    def init(self, params: PyTree) -> optax.EmptyState | LiftState:
        """Make the state; empty for a `SpectralMap`."""
        table = self.resolve(params)
        if isinstance(self.op, SpectralMap):
            return optax.EmptyState()
        op, arrays = self.op, by_path(params)
        for path in table:
            if op.real_only and jnp.issubdtype(arrays[path].dtype, jnp.complexfloating):
                raise TypeError(
                    f"{path}: {type(op).__name__} takes real matrices, not {arrays[path].dtype}; give it real and "
                    "imaginary parts, or another optimizer by a rule"
                )
        carries = {path: self._carries(arrays[path], leaf) for path, leaf in table.items()}
        # Without parameters one leaf stands for the state: `optax.tree.map_params`, which asks with an empty tree to
        # see where parameters are, then takes the dict for one thing that is none, whatever it holds.
        return LiftState(jnp.zeros([], jnp.int32), carries if arrays else jnp.zeros([], jnp.int32))

    def apply(self, updates: PyTree, state: Any, **others: PyTree) -> tuple[PyTree, Any, dict[str, Done]]:
        """Map every update; also give, by path, what the operation learned (`Done.infos`).

        ``others`` are trees like ``updates``, whose matrices the operation takes by these names beside its own.

        Raises:
            ValueError: naming a path at which one of them has no array of the update's shape.
        """
        table, arrays = self.resolve(updates), by_path(updates)
        beside = {name: by_path(tree) for name, tree in others.items()}
        carries = state.carries if isinstance(state, LiftState) else {}
        works = [
            Work(
                arrays[path],
                leaf,
                carries.get(path, ()) if table else (),
                self._keys(path, arrays[path], leaf, state),
                {name: _beside(name, tree, path, arrays[path]) for name, tree in beside.items()},
                path,
            )
            for path, leaf in table.items()
        ]
        placement = OverMesh() if self.placement is None else self.placement
        done = dict(zip(table, placement.run(self.op, works), strict=True))
        updates = map_by_path(lambda path, _, result: result.array, updates, done)
        if isinstance(state, LiftState) and table:
            state = LiftState(optax.safe_increment(state.count), {path: x.carries for path, x in done.items()})
        return updates, state, done

    def resolve(self, tree: PyTree) -> dict[str, Leaf]:
        """Leaf of every array, by path.

        Raises:
            ValueError: naming a leaf that is no matrix of an accepted role, and the cure.
        """
        return accepted(tree, self.leaves, self.roles)

    def used(self, tree: PyTree, done: dict[str, Done]) -> PyTree:
        """Give the part of every matrix that an operation of low rank used, ``a b^T`` of `Info.factors`, like ``tree``.

        It is made where the parameter is sharded.
        """
        table = self.resolve(tree)

        def product(path: str, x: Array, result: Done) -> Array:
            """Multiply one parameter's factors."""
            # (m + n) rank floats a matrix: the product itself never travels between devices.
            stacks = [FLOAT32.matmul(a, b.mT) for a, b in (info.factors for info in result.infos)]
            view = shard_view(x.shape, table[path])
            return view.local(restore(stacks, table[path], view.shape))

        return map_by_path(product, tree, done)

    def decoded(self, messages: dict[str, Any], like: PyTree) -> PyTree:
        """Make what `apply` makes of ``like`` from the messages of a `MessageOp`, by path, for each stack of a path."""
        table, op = self.resolve(like), self.op
        assert isinstance(op, MessageOp)

        def made(path: str, x: Array, parts: Any) -> Array:
            """Restore one parameter, or this device's part of it."""
            view = shard_view(x.shape, table[path])
            shapes = matrix_shapes(view.shape, table[path])
            stacks = [op.decode(sent, common, shape) for (sent, common), shape in zip(parts, shapes, strict=True)]
            return view.local(restore(stacks, table[path], view.shape)).astype(x.dtype)

        return map_by_path(made, like, messages)

    def _carries(self, x: Array, leaf: Leaf) -> tuple[PyTree, ...]:
        """Make the states of one parameter's matrices, those of all of them wherever they are."""
        assert isinstance(self.op, MatrixOp)
        view = shard_view(x.shape, leaf)
        made = tuple(self.op.init(shape, x.dtype) for shape in matrix_shapes(view.shape, leaf))
        # Where devices hold matrices of their own, each has states of its own.
        if view.sizes:
            return vary(made, varying_axes(x) - set(view.axes(range(x.ndim))))
        return cut_like(made, x, leaf.spec)

    def _keys(self, path: str, array: Array, leaf: Leaf, state: Any) -> tuple[Array, ...] | None:
        """Draw one key per matrix, an array for each stack; None for an operation that needs none."""
        if isinstance(self.op, SpectralMap) or not self.op.needs_key:
            return None
        # The path's own hash, so that neither the order of a bucket nor its members change a matrix's key.
        key = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(path.encode()))
        key = jax.random.fold_in(key, state.count)
        shapes = matrix_shapes(whole_shape(array.shape, leaf), leaf)
        return tuple(jax.random.split(jax.random.fold_in(key, i), shape[0]) for i, shape in enumerate(shapes))


def _beside(name: str, tree: dict[str, Array], path: str, array: Array) -> Array:
    """Return what stands beside one update, which must have its shape."""
    if path not in tree or tree[path].shape != array.shape:
        there = f"shape {tree[path].shape}" if path in tree else "nothing"
        raise ValueError(f"{path}: {name} has {there} where the updates have shape {array.shape}")
    return tree[path]


def apply_to_matrices(
    op: SpectralMap | MatrixOp,
    *,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    seed: int | Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Apply a map to every matrix of the updates.

    Equal shapes of any leaves are computed together, transposes too where the map allows it; stacked layers, experts,
    heads and splits are separate matrices.

    Args:
        op: any `optax_muon.linalg` map.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh`, which is the local device where there is no mesh.
        seed: of the random keys, for maps that need them.

    State: none for a `SpectralMap`; a `MatrixOp`'s own otherwise.

    Raises:
        ValueError: naming a leaf that is not a hidden matrix.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> tx = om.transforms.apply_to_matrices(om.linalg.SVDPolar())
        >>> grads = {"up": {"kernel": jnp.diag(jnp.array([3.0, -2.0]))}}
        >>> tx.update(grads, tx.init(grads))[0]["up"]["kernel"].diagonal().round(3).tolist()
        [1.0, -1.0]
    """
    return transformation(Lift(op, leaves, placement, seed=seed))


def transformation(lift: Lift) -> optax.GradientTransformationExtraArgs:
    """Make the transformation whose updates are what a lifted operation makes of them."""

    def update_fn(updates, state, params=None, **extra_args):
        """Apply the operation to every leaf."""
        del params, extra_args
        updates, state, _ = lift.apply(updates, state)
        return updates, state

    return optax.GradientTransformationExtraArgs(lift.init, update_fn)
