"""Implicit gradient transport: gradients at a point ahead, so that their average fits the point behind."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from optax_muon._numbers import require_fraction
from optax_muon._renamed import renamed_arguments
from optax_muon.transforms._evaluation import number, overlay


class TransportState(NamedTuple):
    """State of `implicit_gradient_transport`.

    Attributes:
        last: the inner optimizer's last update, shaped like the parameters.
        ahead: kappa, how many times it the parameters are ahead.
        inner: the inner optimizer's state.
    """

    last: PyTree
    ahead: Any
    inner: optax.OptState

    def eval_params(self, params: PyTree) -> PyTree:
        """Return W, the point behind, for every parameter that this state holds."""
        ahead = number(self.ahead)
        return overlay(lambda y, u: y - ahead * u, params, self.last)


@renamed_arguments(momentum="decay")
def implicit_gradient_transport(
    inner: optax.GradientTransformation, decay: Any, *, scale: Any = 1.0, accumulator_dtype: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Take gradients ahead of the iterate, so far that an average with ``decay`` is the gradient at the iterate.

    .. math::
        Y_t = W_t + \kappa (W_t - W_{t-1}), \qquad \kappa = s \frac{\mu}{1 - \mu} \quad (\text{the parameters are } Y)

    On a quadratic, an average started at the first gradient (`first_gradient_ema`) then *is* the gradient at W. The
    inner optimizer sees W as its parameters; evaluate at W with `optax_muon.eval_params`.

    Args:
        inner: an optimizer that averages gradients with ``decay`` and ends in its learning rate.
        decay: mu of that average, its decay rate, in [0, 1).
        scale: s; 1 is the theory's, 0 the inner optimizer as it is. At mu = 0.95 the theory looks 19 steps ahead.
        accumulator_dtype: of the stored update; None: the parameter's own.

    Raises:
        ValueError: for a momentum outside [0, 1); by ``update``, without parameters.

    State: 1 float per parameter, and the inner optimizer's.

    References:
        Cutkosky and Mehta, NIGT, arXiv 2002.03305; Jang and Lee, Muon-IGT, arXiv 2605.05577.
    """
    require_fraction("implicit_gradient_transport: decay", decay)
    inner = optax.with_extra_args_support(inner)
    ahead = scale * decay / (1 - decay)

    def init_fn(params):
        last = optax.tree.zeros_like(params, dtype=accumulator_dtype)
        return TransportState(last, jnp.asarray(ahead, float), inner.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Move W by the inner optimizer, and Y as far ahead of it again."""
        if params is None:
            raise ValueError("implicit_gradient_transport: update needs the parameters")
        behind = state.eval_params(params)
        moves, inner_state = inner.update(updates, state.inner, behind, **extra_args)
        # From the state and not the argument: the parameters are ahead by the kappa that put them there.
        kappa, now = state.ahead, jnp.asarray(ahead, state.ahead.dtype)
        # Y_{t+1} - Y_t = u + kappa (u - last).
        emitted = jax.tree.map(
            # The parameters stand kappa ahead; the new ones, where an injected momentum or scale changed, by another.
            lambda u, last: (u + kappa * (u - last) + (now - kappa) * u).astype(u.dtype),
            moves,
            state.last,
        )
        return emitted, TransportState(optax.tree.cast_like(moves, state.last), now, inner_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
