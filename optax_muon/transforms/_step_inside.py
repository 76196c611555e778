"""Steps that end in a convex set."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import one_if_zero
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import norm_over
from optax_muon.matrices._resolve import Leaves
from optax_muon.norms import Box, Domain
from optax_muon.transforms._lmo import with_vector_axes

DOUBLINGS, ROUNDS = 40.0, 50  # of the time, and of its bisection


def step_inside(
    domain: Domain,
    radius: optax.ScalarOrSchedule,
    *,
    trust: Literal["euclidean", "max"] = "euclidean",
    proportional: bool = False,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step to the point of a set within reach that goes furthest against the gradient.

    Put it last, in place of the learning rate: its updates descend. For every leaf; each matrix has its own reach, and
    a vector counts as one.

    .. math::
        W_t = \arg\min \, \langle X, Z \rangle \quad \text{over} \quad Z \in \mathcal{D}, \; \|Z - W_{t-1}\| \le r

    With the Euclidean norm that is a point of the arc :math:`P_{\mathcal D}(W - c X)`, whose time c is found by
    bisection; with the largest entry's, for a box alone, :math:`\operatorname{clip}(W - r \operatorname{sign}(X))`.

    Args:
        domain: `norms.Box`, `norms.Ball` or `norms.Affine`. Weights outside are brought in.
        radius: r > 0, a number or a schedule; infinity is the step of Frank and Wolfe to the set's own best point.
        trust: the norm of the step.
        proportional: take r in units of the gradient's part that no bound holds: then steps shrink as the gradient
            does, as those of projected gradient descent.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for the largest entry as norm with another set than a box; by ``update``, without parameters.
        TypeError: by ``init``, naming a complex array.

    State: the step's number.

    References:
        Local LMO, arXiv 2605.08850.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> tx = om.transforms.step_inside(om.norms.Box(0.0, 1.0), 0.5)
        >>> params = {"w": jnp.array([[0.9, 0.0]])}
        >>> updates, _ = tx.update({"w": jnp.array([[-3.0, 4.0]])}, tx.init(params), params)
        >>> (params["w"] + updates["w"]).round(3).tolist()
        [[1.0, 0.0]]
    """
    if trust not in ("euclidean", "max"):
        raise ValueError(f"step_inside: trust must be 'euclidean' or 'max', not {trust!r}")
    if trust == "max" and not isinstance(domain, Box):
        raise ValueError("step_inside: trust='max' has a closed form in a norms.Box alone; take 'euclidean'")
    if trust == "max" and proportional:
        raise ValueError("step_inside: a reach that is proportional to the gradient is a length; take 'euclidean'")

    def init_fn(params):
        with_vector_axes(params, leaves)  # for its errors alone
        for path, x in by_path(params).items():
            if jnp.issubdtype(x.dtype, jnp.complexfloating):
                raise TypeError(f"{path}: step_inside takes real arrays, not {x.dtype}: order has no meaning there")
        return optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Step every matrix."""
        del extra_args
        if params is None:
            raise ValueError("step_inside needs the parameters: call update(grads, state, params)")
        reach = radius(state.count) if callable(radius) else radius

        def step(path: str, x: Array, w: Array, leaf: Leaf) -> Array:
            wide = jnp.promote_types(accumulator_dtype(x.dtype), accumulator_dtype(w.dtype))
            before = w.astype(wide)
            return (_inside(domain, before, x.astype(wide), reach, leaf, trust, proportional) - before).astype(x.dtype)

        table = by_path(with_vector_axes(updates, leaves))
        return map_by_path(step, updates, by_path(params), table), optax.ScaleByScheduleState(
            optax.safe_increment(state.count)
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _inside(domain: Domain, w: Array, g: Array, reach: Any, leaf: Leaf, trust: str, proportional: bool) -> Array:
    """Return where every matrix of one parameter goes."""

    def measure(x: Array) -> Array:
        return norm_over(x, leaf)

    free = domain.free(w, g, measure)
    size, far = measure(free), jnp.asarray(reach, w.dtype)
    if trust == "max":
        assert isinstance(domain, Box)
        return domain.clip(w - far * jnp.sign(g))
    far = far * size if proportional else far
    first = jnp.where(size == 0, 0, jnp.minimum(far, jnp.finfo(w.dtype).max / 4) / one_if_zero(size))

    def at(doublings: Array) -> Array:
        return domain.arc(w, g, first * 2**doublings, measure)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        """Keep the half of the exponents in which the arc leaves the reach."""
        low, high = ends
        middle = (low + high) / 2
        near = measure(at(middle) - w) <= far
        return jnp.where(near, middle, low), jnp.where(near, high, middle)

    none = 0 * first
    low, _ = jax.lax.fori_loop(0, ROUNDS, halve, jax.lax.stop_gradient((none, none + DOUBLINGS)))
    end = domain.vertex(w, g, measure)
    if end is None:
        return at(none)
    return jnp.where(measure(end - w) <= far, end, at(low))
