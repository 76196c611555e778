"""Any update rule for matrices, carried out in an entrywise rescaled geometry."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_fraction
from optax_muon._renamed import renamed_arguments
from optax_muon.linalg._arithmetic import accumulator_dtype, bounded_entries
from optax_muon.linalg._scale import square_root


class DiagonalMetricState(NamedTuple):
    """State of `in_diagonal_metric`.

    Attributes:
        count: updates so far, int32 scalar.
        second: average of squared gradients, shaped like the parameters.
        inner: the inner transformation's state.
    """

    count: Any
    second: PyTree
    inner: optax.OptState


@renamed_arguments(epsilon="eps")
def in_diagonal_metric(
    inner: optax.GradientTransformation,
    decay: Any,
    *,
    eps: float = 1e-8,
    form: Literal["adam", "sania", "sania_damped"] = "adam",
    accumulator_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide by an entrywise scale before a rule and once more after it.

    Use it to combine Adam's scale of every entry with a rule for whole matrices, as in `muadam`.

    .. math::
        U = \text{inner}(X / s) / s, \qquad V_t = \beta V_{t-1} + (1 - \beta) G_t^2, \qquad
        s = (\sqrt{\hat V} + \varepsilon)^{1/2} \text{ or } (\hat V + \varepsilon)^{1/2} \ (\text{sania})

    With an oracle of a norm inside it is the oracle of that norm in the rescaled coordinates; with nothing inside
    (``optax.identity()``) and an average of gradients before it, Adam without its first bias correction.

    Args:
        inner: an orthogonaliser or an oracle.
        decay: beta, in [0, 1).
        eps: keeps the scale positive; in units of the gradient (adam), or of its square (sania).
        form: ``adam`` takes the fourth root of V, ``sania`` the square root, which makes the rule indifferent to how
            entries of the parameters are scaled. ``sania_damped`` also multiplies U by
            :math:`1 - \sqrt{1 - \min(\hat V, 1)}`, as Adam-SANIA's code does: entries of small gradients then take
            short steps, and the indifference is lost.
        accumulator_dtype: of V; None: the parameter's own.

    ``update`` takes the raw gradients as ``gradients`` (see `with_gradients`); without, the updates are the gradients.

    State: 1 float per parameter and the inner transformation's.

    Raises:
        ValueError: for a decay outside [0, 1), or an unknown form.

    References:
        Veprikov et al., Preconditioned Norms (MuAdam), arXiv 2510.10777.
    """
    require_fraction("in_diagonal_metric: decay", decay)
    if form not in ("adam", "sania", "sania_damped"):
        raise ValueError(f"in_diagonal_metric: form must be 'adam', 'sania' or 'sania_damped', not {form!r}")
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        second = optax.tree.zeros_like(params, dtype=accumulator_dtype)
        return DiagonalMetricState(jnp.zeros([], jnp.int32), second, inner.init(params))

    def scale(hat: Array) -> Array:
        """Return s for one parameter."""
        # s is the root of Adam's denominator: both divisions together make the whole one.
        size = square_root(square_root(hat) + eps) if form == "adam" else square_root(hat + eps)
        # Without an epsilon, entries whose gradients were all zero stay as they are.
        return jnp.where(size == 0, 1, size)

    def update_fn(updates, state, params=None, *, gradients: Any = None, **extra_args):
        """Average the squares, then divide before and after the inner rule."""
        seen = updates if gradients is None else gradients
        # One scale for both divisions, with the present gradient in it, as Adam's denominator has.
        count = jnp.asarray(optax.safe_increment(state.count))

        def average(v, g):
            """Average one parameter's squares."""
            wide = bounded_entries(g.astype(_wide(g)))
            # |g|^2 of a complex entry: one scale turns real and imaginary part alike.
            return (decay * v + (1 - decay) * wide * jnp.conj(wide)).astype(v.dtype)

        second = jax.tree.map(average, state.second, seen)
        hats = jax.tree.map(lambda v: _corrected(v, decay, count), second)
        scales = jax.tree.map(scale, hats)
        before = jax.tree.map(lambda x, s: (x / s).astype(x.dtype), updates, scales)
        after, inner_state = inner.update(before, state.inner, params, **extra_args)
        shares = jax.tree.map(_share, hats) if form == "sania_damped" else jax.tree.map(lambda s: 1.0, scales)
        out = jax.tree.map(lambda x, s, share: (x / s * share).astype(x.dtype), after, scales, shares)
        return out, DiagonalMetricState(count, second, inner_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _corrected(v: Array, decay: Any, count: Array) -> Array:
    """Return V without its bias, in float32 or wider."""
    wide = v.astype(_wide(v))
    return wide / (1 - decay ** count.astype(wide.dtype))


def _share(hat: Array) -> Array:
    """Return ``1 - sqrt(1 - V)``, 1 from V = 1 on, without cancellation."""
    size = jnp.minimum(jnp.abs(hat), 1)
    return size / (1 + jnp.sqrt(1 - size))


def _wide(x: Array) -> Any:
    """Accumulator's dtype of an array."""
    return accumulator_dtype(x.dtype)
