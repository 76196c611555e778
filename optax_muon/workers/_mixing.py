"""Parameters that differ between workers and are mixed with the neighbours'."""

from typing import Literal, NamedTuple

import jax
import optax
from jaxtyping import Array, PyTree

from optax_muon.workers._graph import Graph
from optax_muon.workers._worker_axis import AxisName, own, worker_count

Backbone = Literal["ed", "extra", "gt"]


def mix_params(graph: Graph, axis_name: AxisName) -> optax.GradientTransformation:
    r"""Change the update so that the parameters after it are the weighted mean of the neighbours'.

    Put it last, after the learning rate.

    .. math::
        U_i' = \sum_j w_{ij} (W_j + U_j) - W_i

    Args:
        graph: who hears whom, a `Graph`.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, whose updates stay.

    State: none.

    Raises:
        ValueError: by ``update``, without parameters.
    """
    if axis_name is None:
        return one_worker("mix_params")

    def update_fn(updates, params):
        """Mix the parameters after the update."""
        moved = graph.mix(params_after(updates, params, "mix_params"), axis_name)
        return jax.tree.map(lambda y, w, u: (y - w).astype(u.dtype), moved, params, updates)

    return optax.stateless(update_fn)


class SudaState(NamedTuple):
    """State of `suda`: the dual variable Z, shaped like the parameters."""

    dual: PyTree


def suda(graph: Graph, axis_name: AxisName, backbone: Backbone = "ed") -> optax.GradientTransformation:
    r"""Mix parameters by a primal-dual rule that takes off what keeps workers with different data apart.

    Put it last, after the learning rate, in place of `mix_params`; its U descends.

    .. math::
        W^+ = A (C W + U) - Z, \qquad Z^+ = Z + B W^+, \qquad Z_0 = 0

    ``"ed"``, exact diffusion: A the mixing matrix, B = I - A, C = I. ``"extra"``: A = I, B = I - C, C the mixing
    matrix. ``"gt"``, gradient tracking: A its square, B the square of I less it, C = I.

    Args:
        graph: who hears whom, a symmetric `Graph`.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, whose updates stay.
        backbone: "ed", "extra" or "gt".

    State: 1 float per parameter; none for one worker.

    Raises:
        ValueError: for another backbone; by ``update``, without parameters, for a graph that is not symmetric, and for
            exact diffusion and EXTRA on one with an eigenvalue of -1/3 or less, where they are unstable: their
            characteristic equation :math:`z^2 - 2 w z + w = 0` has a root of modulus one there.

    References:
        Alghunaim and Yuan, SUDA; Zhang et al., SUDA-Muon, arXiv 2604.23980.
    """
    if backbone not in ("ed", "extra", "gt"):
        raise ValueError(f"suda: backbone must be 'ed', 'extra' or 'gt', not {backbone!r}")
    if axis_name is None:
        return one_worker("suda")

    def mix(tree: PyTree) -> PyTree:
        return graph.mix(tree, axis_name)

    def init_fn(params):
        return SudaState(optax.tree.zeros_like(own(params, axis_name)))

    def update_fn(updates, state, params=None):
        """Take one primal and one dual step."""
        _require_stable(graph, worker_count(axis_name, "suda"), backbone)
        if backbone == "extra":
            # A = I: the step itself is not mixed.
            moved = params_after(updates, mix(params), "suda")
        else:
            moved = mix(params_after(updates, params, "suda"))
            moved = mix(moved) if backbone == "gt" else moved
        primal = jax.tree.map(lambda x, z: x - z, moved, state.dual)
        apart = _less_mixed(primal, mix)
        apart = _less_mixed(apart, mix) if backbone == "gt" else apart
        dual = jax.tree.map(lambda z, b: z + b, state.dual, apart)
        return jax.tree.map(lambda x, w, u: (x - w).astype(u.dtype), primal, params, updates), SudaState(dual)

    return optax.GradientTransformation(init_fn, update_fn)


def one_worker(owner: str) -> optax.GradientTransformation:
    """Leave one worker's updates as they are, and ask for what many workers need."""

    def update_fn(updates, state, params=None):
        params_after(updates, params, owner)  # for its error alone
        return updates, state

    return optax.GradientTransformation(optax.init_empty_state, update_fn)


def params_after(updates: PyTree, params: PyTree | None, owner: str) -> PyTree:
    """Give the parameters after an update.

    Raises:
        ValueError: without parameters.
    """
    if params is None:
        raise ValueError(f"{owner} needs the parameters: call update(grads, state, params)")
    return jax.tree.map(lambda w, u: (w + u).astype(w.dtype), params, updates)


def _less_mixed(tree: PyTree, mix) -> PyTree:
    """Give what workers have beyond their neighbours' mean."""

    def less(x: Array, y: Array) -> Array:
        return x - y

    return jax.tree.map(less, tree, mix(tree))


def _require_stable(graph: Graph, workers: int, backbone: Backbone) -> None:
    """Raise where a backbone has no use for a graph."""
    smallest = graph.smallest_eigenvalue(workers)
    if backbone != "gt" and smallest <= -1 / 3 + 1e-9:
        raise ValueError(
            f"suda: backbone {backbone!r} is unstable on {graph} of {workers} workers, whose smallest eigenvalue is "
            f"{smallest:.3f} and not above -1/3, as of every plain ring of an even number; take Ring(lazy=True), or "
            "backbone 'gt'"
        )
