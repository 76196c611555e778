"""Division by the running root mean square of the gradients."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from optax_muon.linalg._arithmetic import bounded_entries
from optax_muon.linalg._scale import square_root
from optax_muon.transforms._first_gradient_ema import first_gradient_ema
from optax_muon.transforms._momentum import ema


class GradientRmsState(NamedTuple):
    """State of `divide_by_gradient_rms`: `FirstGradientEmaState` of squared gradients; from zero `optax.EmaState`."""

    squares: Any


def divide_by_gradient_rms(
    decay: Any,
    *,
    eps: float = 1e-8,
    start: Literal["gradient", "zero"] = "gradient",
    accumulator_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide what arrives by the running root mean square of the gradients, entry by entry.

    Use it for the vectors of an optimizer that treats matrices otherwise.

    .. math::
        V_0 = G_0^2, \qquad V_t = \beta V_{t-1} + (1 - \beta) G_t^2, \qquad U_t = X_t / (\sqrt{V_t} + \varepsilon)

    Behind an average of gradients it is Adam without bias correction; ``update`` then takes the raw gradients as
    ``gradients=``, else they are what arrives, as in `optax.scale_by_rms`.

    Args:
        decay: the decay rate beta, in [0, 1), or a schedule.
        eps: added to the root, in units of the gradient.
        start: V_0, the first square as above, or ``"zero"``: :math:`V_0 = (1 - \beta) G_0^2` without bias correction,
            for what is brought to one size afterwards; the decay is then a number.
        accumulator_dtype: of the squares; None: the parameter's own.

    Raises:
        ValueError: for a decay outside [0, 1), or an unknown start.

    State: 1 float per parameter.

    References:
        Crawshaw et al., arXiv 2510.09827.
    """
    if start not in ("gradient", "zero"):
        raise ValueError(f"divide_by_gradient_rms: start must be 'gradient' or 'zero', not {start!r}")
    if start == "gradient":
        squares = first_gradient_ema(decay, accumulator_dtype=accumulator_dtype)
    else:
        squares = ema(decay, nesterov=False, accumulator_dtype=accumulator_dtype)

    def _square(g):
        g = bounded_entries(g)
        return jnp.real(g * jnp.conj(g))

    def divided(x, v):
        size = square_root(v) + eps
        return (x / jnp.where(size == 0, 1, size)).astype(x.dtype)  # with no eps, entries that were always zero stay so

    def update_fn(updates, state, params=None, *, gradients: PyTree | None = None, **extra_args):
        """Average the squares of the gradients, and divide by their root."""
        del params, extra_args
        seen = updates if gradients is None else gradients
        mean, inner = squares.update(jax.tree.map(_square, seen), state.squares)
        return jax.tree.map(divided, updates, mean), GradientRmsState(inner)

    return optax.GradientTransformationExtraArgs(lambda params: GradientRmsState(squares.init(params)), update_fn)
