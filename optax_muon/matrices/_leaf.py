"""What one parameter is to an optimizer, and the way from it to stacks of matrices and back."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array

Role = Literal["hidden", "embedding", "head", "router", "input", "vector", "other", "frozen"]


@dataclasses.dataclass(frozen=True)
class Split:
    """Several matrices that one array holds side by side: fused qkv, gates, groups of a convolution.

    Attributes:
        sizes: lengths of the pieces along the flattened axes of ``side``.
        side: which side of the matrix is cut.
    """

    sizes: tuple[int, ...]
    side: Literal["output", "reduction"] = "output"


@dataclasses.dataclass(frozen=True, init=False)
class Leaf:
    """Role and axes of one parameter.

    Axes that are neither ``reduction`` nor ``output`` are batch axes: scanned layers, experts, heads. Papers write
    weights as (out, in) and Flax stores (in, out); these names say which is which.

    Args:
        role: hidden, embedding, head, router, input or vector; `other` and `frozen` exist for rules.
        reduction: axes summed over in the forward pass (fan-in); an int or a tuple.
        output: axes that the layer produces (fan-out); an int or a tuple.
        split: sizes along the output side that are separate matrices, or a `Split`.
        spec: the parameter's `jax.sharding.PartitionSpec`, which nothing else reveals under jit on an Auto mesh.
        why: what told the role and the axes, for `describe`; no part of the leaf's identity.
        assumed: whether that leaves room for doubt.

    Example:
        >>> import optax_muon as om
        >>> om.Leaf("hidden", reduction=1, output=2)  # a scanned kernel (layers, in, out)
        Leaf(role='hidden', reduction=(1,), output=(2,), split=None, spec=None)
    """

    role: Role
    reduction: tuple[int, ...]
    output: tuple[int, ...]
    split: Split | None
    spec: Any
    why: str = dataclasses.field(compare=False, repr=False)
    assumed: bool = dataclasses.field(compare=False, repr=False)

    def __init__(
        self,
        role: Role,
        reduction: int | Sequence[int] = (),
        output: int | Sequence[int] = (),
        split: Split | Sequence[int] | None = None,
        spec: Any = None,
        *,
        why: str = "given",
        assumed: bool = False,
    ):
        """Check the fields and write them, axes as tuples."""
        if role not in get_args(Role):
            raise ValueError(f"Leaf: role must be one of {', '.join(get_args(Role))}, not {role!r}")
        sides = [(axes,) if isinstance(axes, int) else tuple(axes) for axes in (reduction, output)]
        if set(sides[0]) & set(sides[1]):
            raise ValueError(f"Leaf: an axis stands in reduction {sides[0]} and in output {sides[1]}")
        if role == "hidden" and not all(sides):
            raise ValueError("Leaf: a hidden matrix needs reduction and output axes, e.g. Leaf('hidden', 0, 1)")
        # A Leaf is frozen, and its fields are written once, after everything was checked.
        cut = split if split is None or isinstance(split, Split) else Split(tuple(split))
        fields = {"role": role, "reduction": sides[0], "output": sides[1], "split": cut, "spec": spec}
        for name, value in {**fields, "why": why, "assumed": assumed}.items():
            object.__setattr__(self, name, value)

    def batch(self, ndim: int) -> tuple[int, ...]:
        """Axes of a parameter of rank ``ndim`` that number its matrices."""
        # Axes may be counted from the end; batch axes are given from the front.
        used = {axis % ndim for axis in self.reduction + self.output}
        return tuple(axis for axis in range(ndim) if axis not in used)

    def check(self, path: str, shape: Sequence[int]) -> None:
        """Raise an error that names ``path`` if these axes do not fit ``shape``."""
        ndim = len(shape)
        axes = self.reduction + self.output
        # Counted from both ends, two numbers may still be one axis.
        if any(not -ndim <= axis < ndim for axis in axes) or len({axis % ndim for axis in axes}) < len(axes):
            raise ValueError(
                f"{path}: shape {tuple(shape)} has no distinct axes reduction={self.reduction}, output={self.output}; "
                f"put a rule with axes of this rank first, e.g. rules=[({path!r}, {_of_rank(ndim, self.role)})]"
            )
        if self.split is not None:
            side = self.output if self.split.side == "output" else self.reduction
            length = math.prod(shape[axis] for axis in side)
            if sum(self.split.sizes) != length:
                raise ValueError(
                    f"{path}: split sizes {self.split.sizes} do not add up to its {self.split.side} {length}; put a "
                    f"rule with sizes that do first, e.g. rules=[({path!r}, om.Leaf({self.role!r}, {self.reduction}, "
                    f"{self.output}))] for one matrix"
                )


def _of_rank(ndim: int, role: str) -> str:
    """Write the target of a rule that fits this rank."""
    return f"om.Leaf({role!r}, {ndim - 2}, {ndim - 1})" if ndim > 1 else "'vector'"


def matrix_shapes(shape: Sequence[int], leaf: Leaf) -> tuple[tuple[int, int, int], ...]:
    """Shapes (count, reduction, output) of the stacks that `as_matrices` makes of a parameter of ``shape``."""
    ndim = len(shape)
    count = math.prod(shape[axis] for axis in leaf.batch(ndim))
    reduction = math.prod(shape[axis] for axis in leaf.reduction)
    output = math.prod(shape[axis] for axis in leaf.output)
    if leaf.split is None:
        return ((count, reduction, output),)
    # Pieces of one size make one stack, so that they share a bucket and a kernel; others have one each.
    sizes, on_output = leaf.split.sizes, leaf.split.side == "output"
    pieces = [(count, reduction, size) if on_output else (count, size, output) for size in sizes]
    return ((count * len(sizes), *pieces[0][1:]),) if len(set(sizes)) == 1 else tuple(pieces)


def as_matrices(x: Array, leaf: Leaf) -> tuple[Array, ...]:
    """Cut a parameter into stacks of shape (count, reduction, output); more than one only for an uneven split."""
    order = leaf.batch(x.ndim) + leaf.reduction + leaf.output
    shapes = matrix_shapes(x.shape, leaf)
    whole = matrix_shapes(x.shape, dataclasses.replace(leaf, split=None))[0]
    stack = jnp.transpose(x, [axis % x.ndim for axis in order]).reshape(whole)
    if leaf.split is None:
        return (stack,)
    axis = 2 if leaf.split.side == "output" else 1
    # Where pieces are of one size, piece j of matrix i is number ``i * pieces + j`` of the stack.
    bounds = [sum(leaf.split.sizes[: i + 1]) for i in range(len(leaf.split.sizes) - 1)]
    pieces = jnp.split(stack, bounds, axis=axis)
    return (jnp.stack(pieces, axis=1).reshape(shapes[0]),) if len(shapes) == 1 else tuple(pieces)


def restore(stacks: Sequence[Array], leaf: Leaf, shape: Sequence[int]) -> Array:
    """Undo `as_matrices` for a parameter of ``shape``."""
    ndim = len(shape)
    stack = stacks[0]
    if leaf.split is not None:
        axis = 2 if leaf.split.side == "output" else 1
        pieces = stacks
        if len(stacks) == 1:
            parts = len(leaf.split.sizes)
            cut = stack.reshape(stack.shape[0] // parts, parts, *stack.shape[1:])
            pieces = [cut[:, i] for i in range(parts)]
        stack = jnp.concatenate(pieces, axis=axis)
    order = [axis % ndim for axis in leaf.batch(ndim) + leaf.reduction + leaf.output]
    # The inverse permutation; ranks are static, so nothing of it is traced.
    inverse = sorted(range(ndim), key=order.__getitem__)
    return jnp.transpose(stack.reshape([shape[axis] for axis in order]), inverse)
