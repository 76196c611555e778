"""What a run of private steps reveals at most."""

import math

from optax_muon._numbers import require_not_negative, require_positive, require_share, require_whole


def privacy_spent(noise_multiplier: float, steps: int, delta: float, *, sampling_rate: float = 1.0) -> float:
    r"""Return the epsilon of (epsilon, delta)-differential privacy after a number of private steps.

    Use it before a run, to choose the noise. Without sampling T Gaussian mechanisms are one, and the value is exact:

    .. math::
        \delta = \Phi\left(\tfrac{\mu}{2} - \tfrac{\varepsilon}{\mu}\right)
        - e^\varepsilon \Phi\left(-\tfrac{\mu}{2} - \tfrac{\varepsilon}{\mu}\right), \qquad \mu = \sqrt T / \sigma

    With a sampling rate below one it is the bound of dp-accounting's privacy loss distributions, for batches that hold
    each example by an independent coin (Poisson sampling), which a shuffled epoch does not do.

    Args:
        noise_multiplier: sigma of the step as a whole, as `transforms.private_mean` takes it, for data sets that differ
            by one example more or less. Where one is replaced by another, what it can change is twice as much: give
            half of sigma.
        steps: T. Of batches that share no example one counts.
        delta: in (0, 1); far below one over the number of examples.
        sampling_rate: the chance of an example to be in a batch, in [0, 1].

    Raises:
        ValueError: for numbers out of range.
        ImportError: for a sampling rate below one without the package dp-accounting: ``optax-muon[privacy]``.

    References:
        Balle and Wang, arXiv 1805.06530; Dong, Roth, Su, arXiv 1905.02383;
        github.com/google/differential-privacy, python/dp_accounting.

    Example:
        >>> import optax_muon as om
        >>> round(om.privacy_spent(noise_multiplier=20.0, steps=100, delta=1e-5), 3)
        1.993
    """
    require_not_negative("privacy_spent", noise_multiplier=noise_multiplier)
    require_whole("privacy_spent: steps", steps, least=0)
    require_share("privacy_spent: sampling_rate", sampling_rate)
    require_positive("privacy_spent", delta=delta)
    require_positive("privacy_spent", of_one_over_delta=1 - delta)
    if steps == 0 or sampling_rate == 0:
        return 0.0
    if noise_multiplier == 0:
        return math.inf
    if sampling_rate == 1:
        return _gaussian(math.sqrt(steps) / noise_multiplier, delta)
    try:
        import dp_accounting  # pyright: ignore[reportMissingImports]
        from dp_accounting import pld  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "privacy_spent: a sampling rate below one needs dp-accounting: pip install 'optax-muon[privacy]'"
        ) from error
    event = dp_accounting.PoissonSampledDpEvent(sampling_rate, dp_accounting.GaussianDpEvent(noise_multiplier))
    return float(pld.PLDAccountant().compose(event, steps).get_epsilon(delta))


def _gaussian(mu: float, delta: float) -> float:
    """Solve for the least epsilon of a Gaussian mechanism by bisection."""
    low, high = 0.0, 1.0
    if _delta(mu, low) <= delta:
        return low
    while _delta(mu, high) > delta:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _delta(mu, middle) > delta else (low, middle)
    return high


def _delta(mu: float, epsilon: float) -> float:
    """Return the least delta of a Gaussian mechanism for epsilon."""
    a, b = mu / 2 - epsilon / mu, mu / 2 + epsilon / mu
    # e^epsilon times the density at -b is that at a, which no exponent overflows.
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    return 0.5 * math.erfc(-a / math.sqrt(2)) - density * _mills(b)


def _mills(b: float) -> float:
    """Return the tail of the normal distribution above ``b >= 0`` over its density there."""
    if b < 4:
        return 0.5 * math.erfc(b / math.sqrt(2)) * math.sqrt(2 * math.pi) * math.exp(b * b / 2)
    tail = b
    for k in range(60, 0, -1):  # Laplace's continued fraction, exact to rounding from here on
        tail = b + k / tail
    return 1 / tail
