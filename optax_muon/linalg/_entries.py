"""A few entries of a matrix, the largest or random ones, and zeros elsewhere."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optax_muon._numbers import is_known
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MessageOp
from optax_muon.linalg.subspace._low_rank import per_key


class _SomeEntries(MessageOp):
    """What the choices of entries share: how many, and how entries become matrices."""

    fraction: float

    def __post_init__(self):
        """Raise on a fraction outside (0, 1]; it shapes the program."""
        if not is_known(self.fraction) or not 0 < self.fraction <= 1:
            raise ValueError(f"{type(self).__name__}: fraction must be a number in (0, 1], not {self.fraction}")

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Return no state."""
        del shape, dtype
        return ()

    def count(self, shape: tuple[int, ...]) -> int:
        """Give how many entries of each matrix are kept: at least one of a matrix that has any."""
        # Less a rounding error: a tenth of 30 entries is 3 and not 4.
        size = shape[-2] * shape[-1]
        return min(size, max(1, math.ceil(self.fraction * size - 1e-9)))

    def _placed(self, values: Array, where: Array, shape: tuple[int, ...]) -> Array:
        """Put entries at their places of matrices of zeros."""
        flat = jnp.zeros((*shape[:-2], shape[-2] * shape[-1]), values.dtype)
        placed = jnp.put_along_axis(flat, where.astype(jnp.int32), values, axis=-1, inplace=False)
        return placed.reshape(shape)


@dataclasses.dataclass(frozen=True)
class TopEntries(_SomeEntries):
    r"""Keep the entries of largest modulus.

    Use it, through `transforms.top_k`, where a message is to be small: it is a contraction.

    .. math::
        \|C(X) - X\|_F^2 \le (1 - k / (m n)) \|X\|_F^2, \qquad k = \lceil f m n \rceil

    Args:
        fraction: f, the share of the entries, in (0, 1].

    Raises:
        ValueError: for a fraction outside (0, 1].

    State: none.
    """

    fraction: float

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Keep the largest entries of every matrix; NaN counts as largest, so that it is seen."""
        del key
        self.check_others(x, others)
        require_inexact(x, "TopEntries")
        if 0 in x.shape:
            return x, carry, Info(message=((x, x), ()))
        flat = x.reshape(*x.shape[:-2], -1)
        where = jax.lax.top_k(jnp.abs(flat), self.count(x.shape))[1]
        values = jnp.take_along_axis(flat, where, axis=-1)
        # Two bytes number the entries of all but large matrices.
        short = where.astype(jnp.uint16 if flat.shape[-1] <= 1 << 16 else jnp.uint32)
        return self._placed(values, where, x.shape), carry, Info(message=((values, short), ()))

    def decode(self, sent: Any, common: Any, shape: tuple[int, ...]) -> Float[Array, "*batch m n"]:
        """Put the entries that were sent at the places that were sent."""
        del common
        values, where = sent
        return self._placed(values, where, shape) if 0 not in shape else values


@dataclasses.dataclass(frozen=True)
class RandomEntries(_SomeEntries):
    r"""Keep entries at random places, the same for all who have the key.

    Use it, through `transforms.random_k`: places need not be sent, and messages can be averaged as they travel.

    .. math::
        C(X) = a \, (S \circ X), \qquad S \text{ a random set of } k = \lceil f m n \rceil \text{ entries}

    Args:
        fraction: f, the share of the entries, in (0, 1].
        unbiased: a = 1 / f, whose mean is X; else a = 1, a contraction.

    Raises:
        ValueError: for a fraction outside (0, 1].

    State: none.
    """

    needs_key: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True

    fraction: float
    unbiased: bool = False

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Keep random entries of every matrix."""
        self.check_others(x, others)
        require_inexact(x, "RandomEntries")
        if 0 in x.shape:
            return x, carry, Info(message=(x, x))
        kept, size = self.count(x.shape), x.shape[-2] * x.shape[-1]

        def choose(x: Array, key: Array) -> Array:
            """Draw one matrix's places."""
            del x
            return jax.random.permutation(key, size)[:kept]

        where = per_key("RandomEntries", choose, x, key)
        values = jnp.take_along_axis(x.reshape(*x.shape[:-2], -1), where, axis=-1)
        # By the numbers of entries, not by the fraction, of which k / (m n) may be a little more.
        values = values * jnp.asarray(size / kept if self.unbiased else 1, values.dtype)
        return self._placed(values, where, x.shape), carry, Info(message=(values, where))

    def decode(self, sent: Any, common: Any, shape: tuple[int, ...]) -> Float[Array, "*batch m n"]:
        """Put the entries that were sent at the places that all have drawn."""
        return self._placed(sent, common, shape) if 0 not in shape else sent
