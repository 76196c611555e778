"""Where a kernel holds several matrices side by side along its output."""

from optax_muon.matrices.names import _words as words
from optax_muon.matrices.names._sides import Axes, entries_along
from optax_muon.matrices.names._tree import NamedArray, Tree

Pieces = tuple[int, ...]


def pieces(a: NamedArray, axes: Axes, tree: Tree) -> tuple[Pieces | None, str, bool]:
    """Sizes of the matrices along the output, the reason, and whether that is sure.

    Without sizes it is one matrix, which is not sure where it may hold several.
    """
    beside = tree.beside(a)
    into, out = entries_along(a.shape, axes.reduction), entries_along(a.shape, axes.output)
    if len(axes.output) != 1:
        return None, "", True
    if a.label in ("weight_ih", "weight_hh"):
        gates = _gates(a, beside, out)
        return gates, f"{len(gates or ())} gates", gates is not None
    if a.label == "query_key_value":
        return None, "query, key, value, perhaps one after the other for each head", False
    last = _output(beside)
    if a.label in words.FUSED_QKV and near_state_space(a, tree):
        return _state_space(a, out, beside, tree)
    if a.label in words.FUSED_QKV:
        heads = None if last is None else _lengths(last, out)
        if out == 3 * into or (heads is not None and out == 3 * heads):
            # That the layer around takes a third of it is what thirds rest on.
            return (out // 3,) * 3, "query, key, value", heads is not None and out == 3 * heads
        if heads is not None and heads < out < 3 * heads and (out - heads) % 2 == 0:
            return (heads, (out - heads) // 2, (out - heads) // 2), "query, key, value of fewer heads", False
        return None, "query, key, value of unknown widths", False
    if a.label in words.FUSED_KV and out % 2 == 0:
        return (out // 2,) * 2, "key, value", False
    if a.label in ("gate_up_proj", "up_gate_proj", "w13", "wi_fused") and out % 2 == 0:
        return (out // 2,) * 2, "gate and value", False
    if a.label == "x_proj":
        return _state_space_inputs(out, beside, tree, a)
    return None, "", True


def _output(beside: dict[str, NamedArray]) -> NamedArray | None:
    return next((beside[label] for label in words.ATTENTION_OUT if label in beside), None)


def _lengths(last: NamedArray, out: int) -> int | None:
    """How wide all heads together are, as the projection behind them takes them."""
    sides = sorted(set(last.shape)) if len(last.shape) == 2 else [last.shape[0] * last.shape[1], last.shape[-1]]
    if len(sides) == 1:
        return sides[0]
    fitting = [n for n in sides if out == 3 * n]
    return fitting[0] if fitting else sides[0] if len(last.shape) == 2 and sides[0] < out else None


def _gates(a: NamedArray, beside: dict[str, NamedArray], out: int) -> Pieces | None:
    """Gates of a recurrent cell: as many as its state fits into the output."""
    recurrent = a if a.label == "weight_hh" else beside.get("weight_hh")
    if recurrent is None:
        return None
    state = min(recurrent.shape)
    return (state,) * (out // state) if out % state == 0 else None


def near_state_space(a: NamedArray, tree: Tree) -> bool:
    """Tell whether it belongs to a state space, whose steps and decay stand beside it."""
    stem = "/".join(a.holder[:-1])
    near = [path.removeprefix(f"{stem}/") for path in tree.arrays if path.startswith(f"{stem}/") or not stem]
    return any(
        path.split("/")[-1] in ("A_log", "dt_bias") or path.split("/")[0] in ("dt_proj", "conv1d") for path in near
    )


def _state_space(a: NamedArray, out: int, beside: dict[str, NamedArray], tree: Tree) -> tuple[Pieces | None, str, bool]:
    """Mamba's projection into x and z, or into z, x, B, C and the steps."""
    last = beside.get("out_proj")
    if last is not None and len(last.shape) == 2:
        inner = [n for n in last.shape if out == 2 * n]
        if len(inner) >= 1:
            return (inner[0],) * 2, "x and z of a state space", True
        stem = "/".join(a.holder[:-1])
        steps = tree.arrays.get(f"{stem}/A_log") or tree.arrays.get(f"{stem}/dt_bias")
        if steps is not None and len(steps.shape) == 1:
            # What is convolved, x with B and C, stays together; z and the steps do not take part.
            for n in last.shape:
                rest = out - n - steps.shape[0]
                if rest > n:
                    return (n, rest, steps.shape[0]), "z; x, B, C; steps of a state space", False
    return None, "parts of a state space", False


def _state_space_inputs(
    out: int, beside: dict[str, NamedArray], tree: Tree, a: NamedArray
) -> tuple[Pieces | None, str, bool]:
    """Mamba's projection into the steps' rank, B and C."""
    stem = "/".join(a.holder[:-1])
    steps, states = beside.get("dt_proj"), tree.arrays.get(f"{stem}/A_log")
    if steps is not None and states is not None and len(steps.shape) == len(states.shape) == 2:
        for rank in steps.shape:
            if rank + 2 * states.shape[1] == out:
                return (rank, states.shape[1], states.shape[1]), "steps, B, C of a state space", True
    return None, "parts of a state space", False
