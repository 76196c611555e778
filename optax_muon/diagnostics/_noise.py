"""How evenly gradient noise is spread over coordinates."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype


def density(v: Float[Array, "..."]) -> Float[Array, ""]:
    r"""Measure how evenly a vector is spread: 1 if all entries are of one size, 1/d if one is alone; no unit.

    Use it to see whether signs, which treat all coordinates alike, fit a gradient or its noise.

    .. math:: \phi(v) = \frac{\|v\|_1^2}{d \, \|v\|_2^2}

    Gaussian entries have 2/pi. SignSGD gains on SGD by up to d where noise is sparse (arXiv 2605.06615).

    Args:
        v: an array, of which all entries count. Zero has density 0, NaN gives NaN.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> float(om.diagnostics.density(jnp.array([0.0, 3.0, 0.0, 0.0])))
        0.25
    """
    wide = jnp.abs(v.astype(accumulator_dtype(v.dtype)))
    # phi is scale free, so squares can be taken in units of the largest entry.
    largest = jnp.max(wide, initial=0)
    wide = wide / jnp.where(largest == 0, 1, largest)
    squares = jnp.sum(jnp.square(wide))
    return jnp.where(squares == 0, 0, jnp.square(jnp.sum(wide)) / jnp.where(squares == 0, 1, squares) / max(1, v.size))


def noise_density(grads: Float[Array, "samples ..."]) -> Float[Array, ""]:
    r"""Measure the `density` of the noise of a gradient: of each coordinate's standard deviation over samples.

    Use it at one point of a run, on a handful of batches.

    .. math:: \phi(\sigma), \qquad \sigma_i^2 = \operatorname{Var}_k (g_k)_i

    Args:
        grads: gradients of several batches of one size at one point, stacked; two at least.

    Cost: no HVP; the gradients are the user's, one per batch.

    Raises:
        ValueError: for fewer than two samples.

    References:
        arXiv 2605.06615.
    """
    if grads.ndim < 1 or grads.shape[0] < 2:
        raise ValueError(f"noise_density: grads must hold two samples at least, not shape {grads.shape}")
    return density(jnp.std(grads.astype(accumulator_dtype(grads.dtype)), axis=0))
