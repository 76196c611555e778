"""Generate coefficient schedules: the composition of odd minimax polynomials for a given lower bound."""

import numpy as np
from jaxtyping import Float
from numpy.polynomial import polynomial

# The odd polynomial of degree 2k - 1 that touches 1 at s = 1 to the highest order: the limit of a narrow interval.
_LIMIT = {2: np.array([3, -1]) / 2, 3: np.array([15, -10, 3]) / 8, 4: np.array([35, -35, 21, -5]) / 16}

# Below this relative width the minimax polynomial differs from its limit by less than float64 can hold.
_NARROW = 5e-6


def minimax_coefficients(
    lower: float, steps: int, degree: int = 5, cushion: float = 0.0, safety: float = 0.0
) -> Float[np.ndarray, "steps terms"]:
    r"""Generate the schedule whose composition brings ``[lower, 1]`` as close to 1 as ``steps`` odd polynomials can.

    Use it when the published tables do not fit the bound, the number of steps or the degree you want. Every step is the
    minimax polynomial of the interval that the step before it left, which is optimal among compositions.

    .. math::
        p_t = \arg\min_{p \text{ odd}, \deg p = d} \; \max_{s \in [\max(l_t, \kappa u_t), u_t]} |1 - p(s)|,
        \qquad l_{t+1} = p_t(l_t), \quad u_{t+1} = 2 - l_{t+1}

    Args:
        lower: smallest singular value to serve, relative to the norm that the matrix is divided by; in (0, 1).
        steps: number of polynomials, at least 1.
        degree: 3, 5 or 7.
        cushion: the polynomials are made for at least ``[cushion u, u]`` and re-centred; in [0, 1). It keeps small
            singular values of an early step from being lifted above ``u`` by rounding; 0.02 serves bfloat16. The
            kappa of the formula.
        safety: excess of every step's argument over the interval, in [0, 1): coefficient ``i`` of all rows but the
            last is divided by ``(1 + safety)^(2i+1)``. Divide the matrix by ``1 + safety`` too: `Coefficients.safety`.

    Raises:
        ValueError: for an argument outside its range.

    Returns:
        float64 array, a row ``(c0, c1, ...)`` per step, lowest degree first.

    References:
        Amsel et al., The Polar Express, arXiv 2505.16932; Grishina et al., CANS, arXiv 2506.10935 (no cushion).

    Example:
        >>> import optax_muon as om
        >>> om.linalg.minimax_coefficients(0.1, steps=2, degree=3).round(3).tolist()
        [[3.963, -3.571], [1.85, -0.549]]
    """
    _check(lower, steps, degree, cushion, safety)
    rows, low, high = [], float(lower), 1.0
    for step in range(steps):
        row, error = _best_odd(max(low, cushion * high), high, (degree + 1) // 2)
        cushioned = cushion * high > low
        if cushioned:
            # A cushioned polynomial was made for less than the interval, so its image is off centre: this brings the
            # two ends to equal distances from 1.
            row = row * (2 / (_evaluate(row, low) + _evaluate(row, high)))
        # The last row is not divided: nothing follows that an overshoot could hurt, and its values should end at 1.
        if step < steps - 1:
            row = row / (1 + safety) ** (2 * np.arange(len(row)) + 1)
        rows.append(row)
        # Without cushion and safety p(low) = 1 - error exactly; evaluating the row would only add rounding.
        low = _evaluate(row, low) if cushioned or safety else 1 - error
        # The error equioscillates, so the image is symmetric around 1; a cushion can leave low above it.
        low, high = sorted((low, 2 - low))
    return np.stack(rows)


def _check(lower, steps, degree, cushion, safety) -> None:
    """Raise on arguments outside their ranges."""
    if not 0 < lower < 1:
        raise ValueError(f"minimax_coefficients: lower must be in (0, 1), not {lower}")
    if int(steps) != steps or steps < 1:
        raise ValueError(f"minimax_coefficients: steps must be an integer >= 1, not {steps}")
    if degree not in (3, 5, 7):
        raise ValueError(f"minimax_coefficients: degree must be 3, 5 or 7, not {degree}")
    if not 0 <= cushion < 1:
        raise ValueError(f"minimax_coefficients: cushion must be in [0, 1), not {cushion}")
    if not 0 <= safety < 1:
        raise ValueError(f"minimax_coefficients: safety is an excess in [0, 1) such as 0.02, not {safety}")


def _evaluate(row: np.ndarray, s: float) -> float:
    """Value of the odd polynomial ``row`` at ``s``."""
    return float(s * polynomial.polyval(s * s, row))


def _best_odd(low: float, high: float, terms: int) -> tuple[np.ndarray, float]:
    """Remez: the odd polynomial nearest to 1 on ``[low, high]``, and its error.

    Everything is relative to the limit polynomial and in the variable ``tau`` in [-1, 1] of
    ``(s / centre)^2 = 1 + width tau``: on a narrow interval the monomials are parallel to working precision, and the
    error of the limit is a difference of equal numbers unless it is written in ``s / centre - 1``.
    """
    centre = np.sqrt((low * low + high * high) / 2)
    width = (high * high - low * low) / (high * high + low * low)
    powers = 2 * np.arange(terms) + 1
    if low >= high * (1 - _NARROW):
        return _LIMIT[terms] / centre**powers, 0.0
    # Chebyshev nodes start all degrees; the paper's quarter points are for quintics alone.
    x = (low + high - (high - low) * np.cos(np.pi * np.arange(terms + 1) / terms)) / 2 / centre
    # The error alternates over terms + 1 points: as many equations as coefficients and one error.
    sign, error, r = (-1.0) ** np.arange(terms + 1), np.inf, []
    # Remez converges quadratically: 3 to 8 rounds. The bound only keeps a NaN from looping.
    for _ in range(100):
        columns = x[:, None] * np.vander((x * x - 1) / width, terms, increasing=True)
        *r, new = np.linalg.solve(np.column_stack([columns, sign]), _limit_error(x, terms))
        x[1:-1] = _extrema(np.array(r), width, terms)
        error, last = new, error
        if abs(error - last) <= 1e-15 * abs(error):
            break
    y = _LIMIT[terms].copy()
    for i, c in enumerate(r):
        y[: i + 1] += c * polynomial.polypow([-1 / width, 1 / width], i)
    return y / centre**powers, abs(float(error))


def _limit_error(x: np.ndarray, terms: int) -> np.ndarray:
    """``1 - limit(x)`` without cancellation: the antiderivative of ``limit'(1 + h) ~ (-2h - h^2)^(terms - 1)``."""
    h = x - 1
    slope = polynomial.polypow([0, -2, -1], terms - 1) * _LIMIT[terms][0]
    return -polynomial.polyval(h, polynomial.polyint(slope))


def _extrema(r: np.ndarray, width: float, terms: int) -> np.ndarray:
    """Interior extrema of the error: where the derivative vanishes, as values of ``s / centre``."""
    limit = _LIMIT[terms][0] * polynomial.polypow([0, -width], terms - 1)
    rest = polynomial.polymul([1, width], polynomial.polyder(r)) * (2 / width)
    # tau is affine in s^2, so the odd polynomial's extrema are roots of degree terms - 1, all real.
    tau = polynomial.polyroots(polynomial.polyadd(polynomial.polyadd(r, rest), limit))
    return np.sqrt(1 + width * np.sort(tau.real))
