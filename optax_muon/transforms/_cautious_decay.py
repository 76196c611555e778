"""Weight decay that never works against the step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array


def cautious_decay(
    weight_decay: optax.ScalarOrSchedule, *, strict: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Add decayed weights only to the entries that the step makes smaller anyway.

    Use it in place of `optax.add_decayed_weights`, before the learning rate, or as the ``weight_decay`` of any named
    optimizer. Where step and decay pull an entry in opposite directions only the step acts, so the points at which
    steps vanish are those of the loss itself.

    .. math::
        U = X + \lambda \, \mathbb{1}[X \circ W \ge 0] \circ W

    Args:
        weight_decay: lambda, or a schedule of it by the step from zero.
        strict: decay only where :math:`X \circ W > 0`, so that an entry that no step moves does not decay.

    Raises:
        ValueError: by ``update``, without parameters.

    State: none; a count with a schedule.

    References:
        Cautious Weight Decay, arXiv 2510.12402; github.com/KellerJordan/modded-nanogpt.

    Example:
        Muon on :math:`\tfrac12 \|W - 3 I\|^2`: the known constraint :math:`\|W\|_2 \le 1 / \lambda` is gone.

        >>> import jax, jax.numpy as jnp, optax, optax_muon as om
        >>> def reached(decay):
        ...     tx = om.muon(lambda t: 0.05 * (1 - t / 1000), orthogonalizer=om.linalg.SVDPolar(), weight_decay=decay)
        ...     def step(carry, _):
        ...         w, state = carry
        ...         updates, state = tx.update({"w": w["w"] - 3 * jnp.eye(2)}, state, w)
        ...         return (optax.apply_updates(w, updates), state), None
        ...     w = {"w": jnp.zeros((2, 2))}
        ...     return round(float(jax.lax.scan(step, (w, tx.init(w)), length=1000)[0][0]["w"][0, 0]), 1)
        >>> reached(0.5), reached(om.transforms.cautious_decay(0.5))
        (2.0, 3.0)
    """
    plain = optax.add_decayed_weights(weight_decay)

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Show the decay only the weights that it may shrink."""
        del extra_args
        if params is None:
            raise ValueError("cautious_decay needs the parameters: call update(grads, state, params)")

        def agreeing(x: Array, w: Array) -> Array:
            """Return the weights at which step and decay agree, and zero elsewhere."""
            # Signs, since the product of two small numbers may be zero; of a complex entry the part along the weight.
            if jnp.issubdtype(w.dtype, jnp.complexfloating):
                along = jnp.real(jnp.conj(x) * w)
            else:
                along = jnp.sign(x) * jnp.sign(w).astype(x.dtype)
            return jnp.where(along > 0 if strict else along >= 0, w, 0)

        return plain.update(updates, state, jax.tree.map(agreeing, updates, params))

    return optax.GradientTransformationExtraArgs(plain.init, update_fn)
