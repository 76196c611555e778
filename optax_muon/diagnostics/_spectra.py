"""What the singular values of a gradient, an update or an input say about Muon."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg import FLOAT32, SpectralMap
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._scale import divide_by_largest_entry


def nuclear_rank(x: Float[Array, "*batch m n"], orthogonalizer: SpectralMap | None = None) -> Float[Array, "*batch"]:
    r"""Measure how many directions of equal strength a gradient has, from 1 to its rank; no unit.

    Use it on gradients, to see whether Muon has directions to even out.

    .. math:: \|X\|_*^2 / \|X\|_F^2

    It is the right-hand side of the condition of arXiv 2505.23737, eq. (4) of its first version, and Davis and
    Drusvyatskiy compare it with the `stable_rank` of the layer's inputs (arXiv 2512.04299).

    Args:
        x: gradients. Zero has nuclear rank 0, NaN gives NaN.
        orthogonalizer: for the nuclear norm ``<x, orth(x)>``, as good as the map; None decomposes.

    Raises:
        TypeError: for integer matrices.

    Cost: no HVP; one decomposition, or one orthogonalisation.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> [round(float(om.diagnostics.nuclear_rank(x)), 3) for x in (jnp.eye(4), jnp.ones((4, 4)))]
        [4.0, 1.0]
    """
    scaled = _scaled(x, "nuclear_rank")
    if orthogonalizer is None:
        nuclear = jnp.sum(_singular_values(scaled), axis=-1)
    else:
        nuclear = jnp.sum(scaled * orthogonalizer.apply(x), axis=(-2, -1))
    return _ratio(jnp.square(nuclear), jnp.sum(jnp.square(scaled), axis=(-2, -1)))


def stable_rank(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
    r"""Measure how many directions carry a matrix's energy, from 1 to its rank; no unit.

    .. math:: \|X\|_F^2 / \|X\|_{op}^2

    Of a layer's inputs (`layer_inputs`) it is small where one direction dominates, such as the mean after a ReLU; there
    Muon's steps meet less curvature than gradient descent fears. The criterion of arXiv 2512.04299: a spectral step
    wins where the gradient's `nuclear_rank` is at least this.

    Args:
        x: inputs as (tokens, features), or any matrices. Zero has stable rank 0, NaN gives NaN.

    Raises:
        TypeError: for integer matrices.

    Cost: no HVP; the eigenvalues of the shorter side's Gram matrix.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> float(om.diagnostics.stable_rank(jnp.diag(jnp.array([2.0, 1.0, 1.0]))))
        1.5
    """
    x = _scaled(x, "stable_rank")
    # Squaring the spectrum is harmless here: only the trace and the largest eigenvalue are asked for.
    gram = FLOAT32.gram(x if x.shape[-2] <= x.shape[-1] else x.mT)
    if 0 in gram.shape:
        return jnp.zeros(x.shape[:-2], x.dtype)
    return _ratio(jnp.trace(gram, axis1=-2, axis2=-1), jnp.linalg.eigvalsh(gram)[..., -1])


def spectral_flatness(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
    r"""Compare the mean singular value with the largest: 1 for an orthogonal matrix, 1 / min(m, n) for rank one.

    Use it on momenta.

    .. math:: \frac{1}{k} \sum_i \sigma_i / \sigma_1, \qquad k = \min(m, n)

    Of the momentum it tells how much Muon changes the direction: nothing at 1 (arXiv 2605.13079).

    Args:
        x: momenta or gradients. Zero has flatness 0, NaN gives NaN.

    Raises:
        TypeError: for integer matrices.

    Cost: no HVP; one decomposition.
    """
    s = _singular_values(_scaled(x, "spectral_flatness"))
    return _ratio(jnp.sum(s, axis=-1) / max(1, s.shape[-1]), jnp.max(s, axis=-1, initial=0))


def largest_stable_step(
    grad: Float[Array, "*batch m n"], curvature: Float[Array, "*batch"] | float
) -> Float[Array, "*batch"]:
    r"""Return the step of Muon, in spectral norm, beyond which a quadratic of this curvature may rise.

    Use it to place a learning rate relative to where training becomes unstable.

    .. math:: \eta_{max} = \frac{2}{\lambda_{max}} \frac{1}{k} \sum_i \sigma_i(G), \qquad k = \min(m, n)

    Gradient descent's own bound is :math:`2 / \lambda_{max}`. A step that follows the true curvature of Muon's
    direction, :math:`2 \|G\|_* / J_t`, is never shorter when the matrix has full rank.

    Args:
        grad: gradients, in loss per weight.
        curvature: :math:`\lambda_{max}`, e.g. from `top_curvature`, in loss per squared weight.

    Raises:
        TypeError: for integer matrices.

    Cost: no HVP; one decomposition.

    References:
        Nguyen et al., arXiv 2605.13079, result 1.
    """
    require_inexact(grad, "largest_stable_step")
    s = _singular_values(grad.astype(accumulator_dtype(grad.dtype)))
    return 2 * jnp.sum(s, axis=-1) / max(1, s.shape[-1]) / curvature


def lmo_gap(x: Float[Array, "*batch m n"], orthogonalizer: SpectralMap) -> Float[Array, "*batch"]:
    r"""Measure what an inexact orthogonaliser loses: 0 for the exact one, 1 for a useless direction.

    Use it to choose a table and its number of steps on a run's own momenta.

    .. math:: 1 - \frac{\langle X, Y \rangle}{\|X\|_* \|Y\|_{op}}, \qquad Y = \operatorname{orth}(X)

    This is the relative error of the linear minimisation oracle over the spectral ball through ``Y``; the decrease of a
    step of given spectral norm shrinks by this fraction to first order.

    It stays informative where the smallest singular value vanishes, the degenerate case of Qian and Richtarik: for
    diag(1/2, e/2) with e = 1e-8 and five steps of the tuned quintic without a norm before, Y is about diag(0.77, 0).
    Its distance to the polar factor is 1, for any e; the gap is e, since what was missed carries nothing.

    Args:
        x: momenta. Zero has gap 0, NaN gives NaN.
        orthogonalizer: a map of `optax_muon.linalg`.

    Raises:
        TypeError: for integer matrices.

    Cost: no HVP; two decompositions and one orthogonalisation.

    References:
        Qian and Richtarik, arXiv 2606.21581, of which the abstract was found.
    """
    # The map sees the matrix itself: a smooth one depends on its scale.
    y = orthogonalizer.apply(x).astype(accumulator_dtype(x.dtype))
    x = _scaled(x, "lmo_gap")
    bound = jnp.sum(_singular_values(x), axis=-1) * jnp.max(_singular_values(y), axis=-1, initial=0)
    seen = jnp.sum(x * y, axis=(-2, -1))
    return jnp.where(bound == 0, 0, 1 - seen / jnp.where(bound == 0, 1, bound))


def update_rms(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
    """Measure the root mean square of every matrix's entries; Adam's updates have about 0.2 before the rate.

    Use it to compare the size of two optimizers' steps before the learning rate.

    Args:
        x: updates, in units of the weight.

    Raises:
        TypeError: for integer matrices.

    Cost: no HVP.
    """
    require_inexact(x, "update_rms")
    wide = x.astype(accumulator_dtype(x.dtype))
    largest = jnp.max(jnp.abs(wide), axis=(-2, -1), initial=0)
    mean = jnp.sum(jnp.square(_scaled(x, "update_rms")), axis=(-2, -1)) / max(1, x.shape[-2] * x.shape[-1])
    return largest * jnp.sqrt(mean)


def _scaled(x: Array, what: str) -> Array:
    """Raise on what is no stack of matrices, then bring the largest entry to 1, where there is one."""
    require_inexact(x, f"diagnostics.{what}")
    return divide_by_largest_entry(x) if x.size else x.astype(accumulator_dtype(x.dtype))


def _singular_values(x: Array) -> Array:
    """Return singular values ``(*batch, min(m, n))``, also of empty matrices."""
    if 0 in x.shape:
        return jnp.zeros((*x.shape[:-2], min(x.shape[-2:])), x.dtype)
    return jnp.linalg.svd(x, compute_uv=False)


def _ratio(a: Array, b: Array) -> Array:
    """Divide; zero over zero is zero."""
    # Only zero over zero is given a value: NaN must stay NaN.
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))
