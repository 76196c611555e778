"""How many matrices one exchange carries."""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from optax_muon.placement.exchange._planner import Run, exchange_elements


def divide_into_rounds(runs: Sequence[Run], grid: Mapping[str, int], max_bytes: int) -> list[list[Run]]:
    """Divide runs into rounds that send and receive at most ``max_bytes`` per device, one repetition at least."""
    # As if full, so that the first run opens a round.
    devices, rounds, filled = math.prod(grid.values()), [], max_bytes
    for run in runs:
        elements = max(exchange_elements(run.kinds, run.team, grid))
        nbytes = 2 * elements * devices * jnp.dtype(run.wire).itemsize
        per_round = devices // run.team
        for i in range(run.repeat):
            if filled + nbytes > max_bytes:
                rounds.append([])
                filled = 0
            piece = _slice(run, i * per_round, (i + 1) * per_round)
            started = bool(i and rounds[-1])  # then the round ends with this run's last repetition
            rounds[-1] = [*rounds[-1][:-1], _glue(rounds[-1][-1], piece)] if started else [*rounds[-1], piece]
            filled += nbytes
    return rounds


def _slice(run: Run, start: int, stop: int) -> Run:
    """Give one repetition of a run: its matrices number ``start`` to ``stop``."""
    parts, at = [], 0
    for part in run.parts:
        begin, end = max(start - at, 0), min(stop - at, part.count)
        if end > begin:
            parts.append(part._replace(start=part.start + begin, stop=part.start + end))
        at += part.count
    return run._replace(repeat=1, parts=tuple(parts))


def _glue(a: Run, b: Run) -> Run:
    """Join repetitions of one run."""
    return a._replace(repeat=a.repeat + b.repeat, parts=a.parts + b.parts)
