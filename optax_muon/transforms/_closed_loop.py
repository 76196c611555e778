"""Momentum and step size that follow from the gradients seen so far, without constants of the problem."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import hypot
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._reductions import init_state, map_with_state, norm_over, reduced_like
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.transforms._precision import promoted
from optax_muon.transforms._variance_reduction import require_previous

Form = Literal["A", "I"]
Version = Literal[1, 2]


class ClosedLoopState(NamedTuple):
    """State of `closed_loop_momentum`.

    Attributes:
        average: M, shaped like the parameters.
        scalars: path -> the loop's numbers, one of each for every matrix, by name.
    """

    average: PyTree
    scalars: PyTree


def closed_loop_momentum(
    form: Form = "A", version: Version = 2, *, leaves: Leaves | None = None, accumulator_dtype: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Average gradients with a momentum, and emit the average times a step size, that both set themselves.

    Use it before an orthogonaliser of the same norm, as in `optmuon`, where no rate is to be tuned but one factor.

    .. math::
        \rho_t = \left( \frac{1 + \max_{i \le t} g_i^2}{1 + \sum_{i \le t} g_i^2} \right)^q, \qquad
        g_t = \|G_t\|_F, \qquad \alpha_t = \rho_{t-1}, \quad \rho_0 = 1

    .. math::
        \text{A:}\quad M_t &= G_t + (1 - \alpha_t) M_{t-1}, &
        \gamma_t &= \min\left(\alpha_t^2, \alpha_t / \sqrt{1 + \textstyle\sum_j \alpha_j^a \|M_j\|^2}\right),
        & q = \tfrac12 \\
        \text{I:}\quad M_t &= G_t + (1 - \alpha_t) (M_{t-1} - G^{\text{prev}}_t), &
        \gamma_t &= \min\left(\sqrt{\alpha_t}, 1 / \sqrt{1 + \textstyle\sum_j \alpha_j^{-1/2} \|M_j\|^2}\right),
        & q = \tfrac23

    It emits gamma M. Every matrix is a loop of its own.

    Args:
        form: ``A``, or ``I`` with variance reduction: ``update`` then takes ``grads_at_previous_params``.
        version: of the paper. 1 makes rho monotone, by its minimum so far, and has a = 2; 2 has a = 1.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        accumulator_dtype: of M, and of gamma M where it is wider than the gradient's; None: the parameter's own.

    State: 1 float per parameter, 5 per matrix.

    Raises:
        ValueError: for an unknown form or version; by ``update``, without ``grads_at_previous_params`` in form I.

    References:
        Yuan, OptMuon, arXiv 2606.08783.
    """
    if form not in ("A", "I"):
        raise ValueError(f"closed_loop_momentum: form must be 'A' or 'I', not {form!r}")
    if version not in (1, 2):
        raise ValueError(f"closed_loop_momentum: version must be 1 or 2, not {version!r}")

    def init_fn(params):
        average = optax.tree.zeros_like(params, dtype=accumulator_dtype)
        return ClosedLoopState(average, init_state(_start, params, accepted(params, leaves)))

    def turn(g: Array, leaf: Leaf, loop: dict[str, Array], m: Array, *before: Array):
        """Take one matrix's turn: return the new M, and the loop's numbers after it."""
        wide = _wide(g)
        alpha = loop["rho"]
        kept = m.astype(wide.dtype) - _wide(before[0]) if before else m.astype(wide.dtype)
        # At the first update alpha is 1; a choice, since zero times a NaN of no meaning would be one.
        m = wide + jnp.where(alpha == 1, 0, (1 - alpha) * kept)
        return m, _next(loop, norm_over(wide, leaf), norm_over(m, leaf), form, version)

    def update_fn(updates, state, params=None, *, grads_at_previous_params=None, **extra_args):
        """Move every loop once, then emit gamma M."""
        del params, extra_args
        others = [state.average]
        if form == "I":
            others.append(require_previous(grads_at_previous_params, updates, "closed_loop_momentum"))
        table = accepted(updates, leaves)
        average, scalars = map_with_state(turn, updates, table, state.scalars, *others)
        steps, _ = map_with_state(lambda m, leaf, loop: (m * loop["gamma"], loop), average, table, scalars)
        emitted = promoted(steps, updates, state.average)
        return emitted, ClosedLoopState(optax.tree.cast_like(average, state.average), scalars)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _start(x: Array, leaf: Leaf) -> dict[str, Array]:
    """Make the numbers of the loops of one parameter: rho is 1, all sums are 0."""
    dtype = jnp.finfo(accumulator_dtype(x.dtype)).dtype
    zeros = {name: reduced_like(x, leaf, dtype=dtype) for name in ("largest", "total", "weighted", "gamma")}
    return zeros | {"rho": reduced_like(x, leaf, fill=1.0, dtype=dtype)}


def _next(loop: dict[str, Array], g: Array, m: Array, form: Form, version: Version) -> dict[str, Array]:
    """Advance a loop by the norms ``g`` of the gradient and ``m`` of M."""
    # Sums of squares are kept as their roots, which a gradient of 1e30 does not overflow.
    alpha = loop["rho"]
    largest, total = jnp.maximum(loop["largest"], g), hypot(loop["total"], g)
    # hypot(1, s) is the root of 1 + s^2, so the exponents here are twice q.
    rho = (jnp.hypot(1, largest) / jnp.hypot(1, total)) ** (1 if form == "A" else 4 / 3)
    power = -0.5 if form == "I" else 2 if version == 1 else 1
    weighted = hypot(loop["weighted"], alpha ** (power / 2) * m)
    root = jnp.hypot(1, weighted)
    gamma = jnp.minimum(alpha**2, alpha / root) if form == "A" else jnp.minimum(jnp.sqrt(alpha), 1 / root)
    # Version 2 drops the minimum: after a spike of the gradient its momentum forgets again.
    rho = jnp.minimum(alpha, rho) if version == 1 else rho
    return {"largest": largest, "total": total, "weighted": weighted, "gamma": gamma, "rho": rho}


def _wide(x: Array) -> Array:
    """Bring an array to float32 or wider."""
    return x.astype(accumulator_dtype(x.dtype))
