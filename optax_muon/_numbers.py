"""Checks of numbers that may be tracers: what cannot be looked at passes unread.

`optax.inject_hyperparams` turns every number into an array, and a comparison of one fails under `jax.jit`.
"""

import math
import numbers
from collections.abc import Callable
from typing import Any


def is_known(value: Any) -> bool:
    """Tell whether a number can be looked at: Python's and NumPy's scalars can, arrays and tracers cannot."""
    return isinstance(value, numbers.Real)


def require_fraction(what: str, value: Any) -> None:
    """Raise for a number outside [0, 1)."""
    _require(what, value, lambda x: 0 <= x < 1, "in [0, 1)")


def require_share(what: str, value: Any) -> None:
    """Raise for a number outside [0, 1]."""
    _require(what, value, lambda x: 0 <= x <= 1, "in [0, 1]")


def require_positive(owner: str, **options: Any) -> None:
    """Raise for numbers that are not above zero, NaN among them; infinity passes."""
    for name, value in options.items():
        _require(f"{owner}: {name}", value, lambda x: x > 0, "positive")


def require_finite_positive(owner: str, **options: Any) -> None:
    """Raise for numbers that are not above zero and finite."""
    for name, value in options.items():
        _require(f"{owner}: {name}", value, lambda x: 0 < x < math.inf, "positive and finite")


def require_not_negative(owner: str, **options: Any) -> None:
    """Raise for numbers below zero, and for NaN."""
    for name, value in options.items():
        _require(f"{owner}: {name}", value, lambda x: x >= 0, "positive or zero")


def require_whole(what: str, value: Any, least: int = 1) -> None:
    """Raise for anything but a whole number from ``least`` on; it is structure, so an array is none."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{what} must be a whole number >= {least}, not {value}")


def _require(what: str, value: Any, holds: Callable[[float], bool], says: str) -> None:
    """Raise for a number that can be looked at and does not hold."""
    # NaN fails every comparison, so each of these tests turns it away.
    if is_known(value) and not holds(float(value)):
        raise ValueError(f"{what} must be {says}, not {value}")
