"""Differences of the loss along random directions, and the gradient that they stand for."""

import dataclasses
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from optax_muon._numbers import require_finite_positive, require_whole
from optax_muon._types import Number
from optax_muon.linalg import RandomSubspace
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, resolved
from optax_muon.transforms import Lift


@dataclasses.dataclass(frozen=True)
class Subspace:
    """Where probes of hidden matrices are: those of ``rank`` directions of the outputs.

    Use it for ZO-Muon's estimates; keep the key for some steps, then take another.

    Args:
        rank: r, of every hidden matrix.
        key: of the directions.
    """

    rank: int
    key: Array


def gradient(
    loss: Callable[[PyTree], Array],
    params: PyTree,
    key: Array,
    *,
    radius: Number = 1e-3,
    queries: int = 1,
    central: bool = True,
    subspace: Subspace | None = None,
    leaves: Leaves | None = None,
) -> PyTree:
    r"""Estimate the gradient from differences of the loss along random directions.

    Use it where a backward pass does not fit or does not exist: in place of ``jax.grad``, before any optimizer.

    .. math::
        \hat G = \frac1q \sum_{j=1}^q \frac{f(W + \rho Z_j) - f(W - \rho Z_j)}{2 \rho} Z_j, \qquad
        Z_j \sim N(0, I)

    It is `slopes`, then `from_slopes`: a direction is drawn from its key whenever it is needed, and no estimate exists
    while the loss runs.

    Args:
        loss: of the parameters alone, a scalar; the same batch for all queries.
        params: the parameters, floating-point arrays.
        key: of the directions; another one every step.
        radius: rho, in units of the parameters. In bfloat16 a probe below a hundredth of a parameter is lost to
            rounding.
        queries: q, each of which costs two losses.
        central: False: f(W) in place of f(W - rho Z), one loss for each query and one more.
        subspace: None: all directions.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks; for a subspace alone.

    Raises:
        ValueError: for a radius that is not positive and finite, or queries below one.

    References:
        MeZO, arXiv 2305.17333; in a subspace: ZO-Muon, arXiv 2602.17155.

    Example:
        >>> import jax, jax.numpy as jnp, optax_muon as om
        >>> f = lambda p: jnp.sum(p["w"] ** 2)
        >>> g = om.zeroth_order.gradient(f, {"w": jnp.ones(3)}, jax.random.key(0), queries=4000)
        >>> jnp.round(g["w"]).tolist()
        [2.0, 2.0, 2.0]
    """
    found = slopes(loss, params, key, radius=radius, queries=queries, central=central, subspace=subspace, leaves=leaves)
    return from_slopes(found, params, key, subspace=subspace, leaves=leaves)


def slopes(
    loss: Callable[[PyTree], Array],
    params: PyTree,
    key: Array,
    *,
    radius: Number = 1e-3,
    queries: int = 1,
    central: bool = True,
    subspace: Subspace | None = None,
    leaves: Leaves | None = None,
) -> Float[Array, " queries"]:
    """Measure the loss's slope along random directions; arguments as for `gradient`.

    Use it between workers: a number for each query is all that they need to send, since all know the key.
    """
    require_finite_positive("zeroth_order", radius=radius)
    require_whole("zeroth_order: queries", queries)
    here = jnp.zeros([]) if central else loss(params)

    def measure(_: None, j: Array) -> tuple[None, Array]:
        """Measure the slope along one direction."""
        ahead = loss(_moved(params, key, j, radius, subspace, leaves))
        # The same direction is drawn anew, so that it is not kept while the loss runs.
        again = jax.lax.optimization_barrier((key, ahead))[0] if central else key
        behind = loss(_moved(params, again, j, -radius, subspace, leaves)) if central else here
        return None, (ahead - behind) / ((2 if central else 1) * radius)

    return jax.lax.scan(measure, None, jnp.arange(queries))[1]


def from_slopes(
    found: Float[Array, " queries"],
    params: PyTree,
    key: Array,
    *,
    subspace: Subspace | None = None,
    leaves: Leaves | None = None,
) -> PyTree:
    """Make the estimate of slopes and the key of their directions; it has the dtypes of ``params``.

    Args:
        found: what `slopes` returned; a mean over workers that share the key will do.
        params: arrays or `jax.ShapeDtypeStruct` objects.
        key: as for `slopes`.
        subspace: as for `slopes`.
        leaves: as for `slopes`.
    """
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, accumulator_dtype(x.dtype)), params)

    def add(total: PyTree, one: tuple[Array, Array]) -> tuple[PyTree, None]:
        """Add one direction."""
        j, slope = one
        z = _direction(params, key, j, subspace, leaves)
        return jax.tree.map(lambda t, x: t + (slope * x).astype(t.dtype), total, z), None

    total, _ = jax.lax.scan(add, zero, (jnp.arange(found.shape[0]), found))
    return jax.tree.map(lambda t, x: (t / found.shape[0]).astype(x.dtype), total, params)


def _moved(
    params: PyTree, key: Array, j: Array, radius: Number, subspace: Subspace | None, leaves: Leaves | None
) -> PyTree:
    """Return the parameters, moved along a direction."""
    z = _direction(params, key, j, subspace, leaves)
    return jax.tree.map(lambda x, d: (x + radius * d).astype(x.dtype), params, z)


def _direction(params: PyTree, key: Array, j: Array, subspace: Subspace | None, leaves: Leaves | None) -> PyTree:
    """Draw direction ``j``, in float32 or wider."""

    def draw(path: str, x: Array) -> Array:
        """Draw one parameter's part, by its path: whatever stands beside it."""
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"{path}: zeroth_order probes floating-point parameters, not {x.dtype}")
        mine = jax.random.fold_in(jax.random.fold_in(key, j), zlib.crc32(path.encode()))
        return jax.random.normal(mine, x.shape, accumulator_dtype(x.dtype))

    z = map_by_path(draw, params)
    return z if subspace is None else _within(z, subspace, leaves)


def _within(z: PyTree, subspace: Subspace, leaves: Leaves | None) -> PyTree:
    """Project the hidden matrices of a direction."""
    roles = {path: leaf.role for path, leaf in resolved(z, leaves).items()}
    hidden = map_by_path(lambda path, x: x if roles[path] == "hidden" else optax.MaskedNode(), z)
    lift = Lift(RandomSubspace(subspace.rank), leaves, seed=jax.random.bits(subspace.key))
    projected = by_path(lift.apply(hidden, lift.init(hidden))[0])
    return map_by_path(lambda path, x: projected.get(path, x), z)
