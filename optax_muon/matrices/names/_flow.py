"""Who makes the lengths that a kernel takes, and who takes those that it makes."""

import collections
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from optax_muon.matrices.names import _words as words
from optax_muon.matrices.names._axes import is_named_convolution
from optax_muon.matrices.names._sides import Axes, entries_along
from optax_muon.matrices.names._tree import Holder, NamedArray, Tree

NUMBERED = re.compile(r"(.*?)_?\d+")


class Flow:
    """Lengths that kernels take and make."""

    def __init__(self, tree: Tree, axes: Mapping[str, Axes]):
        """Sum up all kernels whose axes are known."""
        self.tree, self.axes = tree, axes
        self.sides = {
            path: (
                entries_along(tree.arrays[path].shape, found.reduction),
                entries_along(tree.arrays[path].shape, found.output),
            )
            for path, found in axes.items()
        }
        # A convolution's window is no feature.
        for path, found in axes.items():
            a = tree.arrays[path]
            if len(found.reduction) > 1 and a.label not in words.ATTENTION_OUT:
                channel = a.shape[1] if a.name == "weight" else a.shape[found.reduction[-1]]
                self.sides[path] = channel, self.sides[path][1]
        # Like kernels in numbered blocks, by what they are called without the numbers.
        self._counted: dict[Holder, Any] = {}
        self._tops = _parts(tree.arrays)
        self.alike = collections.Counter(self._key(path) for path in axes)

    def _key(self, path: str) -> tuple:
        return _without_numbers(path), self.tree.arrays[path].shape

    def made_elsewhere(self, path: str, within: Holder = ()) -> bool:
        """Tell whether another kernel, a table or a norm has the length of this one's inputs."""
        (n, out), (_, made) = self.sides[path], self._lengths(within)
        return n in self.tree.widths or made[n] > (n == out)

    def taken_elsewhere(self, path: str, within: Holder = ()) -> bool:
        """Tell whether another kernel or a norm takes the length of this one's outputs."""
        (into, n), (taken, _) = self.sides[path], self._lengths(within)
        return n in self.tree.widths or taken[n] > (n == into)

    def _lengths(self, within: Holder) -> tuple[collections.Counter[int], collections.Counter[int]]:
        """How many kernels of a module take, and make, which lengths."""
        if within not in self._counted:
            inside = [sides for path, sides in self.sides.items() if self._inside(path, within)]
            self._counted[within] = tuple(collections.Counter(sides[i] for sides in inside) for i in (0, 1))
        return self._counted[within]

    def well_known(self, path: str) -> bool:
        """Tell whether both its lengths are a norm's or several others': not what the model takes and gives."""
        (taken, made), own = self._lengths(()), self.sides[path]
        return all(n in self.tree.widths or (n > 4 and taken[n] + made[n] - own.count(n) > 1) for n in own)

    def others_make(self, path: str) -> bool:
        """Tell whether another kernel makes as many outputs."""
        return self._lengths(())[1][self.sides[path][1]] > 1

    def joined(self, path: str) -> bool:
        """Tell whether its inputs may be others' outputs side by side, or a part of one."""
        (n, own), (taken, made) = self.sides[path], self._lengths(())
        lengths = {out for out in made if out in taken and made[out] > (out == own)} | self.tree.widths
        return any(n % out == 0 or out in (2 * n, 3 * n) for out in lengths if out > 3)

    def parted(self, path: str) -> bool:
        """Tell whether its outputs may be cut, or flattened, before others take them."""
        (own, n), (taken, _) = self.sides[path], self._lengths(())
        lengths = {into for into in taken if into > 1 and taken[into] > (into == own)} | self.tree.widths
        if is_named_convolution(self.tree.arrays[path]) and any(into > n > 1 and into % n == 0 for into in lengths):
            return True  # its window's places side by side
        return any(n == k * into for into in lengths for k in (2, 3, 4, 6))

    def in_a_block(self, path: str) -> bool:
        """Tell a layer of a block that the model repeats: its lengths are made and taken within the block."""
        a = self.tree.arrays[path]
        stacked = a.stack is not None
        block = self._block(a)
        repeated = self.alike[self._key(path)] > 1 and block is not None
        if not (stacked or repeated) or any(may_be_head(token) for token in a.holder[: len(block or ()) or 1]):
            return False
        # Where all that the model has repeats, it is whole models that do, and one of their layers is the head.
        outside = len(self._tops) > 1
        within = block or ()
        return outside and self.made_elsewhere(path, within) and self.taken_elsewhere(path, within)

    def _block(self, a: NamedArray) -> Holder | None:
        """The module around it that is one of several alike."""
        for n in range(1, len(a.holder)):
            if NUMBERED.fullmatch(a.holder[n - 1]):
                return a.holder[:n]
        return None

    def _inside(self, path: str, within: Holder) -> bool:
        return self.tree.arrays[path].holder[: len(within)] == within

    @functools.cached_property
    def experts(self) -> dict[Holder, int]:
        """How many experts stand below a module."""
        found = {}
        for path, axes in self.axes.items():
            a = self.tree.arrays[path]
            batch = [axis for axis in range(len(a.shape)) if axis not in axes.reduction + axes.output]
            if batch:
                for n in range(len(a.holder)):
                    found.setdefault(a.holder[:n], a.shape[batch[0]])
        return found


def may_be_head(token: str) -> bool:
    """Tell a name that a head may have."""
    token = token.lower()
    return words.HEAD_MODULE.fullmatch(token) is not None or words.MAYBE_HEAD.fullmatch(token) is not None


def _parts(paths: Iterable[str]) -> set[str]:
    """Names without numbers of a model's parts, below what all of it stands under."""
    tokens = [path.split("/") for path in paths]
    while tokens and all(len(t) > 1 for t in tokens) and len({t[0] for t in tokens}) == 1:
        tokens = [t[1:] for t in tokens]
    return {_without_numbers(t[0]) for t in tokens}


def _without_numbers(path: str) -> str:
    return re.sub(r"\d+", "", path)
