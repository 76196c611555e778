"""How fast a training runs: tokens per second, model FLOPs utilisation, and the optimizer's share of a step."""

import dataclasses
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
from gpt import presets
from gpt_linen.training import Training
from jaxtyping import Array, Int, PyTree

REPEATS = 10


@dataclasses.dataclass(frozen=True)
class Speed:
    """What was timed.

    Attributes:
        step_seconds: median time of a step.
        gradient_seconds: median time of the gradients alone, by a program of its own.
        tokens_per_second: over all devices.
        utilisation: of the devices' bfloat16 rate by the model's FLOPs; None where that rate is not known.
        optimizer_share: of a step, what the gradients do not explain.
        device: kind and number.
    """

    step_seconds: float
    gradient_seconds: float
    tokens_per_second: float
    utilisation: float | None
    optimizer_share: float
    device: str

    def __str__(self) -> str:
        share = "" if self.utilisation is None else f", {self.utilisation:.1%} of the devices' bfloat16 rate"
        return f"{self.tokens_per_second:,.0f} tokens/s on {self.device}{share}; optimizer {self.optimizer_share:.1%}"

    def write(self, path: pathlib.Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def measure(training: Training, params: PyTree, state: PyTree, tokens: Int[Array, "B T+1"]) -> Speed:
    """Time steps and gradients in turn, after one of each; params and state are donated to the first step."""

    def step() -> Any:
        nonlocal params, state
        params, state, loss, _ = training.step(params, state, tokens)
        return loss

    def gradient() -> Any:
        return training.gradient(params, tokens)

    times: dict[Callable[[], Any], list[float]] = {step: [], gradient: []}
    for repeat in range(REPEATS + 1):
        for run, seconds in times.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            if repeat:  # the first one may compile
                seconds.append(time.perf_counter() - began)
    whole, alone = (statistics.median(seconds) for seconds in times.values())
    mesh, config = training.by_batch.mesh, training.model.config
    first = jax.devices()[0]
    rate = tokens.shape[0] * config.context / whole
    peak = presets.peak_of(first)
    used = None if peak is None else rate * presets.flops_per_token(config) / (peak * mesh.size)
    return Speed(whole, alone, rate, used, max(0.0, 1 - alone / whole), f"{mesh.size} x {first.device_kind}")
