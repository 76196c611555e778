"""Which workers talk to which, and how much each takes of the others'."""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_whole
from optax_muon.workers._worker_axis import AxisName, mean_over_workers, own, worker_count


class Graph(abc.ABC):
    r"""Whom each of n workers hears, and the weights: a circulant mixing matrix W.

    .. math::
        (W x)_i = \sum_s w_s \, x_{(i - s) \bmod n}, \qquad w_s \ge 0, \quad \sum_s w_s = 1

    so that a mean over workers is kept. One `jax.lax.ppermute` for every shift that is not zero.
    """

    @abc.abstractmethod
    def weights(self, workers: int) -> Mapping[int, float]:
        """Give the weight of every shift; shifts that coincide modulo ``workers`` are added later."""

    def shifts(self, workers: int) -> tuple[tuple[int, float], ...]:
        """Give (shift, weight) for every worker that is heard, one of each, the worker itself at shift 0.

        Raises:
            ValueError: for weights that are negative or do not add up to one.
        """
        require_whole(f"{type(self).__name__}: workers", workers)
        merged: dict[int, float] = {}
        for shift, weight in self.weights(workers).items():
            merged[shift % workers] = merged.get(shift % workers, 0.0) + weight
        total = math.fsum(merged.values())
        if not abs(total - 1) <= 1e-9 or min(merged.values()) < 0:
            raise ValueError(f"{self}: weights must be positive or zero and add up to 1, not {merged} with sum {total}")
        return tuple((shift, weight) for shift, weight in sorted(merged.items()) if weight)

    def eigenvalues(self, workers: int) -> np.ndarray:
        """Give the eigenvalues of W, complex where the graph is not symmetric, by the DFT of its weights."""
        row = np.zeros(workers)
        for shift, weight in self.shifts(workers):
            row[shift] = weight
        found = np.fft.fft(row)
        symmetric = np.allclose(row, np.roll(row[::-1], 1), rtol=0, atol=1e-12)
        return found.real if symmetric else found

    def smallest_eigenvalue(self, workers: int) -> float:
        """Give the smallest eigenvalue of a symmetric W.

        Raises:
            ValueError: for a graph in which a worker hears others than those that hear it.
        """
        found = self.eigenvalues(workers)
        if np.iscomplexobj(found):
            raise ValueError(f"{self}: its mixing matrix is not symmetric for {workers} workers, so it has no smallest "
                             "eigenvalue; give shift and -shift the same weight")  # fmt: skip
        return float(found.min())

    def mix(self, tree: PyTree, axis_name: AxisName) -> PyTree:
        """Replace every worker's arrays by the weighted mean of those that it hears.

        Args:
            tree: one worker's arrays.
            axis_name: the workers' axis; None: one worker, whose arrays stay.

        Raises:
            ValueError: for an axis that is not there, or a graph whose workers never agree, as it is not connected.
        """
        count = worker_count(axis_name, type(self).__name__)
        if count == 1:
            return tree
        self.require_connected(count)
        shifts = self.shifts(count)

        def mixed(x: Array) -> Array:
            """Add up what one array is on the workers that are heard; sums are in float32 or wider."""
            wide = jnp.promote_types(x.dtype, jnp.float32)
            total = jnp.zeros_like(x, wide)
            for shift, weight in shifts:
                heard = x if shift == 0 else lax.ppermute(x, axis_name, _pairs(count, shift))
                total = total + weight * heard.astype(wide)
            return total.astype(x.dtype)

        return jax.tree.map(mixed, own(tree, axis_name))

    def require_connected(self, workers: int) -> None:
        """Raise where some eigenvalue beside the first has modulus one: then workers stay apart for ever."""
        moduli = np.sort(np.abs(self.eigenvalues(workers)))
        if workers > 1 and moduli[-2] > 1 - 1e-9:
            raise ValueError(
                f"{self}: {workers} workers never agree, because they are not connected or only take turns; add a "
                "shift, or weight at shift 0"
            )


def _pairs(count: int, shift: int) -> Sequence[tuple[int, int]]:
    """List who sends to whom."""
    return [(i, (i + shift) % count) for i in range(count)]


@dataclasses.dataclass(frozen=True)
class Circulant(Graph):
    """Any graph that looks the same from every worker.

    Args:
        shift_weights: pairs of a shift and its weight; the worker itself is shift 0.

    Example:
        >>> import optax_muon as om
        >>> om.workers.Circulant(((0, 0.5), (1, 0.25), (-1, 0.25))).smallest_eigenvalue(4)
        0.0
    """

    shift_weights: tuple[tuple[int, float], ...]

    def __post_init__(self):
        """Raise on a graph without a shift, and on shifts that are no whole numbers."""
        if not self.shift_weights:
            raise ValueError("Circulant: shift_weights is empty")
        for shift, _ in self.shift_weights:
            require_whole("Circulant: a shift", abs(shift), least=0)

    def weights(self, workers: int) -> Mapping[int, float]:
        """Give the weights as they are, those of one shift added."""
        del workers
        return {s: math.fsum(w for t, w in self.shift_weights if t == s) for s, _ in self.shift_weights}


@dataclasses.dataclass(frozen=True)
class Ring(Graph):
    """Two neighbours: a third of each of the three.

    Args:
        lazy: half of the ring and half of what one has. It mixes more slowly, and is positive definite but for the
            numbers of workers at which it is singular: exact diffusion and EXTRA are unstable on the plain ring of an
            even number, whose smallest eigenvalue is -1/3.
    """

    lazy: bool = True

    def weights(self, workers: int) -> Mapping[int, float]:
        """Give the worker itself and both neighbours; of two workers they are one."""
        del workers
        side = 1 / 6 if self.lazy else 1 / 3
        return {0: 1 - 2 * side, 1: side, -1: side}


@dataclasses.dataclass(frozen=True)
class Complete(Graph):
    """Every worker hears all: one mean. It is computed as one all-reduce."""

    def weights(self, workers: int) -> Mapping[int, float]:
        """Weigh all alike."""
        return dict.fromkeys(range(workers), 1 / workers)

    def mix(self, tree: PyTree, axis_name: AxisName) -> PyTree:
        """Replace every worker's arrays by the mean over all."""
        return own(mean_over_workers(tree, axis_name, "Complete"), axis_name)


@dataclasses.dataclass(frozen=True)
class Exponential(Graph):
    """Neighbours at 1, 2, 4, ... to both sides, and the worker itself, all alike: agrees in about log n rounds."""

    def weights(self, workers: int) -> Mapping[int, float]:
        """Give powers of two below half the ring, to both sides."""
        steps = [1 << k for k in range(workers.bit_length()) if 1 << k <= workers // 2]
        heard = {0} | {(sign * step) % workers for step in steps for sign in (1, -1)}
        return dict.fromkeys(sorted(heard), 1 / len(heard))
