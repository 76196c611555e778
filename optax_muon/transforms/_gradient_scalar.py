"""One adaptive step size per matrix, from the norms of its gradients."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_fraction, require_not_negative, require_positive
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import hypot, one_if_zero
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._reductions import init_state, map_with_state, norm_over, reduced_like
from optax_muon.matrices._resolve import Leaves, accepted


class GradientScalarState(NamedTuple):
    """State of `with_gradient_scalar`.

    Attributes:
        count: updates so far, int32 scalar.
        root: path -> root of the average or sum of squared gradient norms of every matrix, float32 or wider.
        inner: the inner transformation's state.
    """

    count: Any
    root: PyTree
    inner: optax.OptState


def with_gradient_scalar(
    inner: optax.GradientTransformation,
    decay: Number | None,
    *,
    numerator: Literal["update", "gradient"] = "update",
    clip: Number = jnp.inf,
    floor: Number = 0.0,
    start: Number = 0.0,
    eps: Number = 0.0,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Multiply what a rule makes of a matrix by one number, which follows the norms of the matrix's gradients.

    Use it around an orthogonaliser, whose output has forgotten how large the gradient was: steps then shorten in
    noise (NAMO), or by themselves over time (AdaGO).

    .. math::
        U_t = a_t \, \text{inner}(X_t), \qquad a_t = \max\left( \frac{n_t}{r_t + \epsilon}, a_{\min} \right), \qquad
        g_t = \min(\|G_t\|_F, \gamma) \\
        r_t^2 = \frac{\sum_{s \le t} \beta^{t - s} (1 - \beta) g_s^2}{1 - \beta^t} \quad \text{or} \quad
        r_t^2 = r_0^2 + \sum_{s \le t} g_s^2 \ (\text{without a decay})

    with :math:`n_t = \|X_t\|_F`, the norm of what arrives, or :math:`n_t = g_t`.

    Args:
        inner: whatever makes the direction; the weight decay may be in it, and is then scaled too.
        decay: beta, in [0, 1), of an average with bias correction; None: a sum, which never forgets.
        numerator: ``"update"`` or ``"gradient"``.
        clip: gamma, the longest gradient that counts, in units of gradients.
        floor: a_min, the least factor.
        start: r_0, in units of gradients; beside an average its square is added to that.
        eps: added to the root before its bias correction, in units of gradients. A zero gradient is safe without.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    ``update`` takes the raw gradients as ``gradients`` (see `with_gradients`); without, the updates are the gradients.

    Raises:
        ValueError: for a decay outside [0, 1), an unknown numerator, a clip that is not positive, or a negative floor,
            start or eps; by ``init``, naming a leaf that is not a hidden matrix.

    State: 1 float per matrix and the inner transformation's.

    References:
        NAMO, arXiv 2602.17080; AdaGO, arXiv 2509.02981.
    """
    if decay is not None:
        require_fraction("with_gradient_scalar: decay", decay)
    if numerator not in ("update", "gradient"):
        raise ValueError(f"with_gradient_scalar: numerator must be 'update' or 'gradient', not {numerator!r}")
    require_positive("with_gradient_scalar", clip=clip)
    require_not_negative("with_gradient_scalar", floor=floor, start=start, eps=eps)
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        def first(x: Array, leaf: Leaf) -> Array:
            return reduced_like(x, leaf, dtype=jnp.finfo(accumulator_dtype(x.dtype)).dtype)

        roots = init_state(first, params, accepted(params, leaves))
        return GradientScalarState(jnp.zeros([], jnp.int32), roots, inner.init(params))

    def update_fn(updates, state, params=None, *, gradients: Any = None, **extra_args):
        """Measure the gradients, and scale what the inner rule makes."""
        seen = updates if gradients is None else gradients
        count = jnp.asarray(optax.safe_increment(state.count))
        moves, after = inner.update(updates, state.inner, params, **(extra_args | {"gradients": seen}))

        def scaled(u: Array, leaf: Leaf, root: Array, x: Array, g: Array) -> tuple[Array, Array]:
            """Scale the matrices of one parameter, and return their new roots."""
            size = jnp.minimum(norm_over(g, leaf), jnp.asarray(clip, root.dtype))
            # Roots and not squares are kept: those of float32 overflow for norms above 1e19.
            new, corrected = hypot(root, size), 1.0
            if decay is not None:
                keep = jnp.asarray(decay, root.dtype)
                new = hypot(jnp.sqrt(keep) * root, jnp.sqrt(1 - keep) * size)
                corrected = jnp.sqrt(1 - keep ** count.astype(root.dtype))
            length = norm_over(x, leaf) if numerator == "update" else size
            whole = hypot(new, jnp.asarray(start, root.dtype)) + eps
            factor = jnp.maximum(length / one_if_zero(whole) * corrected, floor)
            return (u * factor).astype(u.dtype), new.astype(root.dtype)

        moves, roots = map_with_state(scaled, moves, accepted(updates, leaves), state.root, updates, seen)
        return moves, GradientScalarState(count, roots, after)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
