"""One answer on both sides of a mask: a part of a tree is read as it was with the whole."""

from typing import Any

import optax
from jaxtyping import PyTree

from optax_muon.matrices._paths import by_path
from optax_muon.matrices.names._read import Reading, read_names
from optax_muon.matrices.names._tree import Shape

# A partition reads the whole before every stage of its parts; of a program's trees there are few.
KNOWN_TREES = 32
_wholes: dict[tuple[str, ...], list[tuple[dict[str, Shape], Reading]]] = {}


def read_part(params: PyTree, shapes: dict[str, Shape]) -> Reading:
    """Read a tree, or a part that masks have left of one, whose biases and tables may be gone.

    A mask keeps the paths of what it takes out and nothing else. Where the whole of these paths was read before, as
    `label` does in every stage of a partition, that reading counts; else the part alone is read.
    """
    everything = tuple(by_path(params, is_leaf=_is_masked))
    if len(everything) > len(shapes):
        for whole, reading in reversed(_wholes.get(everything, ())):
            if all(whole[path] == shape for path, shape in shapes.items()):
                return reading
        return read_names(shapes)
    reading, known = read_names(shapes), _wholes.setdefault(everything, [])
    if not any(one is reading for _, one in known):
        known.append((shapes, reading))
        del known[:-4]
    if len(_wholes) > KNOWN_TREES:
        del _wholes[next(iter(_wholes))]
    return reading


def _is_masked(x: Any) -> bool:
    return isinstance(x, optax.MaskedNode)
