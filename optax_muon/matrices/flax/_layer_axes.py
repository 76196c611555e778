"""Axes of the kernels of Flax's layers, by kind of layer; axes of stacked layers are not counted here."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any, NamedTuple

from optax_muon.matrices._by_name import Finding, UnknownLeafError
from optax_muon.matrices._leaf import Leaf


class Site(NamedTuple):
    """One parameter, where its module keeps it.

    Attributes:
        path: of the parameter, in the tree of parameters.
        name: of the parameter, in its module.
        shape: as the module itself counts its axes, without those that number stacked layers.
        module: that holds the parameter.
        owner: the module that holds this module, or None.
        equation: of an einsum, where the call told it.
        stacked: whether it is one of several layers that one array holds, in a model that has other layers too.
        beside: names of the modules that the owner holds, this one among them.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    module: Any
    owner: Any = None
    equation: str | None = None
    stacked: bool = False
    beside: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """Path and type of the module, for messages."""
        where = self.path.removesuffix(self.name).rstrip("/")
        return f"{type(self.module).__name__} at {where!r}" if where else f"the model, {type(self.module).__name__}"


class Untold(UnknownLeafError):
    """Its module says nothing of a parameter; its name, shape and neighbours still may."""


def names_beside(path: str, name: str, paths: Collection[str]) -> frozenset[str]:
    """Return the names of the modules in the same place as the one that holds this parameter."""
    module = path.removesuffix(name).rstrip("/")
    prefix = module.rpartition("/")[0]
    tails = (other.removeprefix(prefix).lstrip("/") for other in paths if other.startswith(prefix))
    return frozenset(tail.split("/")[0] for tail in tails)


def dense(site: Site) -> Finding:
    """Kernel (in, out); without a telling name it may be a head."""
    return Finding(Leaf("hidden", 0, 1), type(site.module).__name__, True)


def general(site: Site) -> Finding:
    """Kernel (*batch, *in, *out) of a dense layer over several axes."""
    module, rank = site.module, len(site.shape)
    # NNX has a dict ``batch_axis``, Linen a tuple ``batch_dims``; both lead the kernel.
    batch = len(getattr(module, "batch_axis", None) or _tuple(getattr(module, "batch_dims", ())))
    # How many axes of the input are contracted is also how many of the kernel reduce.
    cut = batch + len(_tuple(module.axis))
    return Finding(Leaf("hidden", range(batch, cut), range(cut, rank)), type(module).__name__, True)


def einsum(site: Site) -> Finding:
    """Kernel of an equation: what the result lacks is summed over, what the input lacks is made.

    Output axes stand in the order of the result, reduction axes in that of the input.

    Raises:
        UnknownLeafError: without an equation, or for one whose kernel repeats a letter or has an ellipsis.
    """
    equation = (site.equation or getattr(site.module, "einsum_str", None) or "").replace(" ", "")
    if not equation:
        raise Untold(f"{site.place} gets its equation only when called")
    operands, result = equation.split("->")
    given, kernel = operands.split(",")
    if "." in kernel or len(set(kernel)) < len(kernel):
        raise UnknownLeafError(f"{site.place} has the equation {equation!r}, whose kernel has no plain axes")
    summed = [letter for letter in given if letter in kernel and letter not in result]
    # A letter of the kernel alone is summed too, after those that the input has: the kernel is read as its sum.
    summed += [letter for letter in kernel if letter not in given and letter not in result]
    made = [letter for letter in result if letter in kernel and letter not in given]
    # Without one of the two it is a scale or a sum, and a "matrix" of one side would be normalised to +-1.
    if not summed or not made:
        return Finding(Leaf("vector"), f"einsum {equation}: scales, makes no mixture")
    leaf = Leaf("hidden", [kernel.index(letter) for letter in summed], [kernel.index(letter) for letter in made])
    return Finding(leaf, f"einsum {equation}", True)


def apart(site: Site, leaf: Leaf) -> Leaf:
    """Leave to number matrices what stands before the data's axes in an einsum's result: two or three pieces."""
    equation = (site.equation or getattr(site.module, "einsum_str", None) or "").replace(" ", "")
    operands, arrow, result = equation.partition("->")
    if not arrow or len(leaf.output) < 2:
        return leaf
    given, kernel = operands.split(",")
    first, axis = result[0], leaf.output[0]
    leads = kernel.find(first) == axis and any(letter == "." or letter in given for letter in result)
    return dataclasses.replace(leaf, output=leaf.output[1:]) if leads and site.shape[axis] in (2, 3) else leaf


