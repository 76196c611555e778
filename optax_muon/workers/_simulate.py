"""Workers of different speeds and one server, on one machine: clocks around any optimizer."""

import dataclasses
import heapq
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_finite_positive, require_not_negative
from optax_muon.matrices._check_state import check_gradients
from optax_muon.workers._schemes import Scheme, Server

Gradient = Callable[[PyTree, Array, Array], PyTree]


@dataclasses.dataclass(frozen=True)
class Clock:
    """How long each worker takes for a gradient.

    Args:
        seconds: of each worker, one number per worker.
        jitter: a gradient takes ``seconds * (1 + jitter |z|)``, z normal; 0: always the same.
    """

    seconds: Sequence[float]
    jitter: float = 0.0

    def __post_init__(self):
        """Raise on no workers, and on times that are not above zero and finite."""
        object.__setattr__(self, "seconds", tuple(float(s) for s in self.seconds))
        if not self.seconds:
            raise ValueError("Clock: seconds is empty; give one number per worker")
        for i, each in enumerate(self.seconds):
            require_finite_positive("Clock", **{f"seconds[{i}]": each})
        require_not_negative("Clock", jitter=self.jitter)

    def takes(self, worker: int, rng: np.random.Generator) -> float:
        """Draw how long the next gradient of a worker takes."""
        return self.seconds[worker] * (1 + self.jitter * abs(rng.standard_normal()) if self.jitter else 1)


class Simulation(NamedTuple):
    """What `simulate` gives.

    Attributes:
        params: the last parameters.
        state: the optimizer's last state.
        history: columns of equal length, a row for every applied update: ``time`` in seconds, ``step`` from 1,
            ``worker`` and ``delay`` of what arrived, and ``value`` where ``record`` was given.
    """

    params: PyTree
    state: optax.OptState
    history: dict[str, np.ndarray]


def simulate(
    tx: optax.GradientTransformation,
    params: PyTree,
    gradient: Gradient | Sequence[Gradient],
    *,
    clock: Clock,
    scheme: Scheme,
    time: float = math.inf,
    steps: float = math.inf,
    seed: int = 0,
    record: Callable[[PyTree], Any] | None = None,
) -> Simulation:
    """Train as workers of different speeds and one server would, one arrival after the other.

    Use it to choose a scheme for machines that you know the speeds of. Nothing runs at the same time: a heap of finish
    times says who is next, so that one seed gives one history.

    Args:
        tx: the server's optimizer, its rate included.
        params: where all start.
        gradient: ``gradient(params, key, worker)``, jitted here; or one such function per worker.
        clock: seconds of each worker.
        scheme: `Ringmaster`, `ParameterAgnostic`, `Rennala`, `DelayAdaptive`, `Rescaled`, `Ringleader` or `Vanilla`.
        time: seconds at which it ends.
        steps: updates after which it ends.
        seed: of the keys and of the jitter.
        record: ``record(params)``, a number for the history, after every update; jitted here.

    Raises:
        ValueError: without an end, for a number of gradients that is not that of the workers, and naming the worker
            whose gradient is not of the parameters.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> run = om.workers.simulate(
        ...     optax.sgd(0.5), {"w": jnp.ones(())}, lambda params, key, worker: params,
        ...     clock=om.workers.Clock([1.0, 3.0]), scheme=om.workers.Ringmaster(max_delay=2), time=4.0)
        >>> run.history["worker"].tolist(), run.history["delay"].tolist(), float(run.params["w"])
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0625)
    """
    if math.isinf(time) and math.isinf(steps):
        raise ValueError("simulate: give time or steps, or it would never end")
    count = len(clock.seconds)
    given = [gradient] * count if callable(gradient) else list(gradient)
    if len(given) != count:
        raise ValueError(f"simulate: {len(given)} gradients for the {count} workers of the clock")
    jitted = {id(each): jax.jit(each) for each in given}
    update, measure = jax.jit(_update(tx)), None if record is None else jax.jit(record)
    server = Server(clock.seconds, delays=[0] * count)
    queue, rows, state = _Queue(clock, seed), [], tx.init(params)
    for worker in server.workers:
        queue.start(worker, params)
    while server.step < steps:
        now, worker, snapshot, key = queue.next()
        if now > time:
            break
        grads = jitted[id(given[worker])](snapshot, key, jnp.int32(worker))
        _require_alike(grads, params, worker)
        delay, applied = server.delays[worker], scheme.arrived(server, worker, grads)
        if applied is not None:
            params, state = update(applied, state, params, scheme.rate(server, worker, delay))
            server.step += 1
            server.delays = [each + 1 for each in server.delays]
            value = {} if measure is None else {"value": float(measure(params))}
            rows.append({"time": now, "step": server.step, "worker": worker, "delay": delay, **value})
        for each in scheme.restart(server, worker, applied is not None):
            server.delays[each] = 0
            queue.start(each, params)
    names = ("time", "step", "worker", "delay", *([] if record is None else ["value"]))
    return Simulation(params, state, {name: np.array([row[name] for row in rows]) for name in names})


class _Queue:
    """Gradients that are being computed, by the time at which they are ready."""

    def __init__(self, clock: Clock, seed: int):
        self.clock, self.rng, self.key = clock, np.random.default_rng(seed), jax.random.key(seed)
        self.now, self.started = 0.0, 0
        self.heap: list[tuple[float, int, int]] = []
        self.doing: dict[int, tuple[int, PyTree]] = {}

    def start(self, worker: int, params: PyTree) -> None:
        """Let a worker begin at these parameters; what it was doing is dropped."""
        heapq.heappush(self.heap, (self.now + self.clock.takes(worker, self.rng), self.started, worker))
        self.doing[worker] = (self.started, params)
        self.started += 1

    def next(self) -> tuple[float, int, PyTree, Array]:
        """Give the next gradient that is ready: when, whose, where and with which key."""
        while True:
            self.now, number, worker = heapq.heappop(self.heap)
            current, params = self.doing[worker]
            if current == number:
                return self.now, worker, params, jax.random.fold_in(self.key, number)


def _update(tx: optax.GradientTransformation) -> Callable[..., tuple[PyTree, optax.OptState]]:
    """Make the server's step."""

    def update(grads: PyTree, state: optax.OptState, params: PyTree, rate: Any) -> tuple[PyTree, optax.OptState]:
        """Step by the optimizer's update times a rate."""
        updates, state = tx.update(grads, state, params)
        updates = jax.tree.map(lambda u: (u * rate).astype(u.dtype), updates)
        return optax.apply_updates(params, updates), state

    return update


def _require_alike(grads: PyTree, params: PyTree, worker: int) -> None:
    """Raise where a worker's gradient is not of the parameters, and name the worker."""
    try:
        check_gradients(grads, params)
    except ValueError as error:
        raise ValueError(f"simulate: worker {worker}: {error}") from error
