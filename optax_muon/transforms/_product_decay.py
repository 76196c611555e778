"""Weight decay of the product of two factors."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon._numbers import require_fraction
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._pairs import Pairs, resolve_pairs
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, accepted


def decay_product(
    weight_decay: optax.ScalarOrSchedule, pairs: Pairs | None = None, *, leaves: Leaves | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Change the updates of two factors so that their product decays by a given share.

    Put it last, after the learning rate. Decay of each factor by itself depends on how the product is shared out; this
    does not.

    .. math::
        s = \sqrt{1 - d_t}, \qquad A' = s A + U_A / s, \qquad B' = s B + U_B / s, \qquad
        A' B' = (1 - d_t) A B + U_A B + A U_B + U_A U_B / s^2

    Args:
        weight_decay: d, the share of the product that one step takes, learning rate included; a number in [0, 1) or a
            schedule of it by the step from zero.
        pairs: as for `in_partner_metric`; other matrices keep their update.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for a share of 1 or more; by ``init``, as `in_partner_metric` does; by ``update``, without
            parameters.

    State: none; a count with a schedule.

    References:
        LoRA-Muon, arXiv 2606.12921.
    """
    if not callable(weight_decay):
        require_fraction("decay_product: weight_decay", weight_decay)

    def init_fn(params):
        resolve_pairs(params, pairs, accepted(params, leaves))  # for its errors alone
        return optax.ScaleByScheduleState(jnp.zeros([], jnp.int32)) if callable(weight_decay) else optax.EmptyState()

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Shrink both factors and stretch their updates."""
        del extra_args
        if params is None:
            raise ValueError("decay_product needs the parameters: call update(grads, state, params)")
        factors = {path for pair in resolve_pairs(params, pairs, accepted(updates, leaves)) for path in pair}
        share = weight_decay(state.count) if callable(weight_decay) else weight_decay

        def decayed(path: str, u: Array, w: Array) -> Array:
            """Return the way of one factor."""
            if path not in factors:
                return u
            wide = jnp.promote_types(accumulator_dtype(u.dtype), accumulator_dtype(w.dtype))
            s = jnp.sqrt(1 - jnp.asarray(share, wide))
            return ((s - 1) * w.astype(wide) + u.astype(wide) / s).astype(u.dtype)

        if callable(weight_decay):
            state = optax.ScaleByScheduleState(optax.safe_increment(state.count))
        return map_by_path(decayed, updates, by_path(params)), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