def own_equation(site: Site) -> str | None:
    """Equation of an einsum class of the model's own: given in the call, or kept by the module; None without one.

    Only for a kernel: of several parameters of one module the equation is that of one alone.
    """
    kept = [value for value in vars(site.module).values() if isinstance(value, str)]
    for text in (site.equation or "", *kept):
        operands, arrow, _ = text.replace(" ", "").partition("->")
        kernel = operands.split(",")[-1]
        plain = arrow and operands.count(",") == 1 and "." not in kernel and len(set(kernel)) == len(kernel)
        if plain and len(kernel) == len(site.shape) and site.name in ("w", "kernel", "weight"):
            return text
    return None


def own_dense(site: Site) -> Finding | None:
    """Kernel of a dense layer of the model's own, which keeps how many features it takes and makes; None for others."""
    sides = own_features(site.module) if site.name in ("kernel", "w", "weight") else None
    if sides is None or (sides[0] == sides[1] and site.name != "kernel"):  # as many: a kernel is (in, out) in Flax
        return None
    taken, made = sides
    rank, why = len(site.shape), f"{type(site.module).__name__} of {taken} to {made} features"
    if site.shape == taken + made:
        return Finding(Leaf("hidden", range(len(taken)), range(len(taken), rank)), why, True)
    if site.shape == made + taken:
        return Finding(Leaf("hidden", range(len(made), rank), range(len(made))), why, True)
    return None


def own_features(module: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Features that a module takes and makes, where it keeps both."""
    for names in (("in_features_shape", "out_features_shape"), ("in_features", "out_features")):
        sides = [getattr(module, name, None) for name in names]
        if all(isinstance(n, int) or (isinstance(n, tuple | list) and n) for n in sides):
            taken, made = (_tuple(n) for n in sides)
            return (taken, made) if all(isinstance(n, int) for n in taken + made) else None
    return None


def convolution(site: Site) -> Finding:
    """Kernel (*window, in / groups, out); every group of a grouped one is a matrix of its own."""
    groups, rank = site.module.feature_group_count, len(site.shape)
    out, fan_in = site.shape[-1] // groups, math.prod(site.shape[:-1])
    # Orthogonalising a vector divides it by its length, so every channel would step alike whatever its gradient.
    if groups > 1 and min(out, fan_in) == 1:
        return Finding(Leaf("vector"), f"{groups} groups, each a vector: depthwise")
    # XLA orders the output by group, so groups are blocks of consecutive output channels.
    split = (out,) * groups if groups > 1 else None
    return Finding(Leaf("hidden", range(rank - 1), rank - 1, split), f"{rank - 2}-d convolution")


def transposed_convolution(site: Site) -> Finding:
    """Kernel (*window, in, out), or (*window, out, in) where the module transposes it."""
    n = len(site.shape) - 2
    # The flag makes the layer the gradient of a convolution, whose kernel it shares: (.., out, in).
    swap = site.module.transpose_kernel
    reduction, output = (n + 1, n) if swap else (n, n + 1)
    reason = f"{n}-d transposed convolution" + (", kernel transposed" if swap else "")
    return Finding(Leaf("hidden", (*range(n), reduction), output), reason)


def local_convolution(site: Site) -> Finding:
    """Kernel (*places, window * in, out): one matrix per place."""
    rank = len(site.shape)
    return Finding(Leaf("hidden", rank - 2, rank - 1), "locally connected: one matrix per place")


def embedding(site: Site) -> Finding:
    """Table (vocabulary, features)."""
    return Finding(Leaf("embedding", 0, 1), type(site.module).__name__)


def low_rank_adapter(site: Site) -> Finding:
    """Factors (in, rank) and (rank, out)."""
    return Finding(Leaf("hidden", 0, 1), "LoRA factor " + ("(in, rank)" if site.name == "lora_a" else "(rank, out)"))


def _tuple(x: Any) -> tuple[int, ...]:
    """One axis or several, as a tuple."""
    return (x,) if isinstance(x, int) else tuple(x)
