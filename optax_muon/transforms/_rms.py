"""Bring every matrix of an update to one root mean square."""

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon._numbers import require_positive
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._reductions import entries_over, unit_over
from optax_muon.matrices._resolve import Leaves, resolved


def scale_to_rms(rms: float, *, leaves: Leaves | None = None) -> optax.GradientTransformationExtraArgs:
    """Scale every matrix so that its entries have root mean square ``rms``, as AdamW's have about 0.2; zero stays.

    Use it last before the learning rate, so that AdamW's rates carry over. Unlike `shapes.RMSMatch` it looks at the
    update itself, so an inexact or rank-deficient direction is matched too.

    Args:
        rms: of every matrix's entries, in units of the update, before the learning rate.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for rms that is not positive.

    State: none.
    """
    require_positive("scale_to_rms", rms=rms)

    def scale(path: str, x: Array, leaf: Leaf) -> Array:
        """Scale the matrices of one parameter."""
        unit = unit_over(x, leaf)
        wanted = rms * jnp.sqrt(jnp.asarray(entries_over(x.shape, leaf), jnp.real(unit).dtype))
        return (unit * wanted).astype(x.dtype)

    def update_fn(updates, state, params=None, **extra_args):
        del params, extra_args
        return map_by_path(scale, updates, resolved(updates, leaves)), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)
