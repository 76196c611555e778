"""An error where weights are zero and a rule that goes by their size would leave them so."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.core
import numpy as np
from jaxtyping import PyTree

from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._reductions import norm_over


def require_directions(owner: str, params: PyTree, leaves: Mapping[str, Leaf]) -> None:
    """Raise where a matrix of weights is zero, as far as values can be seen.

    Under `jax.jit`, and where other processes hold a part of an array, they cannot.

    Raises:
        ValueError: naming the first parameter with such a matrix.
    """
    arrays = by_path(params)
    for path, leaf in leaves.items():
        if _is_seen(arrays[path]) and not np.all(norm_over(arrays[path], leaf)):
            raise ValueError(
                f"{path}: {owner} steps in proportion to the weights, and a matrix of zeros would never move: "
                "initialise it otherwise, or give it to another optimizer by a rule"
            )


def _is_seen(x: Any) -> bool:
    """Tell whether an array has values here and now."""
    concrete = isinstance(x, np.ndarray | jax.Array) and not isinstance(x, jax.core.Tracer)
    return concrete and x.size > 0 and getattr(x, "is_fully_addressable", True)
