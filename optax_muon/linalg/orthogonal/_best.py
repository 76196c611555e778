"""The plain or the Gram iteration, whichever is faster for a shape and safe in an arithmetic."""

import jax
import numpy as np
from jaxtyping import Array

from optax_muon.linalg._arithmetic import BFLOAT16, FLOAT32, Arithmetic
from optax_muon.linalg.orthogonal._by_platform import ByPlatform
from optax_muon.linalg.orthogonal._coefficients import POLAR_EXPRESS_NANOGPT_2025
from optax_muon.linalg.orthogonal._gram_newton_schulz import GramNewtonSchulz
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz
from optax_muon.linalg.orthogonal._normalizer import Normalizer
from optax_muon.linalg.orthogonal._plain_or_gram import PlainOrGram
from optax_muon.linalg.orthogonal._table import Coefficients


def best(
    coefficients: Coefficients | Array | np.ndarray = POLAR_EXPRESS_NANOGPT_2025,
    *,
    normalize: Normalizer | None = None,
    arithmetic: Arithmetic | None = None,
) -> NewtonSchulz | PlainOrGram | ByPlatform:
    """Make the fastest iteration of a schedule that is safe in an arithmetic.

    Use it wherever an orthogonaliser is asked for, unless you compare iterations. Shapes are static, so the choice
    costs nothing at run time: long matrices take `GramNewtonSchulz` (a third fewer FLOPs at four times as long as
    wide), all others `NewtonSchulz`. It is the plain iteration alone for float32 storage at DEFAULT precision, where
    the Gram iteration is unsafe on a TPU, and for coefficients in a `jax.Array`, whose slopes are not known beforehand.

    Args:
        coefficients: a table of `optax_muon.linalg`, or any array of shape (steps, terms), lowest degree first.
        normalize: brings the singular values into [0, 1]; None: the norm that the table was made for.
        arithmetic: storage dtype and precision of the products. None: the platform's, float32 on a CPU and bfloat16
            with float32 sums on a TPU or GPU, as published Muons compute; float32 there too for a table without room
            for bfloat16's rounding. An arithmetic that is given holds on every platform.

    Raises:
        ValueError: for a table that is not (steps, terms), or that rounding in the given arithmetic would drive out of
            its bounds.

    Example:
        >>> import optax_muon as om
        >>> fast = om.linalg.best(om.linalg.POLAR_EXPRESS_NANOGPT_2025, arithmetic=om.linalg.FLOAT32)
        >>> type(fast.choice(512, 512)).__name__, type(fast.choice(2048, 512)).__name__
        ('NewtonSchulz', 'GramNewtonSchulz')
    """
    if arithmetic is not None:
        return _in_one(coefficients, normalize, arithmetic)
    cpu = _in_one(coefficients, normalize, FLOAT32)
    # Rounding of an array's polynomials is the caller's affair, as in `NewtonSchulz`; a table shows its own.
    if isinstance(coefficients, Coefficients) and not coefficients.survives(8):
        return cpu
    return ByPlatform(cpu, _in_one(coefficients, normalize, BFLOAT16))


def _in_one(
    coefficients: Coefficients | Array | np.ndarray, normalize: Normalizer | None, arithmetic: Arithmetic
) -> NewtonSchulz | PlainOrGram:
    """Make the fastest iteration in one arithmetic for all platforms."""
    plain = NewtonSchulz(coefficients, normalize, arithmetic)
    # Restarts are chosen in Python from the numbers of the table, which a traced array does not show.
    if arithmetic.significand_bits is None or isinstance(coefficients, jax.Array):
        return plain
    return PlainOrGram(plain, GramNewtonSchulz(coefficients, normalize, arithmetic))
