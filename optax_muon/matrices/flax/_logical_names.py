"""Names of axes in the metadata of parameters: which of them number layers."""

import re
from collections.abc import Mapping
from typing import Any

# Not experts: a router's outputs are called so too.
LAYERS = re.compile(r"(.*_)?(layers?|stages?|repeats|stack)")


def layer_axes(names: Mapping[str, Any]) -> dict[str, int]:
    """Return, by path, the axis that numbers layers by its logical name, where there is one."""
    found = {}
    for path, axes in names.items():
        if axes is None:
            continue
        told = [axis for axis, name in enumerate(axes) if isinstance(name, str) and LAYERS.fullmatch(name)]
        if len(told) == 1:
            found[path] = told[0]
    return found
