"""What a server does with gradients that arrive late: which it applies, how far it steps, and who starts anew."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from optax_muon._numbers import require_whole


@dataclasses.dataclass
class Server:
    """What a server knows while it waits.

    Attributes:
        seconds: of a gradient of each worker, without jitter.
        step: updates that were applied.
        delays: of each worker, updates that were applied since it started on its present gradient.
        kept: what a scheme keeps between arrivals.
    """

    seconds: Sequence[float]
    step: int = 0
    delays: list[int] = dataclasses.field(default_factory=list)
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def workers(self) -> range:
        """The workers' numbers."""
        return range(len(self.seconds))


class Scheme:
    """A rule for gradients that arrive late; `simulate` asks it at every arrival."""

    def arrived(self, server: Server, worker: int, grads: PyTree) -> PyTree | None:
        """Give the gradient of the update that is applied now, or None to wait."""
        del server, worker
        return grads

    def restart(self, server: Server, worker: int, applied: bool) -> Sequence[int]:
        """Give the workers that start at the present parameters; what others among them were doing is dropped."""
        del server, applied
        return [worker]

    def rate(self, server: Server, worker: int, delay: int) -> float:
        """Give the number that multiplies the update, by the sender and the delay of what it sent."""
        del server, worker, delay
        return 1.0


@dataclasses.dataclass(frozen=True)
class Vanilla(Scheme):
    """Apply every gradient at once, however late: workers that are fast then count for more."""


@dataclasses.dataclass(frozen=True)
class DelayAdaptive(Scheme):
    """Apply every gradient at once, a late one with a smaller rate: n / max(n, delay)."""

    def rate(self, server: Server, worker: int, delay: int) -> float:
        """Shrink beyond a delay of as many updates as there are workers."""
        del worker
        return len(server.seconds) / max(len(server.seconds), delay)


@dataclasses.dataclass(frozen=True)
class Rescaled(Scheme):
    """Apply every gradient at once, by a rate in proportion to the worker's time: all workers then count alike.

    Where data differ between workers, plain asynchronous descent goes to the minimum of the fast ones. The constant,
    the mean of all times, is ours; the abstract of arXiv 2605.13434 has none.
    """

    def rate(self, server: Server, worker: int, delay: int) -> float:
        """Give a worker's time over the mean time."""
        del delay
        return server.seconds[worker] * len(server.seconds) / math.fsum(server.seconds)


@dataclasses.dataclass(frozen=True)
class Ringmaster(Scheme):
    """Apply every gradient at once, and stop workers whose gradient would be too late: no applied delay reaches R.

    Args:
        max_delay: R, at least 1; 1 is the fastest worker alone.

    References:
        Sadiev et al., Ringmaster LMO, arXiv 2605.18174, github.com/vectozavr/ringmaster-lmo.
    """

    max_delay: int

    def __post_init__(self):
        """Raise on a delay below one."""
        require_whole("Ringmaster: max_delay", self.max_delay)

    def limit(self, step: int) -> int:
        """Give R after ``step`` updates."""
        del step
        return self.max_delay

    def restart(self, server: Server, worker: int, applied: bool) -> Sequence[int]:
        """Start the sender, and all whose delay has reached R."""
        del applied
        late = self.limit(server.step)
        return [worker, *(i for i in server.workers if i != worker and server.delays[i] >= late)]


@dataclasses.dataclass(frozen=True)
class ParameterAgnostic(Ringmaster):
    r"""Ringmaster that needs no numbers: :math:`R_k = \lfloor \sqrt k \rfloor`, and rates that fall as (k + 1)^(-3/4).

    Its momentum takes the k-th gradient by 1 / sqrt k: ``first_gradient_ema(lambda k: 1 - (k + 1) ** -0.5)``.

    References:
        Sadiev et al., Ringmaster LMO, arXiv 2605.18174, github.com/vectozavr/ringmaster-lmo.
    """

    max_delay: int = dataclasses.field(default=1, init=False)

    def limit(self, step: int) -> int:
        """Give R after ``step`` updates."""
        return max(1, math.isqrt(step))

    def rate(self, server: Server, worker: int, delay: int) -> float:
        """Give the rate of the next update."""
        del worker, delay
        return (server.step + 1) ** -0.75


@dataclasses.dataclass(frozen=True)
class Rennala(Scheme):
    """Wait for some gradients at the present parameters, apply their mean, and start all workers anew.

    Args:
        batch: how many, at least 1; as many as there are workers, with equal clocks, is a minibatch.

    References:
        Tyurin and Richtarik, Rennala SGD, arXiv 2205.12880; as in github.com/vectozavr/ringmaster-lmo.
    """

    batch: int

    def __post_init__(self):
        """Raise on an empty batch."""
        require_whole("Rennala: batch", self.batch)

    def arrived(self, server: Server, worker: int, grads: PyTree) -> PyTree | None:
        """Collect."""
        del worker
        found = [*server.kept.get("grads", []), grads]
        full = len(found) == self.batch
        server.kept["grads"] = [] if full else found
        return mean_of(found) if full else None

    def restart(self, server: Server, worker: int, applied: bool) -> Sequence[int]:
        """Start the sender, or all after a step."""
        return [*server.workers] if applied else [worker]


@dataclasses.dataclass(frozen=True)
class Ringleader(Scheme):
    """Step along the mean of one gradient from each worker, though they arrive at different times.

    First everybody has to send; what a fast worker sends again in the meantime goes into its mean. Then each worker's
    next arrival is a step, one of each worker in a round.

    References:
        Maranjyan and Richtarik, Ringleader ASGD, arXiv 2509.22860 (OUR READING of the baseline in
        github.com/vectozavr/ringmaster-lmo).
    """

    def arrived(self, server: Server, worker: int, grads: PyTree) -> PyTree | None:
        """Put the gradient into this round's table, or the next one's."""
        now, later = server.kept.setdefault("now", {}), server.kept.setdefault("later", {})
        stepped = server.kept.setdefault("stepped", [])
        if worker in stepped:
            later.setdefault(worker, []).append(grads)
            return None
        now.setdefault(worker, []).append(grads)
        if len(now) < len(server.seconds):
            return None
        stepped.append(worker)
        step = mean_of([mean_of(now[i]) for i in server.workers])
        if len(stepped) == len(server.seconds):
            server.kept.update(now=later, later={}, stepped=[])
        return step


def mean_of(trees: Sequence[PyTree]) -> PyTree:
    """Average gradients; one stays as it is."""
    if len(trees) == 1:
        return trees[0]
    return jax.tree.map(lambda *xs: sum(xs[1:], start=xs[0]) / len(xs), *trees)
