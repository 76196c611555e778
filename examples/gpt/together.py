"""Decisions that all processes of a run share."""

from collections.abc import Callable

import jax
import numpy as np
from gpt.errors import RunError
from jax.experimental import multihost_utils


def on_first(act: Callable[[], int]) -> int:
    """Do something on process 0 alone and give its number to all; where it raises, every process stops.

    Raises:
        RunError: on the other processes, where it raised on the first.
    """
    if jax.process_count() == 1:
        return act()
    error: RunError | None = None
    number = 0
    if jax.process_index() == 0:
        try:
            number = act()
        except RunError as caught:
            error = caught
        except OSError as caught:
            error = RunError(str(caught))
    failed, number = multihost_utils.broadcast_one_to_all(np.array([error is not None, number], np.int32))
    if error is not None:
        raise error
    if failed:
        raise RunError("stopped with process 0, which says why")
    return int(number)
