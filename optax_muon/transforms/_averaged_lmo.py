"""Steps along an average of a norm's oracles, as long as the present gradient says."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon.linalg._arithmetic import accumulator_dtype as wide_dtype
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import sum_over
from optax_muon.matrices._resolve import Leaves
from optax_muon.norms import Norm, Oracle, Radius
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift
from optax_muon.transforms._momentum import ema


def average_lmo(
    norm: Norm,
    decay: Any,
    radius: Radius,
    *,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    accumulator_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Average the bare oracles of the gradients, and step along the average by the present dual norm.

    Unlike an average of gradients it gives every gradient the same say in the direction, however small it is, and
    unlike an average of steps it forgets at once how long the earlier ones were.

    .. math::
        D_t = \operatorname{lmo}(G_t), \qquad M_t = \beta M_{t-1} + (1 - \beta) D_t, \qquad
        U_t = \rho(\langle G_t, D_t \rangle) \, M_t

    Args:
        norm: an object of `optax_muon.norms`.
        decay: the decay rate beta, in [0, 1).
        radius: rho, a `norms.Radius`, one per matrix.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the oracles are computed; None: `OverMesh`.
        accumulator_dtype: of the average; None: the parameter's own.

    State: 1 float per parameter.
    """
    average = ema(decay, nesterov=False, accumulator_dtype=accumulator_dtype)
    lift = Lift(Oracle(norm), leaves, placement)

    def init_fn(params):
        lift.init(params)  # for its checks alone: an oracle has no state
        return average.init(params)

    def stepped(path: str, m: Array, leaf: Leaf, g: Array, d: Array) -> Array:
        wide = wide_dtype(g.dtype)
        dual = sum_over(jnp.real(jnp.conj(g.astype(wide)) * d.astype(wide)), leaf)
        return (radius.at(dual) * m).astype(m.dtype)

    def update_fn(updates, state, params=None, **extra_args):
        del params, extra_args
        directions, _, _ = lift.apply(updates, optax.EmptyState())
        averages, state = average.update(directions, state)
        tables = lift.resolve(updates), by_path(updates), by_path(directions)
        return map_by_path(stepped, averages, *tables), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
