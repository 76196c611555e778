"""A state that an older version of an optimizer kept, at the places where the present one looks for it."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from optax_muon.matrices._check_state import first_lines
from optax_muon.matrices._paths import by_path, map_by_path


def moved_state(state: PyTree, params: PyTree, tx: optax.GradientTransformation) -> PyTree:
    """Give a state of ``tx`` whose arrays are those of ``state``, wherever a chain's stages stood when it was made.

    What stands at its own place stays. Anything else is found by its field, its parameter and its shape, where these
    name one place in the old state and one in the new; a float is cast to the dtype that is kept now. A counter that
    the old state lacks takes the largest of those it has.

    Args:
        state: of an older version, with its own containers or plain dicts and lists.
        params: the parameters, as they are now.
        tx: the optimizer, made as it was then.

    Raises:
        ValueError: naming what of the new state has no counterpart, and what of the old would be lost.
    """
    expected, found = by_path(jax.eval_shape(tx.init, params)), by_path(state)
    source = {path: path for path, x in expected.items() if path in found and _fits(found[path], x)}
    left = {path: x for path, x in found.items() if path not in source}
    wanted = {path: x for path, x in expected.items() if path not in source}
    source |= _counterparts(wanted, left)
    # None runs ahead of the updates, and some turn with a period.
    steps = max((int(x) for path, x in found.items() if _is_counter(path, x)), default=None)
    counted = {path for path, x in wanted.items() if steps is not None and _is_counter(path, x)}
    lacking = [path for path in wanted if path not in source and path not in counted]
    lost = [path for path in left if path not in source.values() and not _is_counter(path, left[path])]
    if lacking or lost:
        lines = [f"{path}: the old state has no counterpart" for path in lacking]
        lines += [f"{path}: the new state has no place for it" for path in lost]
        raise ValueError(
            f"migrate: this state is no older form of this optimizer's:{first_lines(lines)}\n"
            "Build the optimizer as it was (om.check_state says what differs), or start anew with tx.init."
        )

    def fill(path: str, x: Any) -> jax.Array:
        """Fetch one array."""
        return jnp.asarray(found[source[path]] if path in source else steps, x.dtype)

    return map_by_path(fill, jax.eval_shape(tx.init, params))


def _counterparts(wanted: Mapping[str, Any], left: Mapping[str, Any]) -> dict[str, str]:
    """Pair places by what they hold, where both sides have one of it."""
    kinds: dict[Any, tuple[list[str], list[str]]] = {}
    for side, table in enumerate((wanted, left)):
        for path, x in table.items():
            kinds.setdefault((_field(path), tuple(x.shape)), ([], []))[side].append(path)
    return {new[0]: old[0] for new, old in kinds.values() if len(new) == len(old) == 1}


def _field(path: str) -> str:
    """Leave out where in a chain a stage stood."""
    return "/".join(token for token in path.split("/") if not re.fullmatch(r"\d+", token))


def _fits(found: Any, wanted: Any) -> bool:
    """Tell whether an array can stand where another is expected: its shape, and a dtype of the same kind."""
    kinds = [np.issubdtype(jnp.dtype(x.dtype), np.integer) for x in (found, wanted)]
    return tuple(found.shape) == tuple(wanted.shape) and kinds[0] == kinds[1]


def _is_counter(path: str, x: Any) -> bool:
    """Tell a counter of steps from other numbers."""
    return path.endswith("count") and tuple(x.shape) == () and np.issubdtype(jnp.dtype(x.dtype), np.integer)
