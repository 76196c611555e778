"""The hidden matrices of a tree, numbered, so that one compiled loop visits all of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from optax_muon.matrices._by_name import Rules
from optax_muon.matrices._leaf import Leaf, as_matrices, matrix_shapes, restore
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, findings


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Where the hidden matrices of a tree are.

    Attributes:
        leaves: path -> leaf of every parameter that holds hidden matrices.
        shapes: path -> shapes (count, reduction, output) of its stacks.
    """

    leaves: dict[str, Leaf]
    shapes: dict[str, tuple[tuple[int, int, int], ...]]

    @classmethod
    def of(cls, params: PyTree, leaves: Leaves | None = None, rules: Rules = ()) -> "Blocks":
        """Find them.

        Raises:
            UnknownLeafError: naming a parameter that needs a rule.
            ValueError: for a tree without hidden matrices.
        """
        arrays = by_path(params)
        found = {path: entry.leaf for path, entry in findings(params, leaves, rules).items()}
        hidden = {path: leaf for path, leaf in found.items() if leaf.role == "hidden"}
        if not hidden:
            raise ValueError(f"diagnostics: no hidden matrix among {len(found)} parameters ({', '.join(found)})")
        return cls(hidden, {path: matrix_shapes(arrays[path].shape, leaf) for path, leaf in hidden.items()})

    @property
    def count(self) -> int:
        """How many matrices there are."""
        return sum(shape[0] for shapes in self.shapes.values() for shape in shapes)

    def numbers(self, tree: PyTree) -> PyTree:
        """Number every entry by its matrix, -1 outside all of them; a tree like ``tree`` of int32."""
        first, table = 0, {}
        for path, shapes in self.shapes.items():
            stacks = []
            for shape in shapes:
                stacks.append(jnp.broadcast_to(jnp.arange(first, first + shape[0])[:, None, None], shape))
                first += shape[0]
            table[path] = stacks

        def visit(path: str, x: Array) -> Array:
            """Put the stacks' numbers back into the parameter's axes."""
            if path not in table:
                return jnp.full(x.shape, -1)
            return restore(table[path], self.leaves[path], x.shape)

        return map_by_path(visit, tree)

    def map(self, f: Callable[[Array], Array], tree: PyTree) -> PyTree:
        """Map stacks ``(count, reduction, output)``; what is no hidden matrix becomes zero."""

        def visit(path: str, x: Array) -> Array:
            """Map one parameter's stacks."""
            if path not in self.leaves:
                return jnp.zeros_like(x)
            leaf = self.leaves[path]
            return restore([f(stack) for stack in as_matrices(x, leaf)], leaf, x.shape)

        return map_by_path(visit, tree)

    def measure(self, f: Callable[..., Array], *trees: PyTree) -> dict[str, Array]:
        """Return ``f(stack of each tree)``, one number per matrix: path -> array (matrices,)."""
        tables = [by_path(tree) for tree in trees]
        measured = {}
        for path, leaf in self.leaves.items():
            stacks = zip(*(as_matrices(table[path], leaf) for table in tables), strict=True)
            measured[path] = jnp.concatenate([f(*stack) for stack in stacks])
        return measured

    def each(self, f: Callable[[Array], Any]) -> dict[str, Any]:
        """Return ``f(number of the matrix)`` of all matrices, one after the other: path -> stacked results."""
        # A loop, not vmap: Hessian products of all matrices at once would need a parameter tree for each.
        results = jax.lax.map(f, jnp.arange(self.count))
        start, table = 0, {}
        for path, shapes in self.shapes.items():
            stop = start + sum(shape[0] for shape in shapes)
            table[path] = jax.tree.map(lambda x, a=start, b=stop: x[a:b], results)
            start = stop
        return table


def only(tree: PyTree, numbers: PyTree, number: Array) -> PyTree:
    """Keep the entries of one matrix, the traced ``number``, and set all others to zero."""
    # A mask instead of a slice: the number is traced, so one program serves matrices of every shape and parameter.
    return jax.tree.map(lambda x, mine: jnp.where(mine == number, x, jnp.zeros_like(x)), tree, numbers)
