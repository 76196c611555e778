"""Adam's direction for gradients of any size."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_muon.linalg._arithmetic import bounded_entries

# Under every root of a second moment that float32 can tell from zero.
LEAST = 1e-37


def adam_direction(
    decay: Any = 0.9,
    second_moment_decay: Any = 0.999,
    *,
    eps: Any = 1e-8,
    eps_root: Any = LEAST,
    accumulator_dtype: Any = None,
) -> optax.GradientTransformation:
    r"""Average gradients and divide by the root of their average square: `optax.scale_by_adam`, in its own state.

    Use it in place of that where one gradient of 1e20 must not end the training, or where updates are differentiated.
    Entries above 9e18 in float32, whose squares overflow, are shortened to that, so that the second moment stays
    finite and forgets them; where gradients were all zero, the derivative of an update is finite.

    .. math::
        M_t = \beta_1 M_{t-1} + (1 - \beta_1) G_t, \qquad V_t = \beta_2 V_{t-1} + (1 - \beta_2) G_t^2, \qquad
        U_t = \frac{M_t / (1 - \beta_1^t)}{\sqrt{V_t / (1 - \beta_2^t)} + \varepsilon}

    Args:
        decay: beta_1, in [0, 1).
        second_moment_decay: beta_2, in [0, 1).
        eps: in units of gradients.
        eps_root: added under the root, in units of their squares; too small to count unless given.
        accumulator_dtype: of M; None: the parameter's own.

    State: 2 floats per parameter, `optax.ScaleByAdamState`.

    References:
        Kingma and Ba, Adam, arXiv 1412.6980.
    """
    # Under the root, so that its derivative at zero is a number.
    adam = optax.scale_by_adam(decay, second_moment_decay, eps, eps_root, mu_dtype=accumulator_dtype)

    def update_fn(updates, state, params=None):
        """Shorten what cannot be squared, then take Adam's step."""
        return adam.update(jax.tree.map(lambda g: bounded_entries(jnp.asarray(g)), updates), state, params)

    return optax.GradientTransformation(adam.init, update_fn)
