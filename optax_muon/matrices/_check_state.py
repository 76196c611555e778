"""Do an optimizer state, or gradients, fit a model, and what differs where they do not?"""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from optax_muon.matrices._paths import by_path

SHOWN = 8


def check_state(tx: optax.GradientTransformation, params: PyTree, found: PyTree) -> None:
    """Raise an error that says what changed, where a state is not one that ``tx`` makes for ``params``.

    Call it with what a checkpoint holds before restoring it: after a change of the optimizer, of its partition or of
    the model, restoring fails with no word of which parameter is meant. Nothing is computed.

    Args:
        tx: the optimizer as it is now.
        params: the parameters as they are now, arrays or `jax.ShapeDtypeStruct`.
        found: the state as found: arrays, shapes or a checkpoint's metadata, with its own containers or with plain
            dicts and lists in their place.

    Raises:
        ValueError: naming every parameter whose state moved, vanished, appeared, or changed its shape or dtype.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> params = {"up": {"kernel": jnp.ones((4, 4))}}
        >>> om.check_state(optax.adam(1e-3), params, optax.sgd(1e-3, momentum=0.9).init(params))
        Traceback (most recent call last):
        ...
        ValueError: this state is of another optimizer or model; before -> now:
          up/kernel: 0/trace -> 0/mu, 0/nu
          (no parameter): nothing -> 0/count
        Build the optimizer and the model as they were, or start anew with tx.init.
    """
    differences = state_differences(jax.eval_shape(tx.init, params), params, found)
    if differences:
        raise ValueError(
            f"this state is of another optimizer or model; before -> now:{first_lines(differences)}\n"
            "Build the optimizer and the model as they were, or start anew with tx.init."
        )


def check_gradients(updates: PyTree, params: PyTree) -> None:
    """Raise an error that names every parameter whose gradient is missing, too many or of another shape.

    Args:
        updates: gradients.
        params: parameters, arrays or `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: naming the parameters that differ, `SHOWN` of them at most.
    """
    found, wanted = by_path(updates), by_path(params)

    def says(path: str) -> str | None:
        """Describe one parameter's difference, or None."""
        if path not in found:
            return f"{path}: a parameter {tuple(wanted[path].shape)} without a gradient"
        if path not in wanted:
            return f"{path}: a gradient {tuple(found[path].shape)} without a parameter"
        gradient, parameter = tuple(found[path].shape), tuple(wanted[path].shape)
        return None if gradient == parameter else f"{path}: gradient {gradient}, parameter {parameter}"

    differences = [line for path in dict.fromkeys([*wanted, *found]) if (line := says(path))]
    if differences:
        raise ValueError(
            f"these gradients are not of these parameters:{first_lines(differences)}\n"
            "Take both from one model; leave a parameter out of training by a rule ('its/path', 'frozen') and not by "
            "dropping its gradient."
        )


def first_lines(lines: list[str]) -> str:
    """Join lines, the first `SHOWN` of them, and say how many more there are."""
    more = len(lines) - SHOWN
    return "".join(f"\n  {line}" for line in [*lines[:SHOWN], *([f"... and {more} more"] if more > 0 else [])])


def state_differences(expected: PyTree, params: PyTree, found: PyTree) -> list[str]:
    """Describe, one line per parameter, how ``found`` differs from ``expected``."""
    paths = set(by_path(params))
    before, now = (_entries(tree, paths) for tree in (found, expected))
    lines = []
    for path in dict.fromkeys([*by_path(params), *now, *before]):
        had, has = before.get(path, {}), now.get(path, {})
        if set(had) != set(has):
            gone, new = ([entry for entry in a if entry not in b] for a, b in ((had, has), (has, had)))
            lines.append(f"{path or '(no parameter)'}: {', '.join(gone) or 'nothing'} -> {', '.join(new) or 'nothing'}")
            # Shapes are compared only where all places agree, so that a parameter is named once.
            continue
        changed = [entry for entry in has if had[entry] != has[entry]]
        lines += [f"{path or '(no parameter)'}: {entry} {had[entry]} -> {has[entry]}" for entry in changed]
    return lines


def _entries(state: PyTree, params: set[str]) -> dict[str, dict[str, str]]:
    """Path of a parameter ("" for none) -> place in the state -> shape and dtype."""
    table: dict[str, dict[str, str]] = {}
    for path, x in by_path(state).items():
        tokens = path.split("/")
        # A moment's path ends with its parameter's; the longest such tail, since "kernel" may be a parameter as well.
        tails = ("/".join(tokens[n:]) for n in range(len(tokens)))
        param = next((tail for tail in tails if tail in params), "")
        entry = path.removesuffix(param).rstrip("/") if param else path
        table.setdefault(param, {})[_short(entry)] = _kind(x)
    return table


def _short(entry: str) -> str:
    """Leave out the words that `optax.multi_transform` puts around every group."""
    return "/".join(token for token in entry.split("/") if token not in ("inner_states", "inner_state"))


def _kind(x: Any) -> str:
    """Write dtype and shape, as ``float32[4, 4]``."""
    # A checkpoint's metadata may hold Python numbers, which have neither.
    shape, dtype = getattr(x, "shape", ()), getattr(x, "dtype", type(x).__name__)
    return f"{dtype}{list(shape)}"
