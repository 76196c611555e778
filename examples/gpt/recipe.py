"""How a GPT is trained: the optimizer, its schedule and what stands around it."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import optax
from gpt.layers import Projections

import optax_muon as om

ADAMW_RATE = 3e-3
TURNING = ("hyperball", "muon_h", "muown")  # weights, which of zeros have no direction and never move
COOLDOWN = 0.2  # fraction of the steps over which warmup-stable-decay falls

Schedule = Literal["linear", "cosine", "wsd"]


def projections(optimizer: str) -> Projections:
    """How the model's residual branches have to start for an optimizer."""
    return "small" if optimizer in TURNING else "zeros"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train: the optimizer, its schedule and what stands around it.

    Attributes:
        optimizer: a name of `optax_muon.registry`, or adamw.
        learning_rate: of the hidden matrices; None: its card's, or ADAMW_RATE.
        other_rate: of AdamW for embeddings, head and norms, where the optimizer takes matrices only.
        steps: length of the schedule.
        warmup: fraction of the steps over which the rate rises; then ``schedule`` takes it to zero.
        weight_decay: of the matrices, decoupled; for AdamW of all kernels.
        beta2: of AdamW.
        schedule: linear, cosine, or wsd: stable until the last fifth of the steps, then linear.
        clip: largest norm of the whole gradient; None: any.
        accumulate: micro-batches in a step.
        qk_clip: largest attention logit; None: the model has query and key norms instead.
    """

    optimizer: str = "muon"
    learning_rate: float | None = None
    other_rate: float = ADAMW_RATE
    steps: int = 700
    warmup: float = 0.05
    weight_decay: float = 0.1
    beta2: float = 0.95
    schedule: Schedule = "linear"
    clip: float | None = None
    accumulate: int = 1
    qk_clip: float | None = None

    def __post_init__(self):
        if self.optimizer != "adamw" and self.optimizer not in om.registry:
            names = ", ".join(["adamw", *om.registry])
            raise ValueError(f"unknown optimizer {self.optimizer!r}: choose from {names}")
        for name in ("learning_rate", "other_rate", "clip", "qk_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name.replace('_', ' ')} must be positive, not {value}")
        for name in ("steps", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must be a fraction from 0 to 1, not {self.warmup}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight decay must be at least 0, not {self.weight_decay}")
        if self.schedule not in ("linear", "cosine", "wsd"):
            raise ValueError(f"schedule must be linear, cosine or wsd, not {self.schedule!r}")
        if self.clip is not None and self.takes_two_gradients:
            raise ValueError(f"{self.optimizer} takes two gradients in a step, and clip would shorten one of them")

    @property
    def takes_two_gradients(self) -> bool:
        """Whether the optimizer wants this batch's gradient at the previous parameters too."""
        return self.optimizer != "adamw" and "grads_at_previous_params" in om.registry[self.optimizer].extra_args

    @property
    def takes_input_moments(self) -> bool:
        """Whether the optimizer wants second moments of what enters the layers."""
        return self.optimizer != "adamw" and "input_moments" in om.registry[self.optimizer].extra_args

    @property
    def projections(self) -> Projections:
        """How the model's residual branches have to start."""
        return projections(self.optimizer)

    @property
    def peak(self) -> float:
        """The learning rate after the warm-up."""
        return self.learning_rate or (
            ADAMW_RATE if self.optimizer == "adamw" else om.registry[self.optimizer].learning_rate
        )

    def settings(self) -> dict[str, Any]:
        """Give what tells runs apart; what stands around the optimizer only where it was asked for."""
        around = ("schedule", "clip", "accumulate", "qk_clip")
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if k not in around or v != getattr(Recipe, k)}

    def rate(self, peak: float) -> optax.Schedule:
        """Warm up linearly to ``peak``, then decay to zero as ``schedule`` says."""
        warm = max(1, round(self.warmup * self.steps))
        rise = optax.linear_schedule(peak / warm, peak, warm - 1) if warm > 1 else optax.constant_schedule(peak)
        left = self.steps - warm
        if self.schedule == "cosine":
            fall = optax.cosine_decay_schedule(peak, max(1, left))
        elif self.schedule == "wsd":
            cooldown = min(left, max(1, round(COOLDOWN * self.steps)))
            fall = optax.linear_schedule(peak, 0.0, cooldown, transition_begin=left - cooldown)
        else:
            fall = optax.linear_schedule(peak, 0.0, left)
        return optax.join_schedules([rise, fall], [warm])

    def transformation(self, leaves: Any = None, peak: Any = None) -> optax.GradientTransformation:
        """Build the optimizer for the whole model.

        It takes the loss as an extra argument ``value``, with ``qk_clip`` also ``max_logits``.

        Args:
            leaves: the parameters' axes, where names and ranks do not tell.
            peak: the learning rate after the warm-up if not the recipe's; it may be traced.
        """
        rate = self.rate(self.peak if peak is None else peak)
        tx = self._adamw(rate, leaves) if self.optimizer == "adamw" else self._named(rate, leaves)
        if self.clip is not None:
            tx = optax.chain(optax.clip_by_global_norm(self.clip), tx)
        if self.qk_clip is not None:
            tx = optax.chain(tx, om.transforms.qk_clip(self.qk_clip, leaves=leaves))
        if self.takes_two_gradients:
            tx = om.remember_previous_params(tx)
        if self.accumulate > 1:
            trees = ["grads_at_previous_params"] if self.takes_two_gradients else []
            tx = om.multi_steps(tx, self.accumulate, trees=trees, scalars=["value"])
        return tx

    def _adamw(self, rate: optax.Schedule, leaves: Any) -> optax.GradientTransformation:
        mask = functools.partial(kernels, leaves=leaves)
        tx = optax.adamw(rate, b2=self.beta2, weight_decay=self.weight_decay, mask=mask)
        return optax.with_extra_args_support(tx)

    def _named(self, rate: optax.Schedule, leaves: Any) -> optax.GradientTransformation:
        card = om.registry[self.optimizer]
        others = optax.adamw(self.rate(self.other_rate), b2=self.beta2, weight_decay=0.0)
        return of_card(card, rate, others, leaves, defaults(card, self.weight_decay))


def kernels(params: Any, leaves: Any = None) -> Any:
    """Mark what AdamW decays: kernels, of embeddings none."""
    return jax.tree.map(lambda role: role not in ("vector", "embedding"), om.label(params, leaves))


def defaults(card: om.Card, weight_decay: float) -> dict[str, Any]:
    """Give a card's own options, with a weight decay where it takes one."""
    takes = "weight_decay" in inspect.signature(card.make).parameters
    return card.defaults | ({"weight_decay": weight_decay} if takes else {})


def of_card(
    card: om.Card, rate: Any, others: optax.GradientTransformation, leaves: Any, options: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Build a card's optimizer for a whole model, with ``others`` beside it where it takes matrices alone."""
    make = functools.partial(card.make, rate, **options)
    if card.kind in ("roles", "any"):
        return optax.with_extra_args_support(make(leaves=leaves))
    return om.for_matrices(make, otherwise=others, leaves=leaves)
