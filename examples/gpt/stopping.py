"""What ends a run before its last step: a signal, or a loss that is not finite."""

import os
import signal
import threading
from types import FrameType

import jax
import jax.numpy as jnp
from gpt.errors import RunError
from jax.experimental import multihost_utils
from jaxtyping import Array, Bool, PyTree

NOTICED = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Notices SIGTERM and SIGINT, so that the run can save and end after its step; a second one ends it at once.

    Of several processes JAX's preemption service tells all the others, and all end after the same step.
    """

    def __init__(self):
        self.number: int | None = None
        self.several = jax.process_count() > 1
        self.before: dict = {}

    def __enter__(self) -> "Signals":
        # Only the main thread may; and of several processes SIGTERM has JAX's own handler.
        if threading.current_thread() is threading.main_thread():
            for number in NOTICED[1:] if self.several else NOTICED:
                # A shell that starts a run in the background lets it ignore the terminal's SIGINT, and means it.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.before[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()
        if self.several:
            os.kill(os.getpid(), signal.SIGTERM)

    def asked(self, step: int) -> bool:
        """Whether to stop after this step; all processes have to ask after every step."""
        if self.several:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.number is not None

    def stopped(self, step: int, saved: str) -> RunError:
        """Make the error to end with, of the code that a shell gives to a process that a signal ended."""
        number = signal.SIGTERM if self.number is None else self.number
        return RunError(f"stopped by {signal.Signals(number).name} after step {step}; {saved}", 128 + number)


@jax.jit
def _all_finite(leaves: list[Array]) -> Bool[Array, ""]:
    return jnp.array([jnp.isfinite(x).all() for x in leaves]).all()


def all_finite(state: PyTree) -> bool:
    """Whether every number of a state is finite."""
    return bool(_all_finite([x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]))
