"""From the state of `optax.contrib.muon`, or of an older version of an optimizer, to the present optimizer's."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.transforms._first_gradient_ema import FirstGradientEmaState
from optax_muon.transforms._momentum import NesterovEmaState
from optax_muon.transforms._older_states import moved_state
from optax_muon.transforms._rotated import RotatedState

# Fields that hold an exponential average of gradients, as the old momentum is one.
AVERAGES: Mapping[type, str] = {
    NesterovEmaState: "average",
    FirstGradientEmaState: "average",
    optax.EmaState: "ema",
    optax.ScaleByAdamState: "mu",
    optax.ScaleByLionState: "mu",
}
# States whose count is a schedule's. Any other stays at zero, where a fresh state expects its first step.
SCHEDULES = (optax.ScaleByScheduleState, optax.InjectStatefulHyperparamsState)


class Kept(NamedTuple):
    """What an old state knows of every parameter, by path, and the steps it has taken."""

    average: dict[str, Any]
    square: dict[str, Any]
    count: Any

    def second_moment(self, path: str) -> Array:
        """Return Adam's, or the square of the average where Adam never saw the parameter."""
        return self.square[path] if path in self.square else jnp.square(self.average[path])


def migrate(state: PyTree, params: PyTree, tx: optax.GradientTransformation) -> PyTree:
    """Carry the state of `optax.contrib.muon`, or of an older version of ``tx``, over, so that a run goes on.

    A state of an older version keeps every array and every count; what moved is found by its field, its parameter and
    its shape, and brought to the dtype that is kept now. The rest of this page is about `optax.contrib.muon`.

    Momentum and Adam's moments are kept, and so are the steps that schedules have counted; everything else of the new
    state is as ``tx.init`` makes it. A matrix that Adam trained before (optax leaves those of rank three and more to
    it) starts with Adam's first moment as its momentum. A parameter that Muon trained and Adam takes over, as
    embeddings and heads, keeps its momentum, whose square stands in for the second moment that nobody kept: its first
    updates have the size of Adam's own. Call it between steps, outside of gradient accumulation.

    Args:
        state: of `optax.contrib.muon` or `optax.contrib.scale_by_muon`, alone or within a chain or a wrapper; or of
            ``tx`` as an older version of this package made it, with its containers or as plain dicts and lists.
        params: the parameters, as they are now.
        tx: the new optimizer, as `optax_muon.for_matrices` makes it.

    Returns:
        A state for ``tx``; ``state`` is not changed.

    Raises:
        ValueError: for a state that is neither, naming what has no counterpart; for one with two of Muon's; for one of
            another model, naming the parameter; and for an optimizer that keeps no average of a parameter's gradients,
            in the parameter's own coordinates, where the old momentum could go on.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> params = {"up": {"kernel": jnp.eye(2)}}
        >>> old = optax.contrib.muon(0.02)
        >>> _, state = old.update(params, old.init(params), params)
        >>> tx = om.for_matrices(om.muon(0.02), otherwise=optax.adamw(3e-4))
        >>> om.migrate(state, params, tx).inner_states["hidden"].inner_state[0].average["up"]["kernel"][0, 0].item()
        0.05000000074505806
    """
    muon = [x for x in jax.tree.leaves(state, is_leaf=_is_muon) if _is_muon(x)]
    if not muon:
        return moved_state(state, params, tx)
    kept = _read(state)
    for path, x in by_path(params).items():
        shape = tuple(kept.average[path].shape) if path in kept.average else "nothing"
        if shape != tuple(x.shape):
            raise ValueError(f"migrate: {path} is {tuple(x.shape)}, and the state has {shape} there: another model?")
    placed: set[str] = set()
    made = _carry(tx.init(params), kept, placed)
    # A parameter without any state is frozen, or its optimizer keeps none; with another state it has no place.
    held = [f"/{path}/" for path in by_path(made)]
    lost = [path for path in by_path(params) if path not in placed and any(f"/{path}/" in place for place in held)]
    if lost or not placed:
        which, more = lost[0] if lost else "anything", f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise ValueError(
            f"migrate: the new optimizer keeps no average of gradients for {which}{more}: the momentum would be lost"
        )
    return made


def _is_muon(node: Any) -> bool:
    """Tell the state of Muon from anything else."""
    return isinstance(node, optax.contrib.MuonState)


def _read(state: PyTree) -> Kept:
    """Find the states of Muon and Adam, wherever they are."""
    kinds = (optax.contrib.MuonState, optax.ScaleByAdamState)
    nodes: list[Any] = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kinds))
    muon = [node for node in nodes if isinstance(node, optax.contrib.MuonState)]
    adam = [node for node in nodes if isinstance(node, optax.ScaleByAdamState)]
    # Two partitions of Muon would be ambiguous: the paths do not say which state is whose.
    if len(muon) != 1 or len(adam) > 1:
        raise ValueError(
            f"migrate: the state holds {len(muon)} MuonState and {len(adam)} ScaleByAdamState; it takes the state of "
            "one optax.contrib.muon"
        )
    average, square = by_path(muon[0].mu), {}
    if adam:
        # The two partition the parameters, so one table of averages serves both.
        average, square = average | by_path(adam[0].mu), by_path(adam[0].nu)
    return Kept(average, square, muon[0].count)


def _carry(node: Any, kept: Kept, placed: set[str]) -> Any:
    """Fill a new state's averages, squares and counts, whatever they are nested in."""
    _raise_on_foreign(node)
    kind, names = type(node), getattr(node, "_fields", None)
    if isinstance(node, tuple) and names is not None:
        # Rebuilt by its type, so that named tuples of any library keep their own.
        return kind(*(_field(node, name, kept, placed) for name in names))
    if isinstance(node, tuple | list):
        return kind(_carry(x, kept, placed) for x in node)
    if isinstance(node, dict):
        return {key: _carry(x, kept, placed) for key, x in node.items()}
    return node


def _raise_on_foreign(node: Any) -> None:
    """Raise on a sum of gradients that is no average of them, or is in other coordinates than the parameter's."""
    if isinstance(node, RotatedState) and jax.tree.leaves(node.inner):
        raise ValueError("migrate: the new optimizer keeps momentum in bases of its own, where the old is not at home")
    if isinstance(node, optax.TraceState) and jax.tree.leaves(node.trace):
        raise ValueError(
            "migrate: optax.trace sums gradients and the kept momentum is their average; use transforms.nesterov_ema"
        )


def _field(node: Any, name: str, kept: Kept, placed: set[str]) -> Any:
    """Fill one field of a state; note in ``placed`` which parameters found their average there."""
    value = getattr(node, name)
    if name == AVERAGES.get(type(node)):
        placed.update(by_path(value))
        return map_by_path(lambda path, x: kept.average[path].astype(x.dtype), value)
    if isinstance(node, optax.ScaleByAdamState) and name == "nu":
        return map_by_path(lambda path, x: kept.second_moment(path).astype(x.dtype), value)
    if name == "count" and value is not None and isinstance(node, (*AVERAGES, *SCHEDULES)):
        return kept.count.astype(value.dtype)
    return _carry(value, kept, placed)
