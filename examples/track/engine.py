"""One run: train until the target is reached, with peak rate and length of the schedule as arguments."""

import dataclasses
import functools
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from gpt import data, shards
from gpt_linen.batches import Batches, FromShards, FromText
from gpt_linen.mesh import init, mesh_of, shardings_of
from gpt_linen.model import GPT
from gpt_linen.training import apply
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

import optax_muon as om
from track.contestants import Contestant
from track.presets import Preset, Text

WARMUP = 0.05  # of the schedule
UNTUNED: Mapping[str, float] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run gives.

    Attributes:
        steps: at which the target was reached, linear between two validations; None: missed, censored where it ended.
        seconds: until then, validations included, compilation not; of the whole run where it was missed.
        losses: of every validation.
    """

    steps: float | None
    seconds: float
    losses: list[float]


def schedule(peak: Any, horizon: Any, warmup: float = WARMUP) -> optax.Schedule:
    """Rise over the first part of the horizon and fall linearly to zero; peak and horizon may be traced."""
    warm = jnp.maximum(1.0, jnp.round(warmup * horizon))

    def rate(count: Any) -> Array:
        return peak * jnp.clip(jnp.minimum((count + 1) / warm, (horizon - count) / (horizon - warm)), 0.0, 1.0)

    return rate


class Engine:
    """The compiled functions of one contestant on one preset, for every rate, horizon, seed and number that is tuned.

    Args:
        preset: what all share.
        text: tokens in memory, or a folder of shards.
        contestant: builds the optimizer.
        devices: to run on, the batch cut over all of them.
    """

    def __init__(self, preset: Preset, text: Text, contestant: Contestant, devices: list[Any]):
        mesh = mesh_of(devices)
        self.preset, self.text, self.contestant = preset, text, contestant
        self.by_batch = NamedSharding(mesh, PartitionSpec("data"))
        self.size = preset.batch, preset.context, self.by_batch
        # Windows of a text are drawn by key: one reader serves all seeds.
        self.drawn = FromText(text, *self.size, preset.windows) if isinstance(text, data.Corpus) else None
        dtype = None if preset.dtype == "float32" else jnp.dtype(preset.dtype)
        config = dataclasses.replace(preset.config(text.vocabulary), projections=contestant.projections)
        bare = GPT(config, dtype, remat=preset.remat)
        self.model = bare.clone(activations=self.by_batch)
        shardings, self.leaves = shardings_of(self.model, mesh)
        begin = functools.partial(init, self.model)
        shapes = jax.eval_shape(begin, jax.random.key(0))
        state_shardings = om.state_shardings(self._tx(1.0, 10.0, {}), shapes, shardings)
        everywhere = NamedSharding(mesh, PartitionSpec())
        self.begin = jax.jit(begin, out_shardings=shardings)
        self.begin_state = jax.jit(lambda params: self._tx(1.0, 10.0, {}).init(params), out_shardings=state_shardings)
        self.stretch = jax.jit(
            self._stretch, donate_argnums=(0, 1), out_shardings=(shardings, state_shardings, everywhere)
        )

    def __call__(
        self, rate: float, horizon: int, seed: int, until: int | None = None, numbers: Mapping[str, float] = UNTUNED
    ) -> Outcome:
        """Train with one peak rate, schedule length and seed of weights and batches, for ``until`` steps at most.

        ``numbers`` stand in place of the contestant's options; they are arguments of the program, like the rate.
        """
        tuned = rate, float(horizon), dict(numbers)
        params = self.begin(jax.random.key(seed))
        state = self.begin_state(params)
        batches = self._batches(seed)
        losses: list[float] = []
        steps, seconds, every = None, 0.0, self.preset.every
        for first in range(0, horizon if until is None else min(horizon, until), every):
            tokens = [batches.at(first + i, self._key(seed, first + i)) for i in range(every)]
            began = time.perf_counter()
            params, state, loss = self.stretch(params, state, jnp.stack(tokens), batches.valid, tuned)
            losses.append(float(loss))
            # The first stretch compiles, and its time is that of the second.
            seconds += (time.perf_counter() - began) * (0 if first == 0 else 2 if first == every else 1)
            if not losses[-1] > self.preset.target:
                steps = crossing(losses, self.preset.target, every) if losses[-1] <= self.preset.target else None
                break
        return Outcome(steps, seconds, losses)

    def _tx(self, peak: Any, horizon: Any, numbers: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
        options = {**self.contestant.options, **numbers}
        warmup = options.pop("warmup", WARMUP)
        rates = schedule(peak, horizon, warmup), schedule(self.preset.other_rate, horizon, warmup)
        tx = self.contestant.build(*rates, self.leaves, options)
        if "grads_at_previous_params" in self.contestant.extra_args:
            tx = om.remember_previous_params(tx)
        return optax.with_extra_args_support(tx)

    def _batches(self, seed: int) -> Batches:
        if self.drawn is not None:
            return self.drawn
        assert isinstance(self.text, shards.Folder), "a text is in memory or in files"
        return FromShards(self.text, *self.size, seed, self.preset.windows)

    @staticmethod
    def _key(seed: int, step: int) -> Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(1), seed), step)

    def _loss(self, params: PyTree, tokens: Array) -> Array:
        tokens = jax.lax.with_sharding_constraint(tokens, self.by_batch)
        logits, _ = apply(self.model, params, tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    def _stretch(self, params: PyTree, state: PyTree, tokens: Array, valid: Array, tuned: tuple[Any, ...]) -> Any:
        tx = self._tx(*tuned)

        def step(carry: Any, tokens: Array) -> tuple[Any, None]:
            params, state = carry
            loss, grads = jax.value_and_grad(self._loss)(params, tokens)
            extra: dict[str, Any] = {"value": loss}
            if "grads_at_previous_params" in self.contestant.extra_args:
                extra["grads_at_previous_params"] = jax.grad(self._loss)(om.previous_params(state, params), tokens)
            updates, state = tx.update(grads, state, params, **extra)
            return (optax.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(step, (params, state), tokens)
        at = om.eval_params(state, params)
        return params, state, jnp.mean(jax.lax.map(functools.partial(self._loss, at), valid))


def crossing(losses: list[float], target: float, every: int) -> float:
    """Give the step at which the last two validations, joined by a line, meet the target."""
    if len(losses) == 1:
        return float(every)
    before, after = losses[-2:]
    return every * (len(losses) - (target - after) / (before - after))
