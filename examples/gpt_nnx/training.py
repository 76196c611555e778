"""The step, the evaluation and the optimizer of the GPT examples."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from gpt_nnx import data
from gpt_nnx.model import GPT, GPTConfig
from jaxtyping import Array, Float, Int

import optax_muon as om

ADAMW_RATE = 3e-3


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train: the optimizer and its schedule.

    Attributes:
        optimizer: a name of `optax_muon.registry`, or adamw.
        learning_rate: of the hidden matrices; None: its card's, or ADAMW_RATE.
        other_rate: of AdamW for embeddings, head and norms, where the optimizer takes matrices only.
        steps: length of the schedule.
        warmup: fraction of the steps over which the rate rises; then it falls linearly to zero.
        weight_decay: of the matrices, decoupled; for AdamW of all kernels.
        beta2: of AdamW.
    """

    optimizer: str = "muon"
    learning_rate: float | None = None
    other_rate: float = ADAMW_RATE
    steps: int = 700
    warmup: float = 0.05
    weight_decay: float = 0.1
    beta2: float = 0.95

    def __post_init__(self):
        if self.optimizer != "adamw" and self.optimizer not in om.registry:
            names = ", ".join(["adamw", *om.registry])
            raise ValueError(f"unknown optimizer {self.optimizer!r}: choose from {names}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning rate must be positive, not {self.learning_rate}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")

    def schedule(self, rate: float) -> optax.Schedule:
        """Warm up linearly, then decay linearly to zero."""
        warm = max(1, round(self.warmup * self.steps))
        rise = optax.linear_schedule(rate / warm, rate, warm - 1) if warm > 1 else optax.constant_schedule(rate)
        return optax.join_schedules([rise, optax.linear_schedule(rate, 0.0, self.steps - warm)], [warm])

    def transformation(self) -> optax.GradientTransformation:
        """Build the optimizer for the whole model; it takes the loss as an extra argument ``value``."""
        if self.optimizer == "adamw":
            rate = self.schedule(self.learning_rate or ADAMW_RATE)
            tx = optax.adamw(rate, b2=self.beta2, weight_decay=self.weight_decay, mask=_kernels)
            return optax.with_extra_args_support(tx)
        card = om.registry[self.optimizer]
        options = dict(card.defaults)
        if "weight_decay" in inspect.signature(card.make).parameters:
            options["weight_decay"] = self.weight_decay
        tx = card.make(self.schedule(self.learning_rate or card.learning_rate), **options)
        if card.kind == "roles":
            return optax.with_extra_args_support(tx)
        others = optax.adamw(self.schedule(self.other_rate), b2=self.beta2, weight_decay=0.0)
        tx = om.for_matrices(tx, otherwise=others)
        return om.remember_previous_params(tx) if "grads_at_previous_params" in card.extra_args else tx


def _kernels(params) -> dict:
    return jax.tree.map(lambda role: role not in ("vector", "embedding"), om.label(params))


def create(config: GPTConfig, recipe: Recipe, seed: int) -> tuple[GPT, nnx.Optimizer]:
    """Make a fresh model and its optimizer."""
    model = GPT(config, nnx.Rngs(seed))
    return model, nnx.Optimizer(model, recipe.transformation(), wrt=nnx.Param)


def loss_of(model: GPT, tokens: Int[Array, "B T+1"]) -> Float[Array, ""]:
    """Mean cross-entropy of the next token, in nats."""
    logits = model(tokens[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


@nnx.jit(static_argnames=("batch",), donate_argnums=(0, 1))
def train_step(model: GPT, optimizer: nnx.Optimizer, ids: Array, key: Array, *, batch: int) -> Float[Array, ""]:
    """Draw a batch with ``key``, take one step, return the loss before it."""
    tokens = data.sample(ids, key, batch, model.config.context)
    loss, grads = nnx.value_and_grad(loss_of)(model, tokens)
    extra = {"value": loss}
    if _remembers(optimizer):
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        before = nnx.merge(graph, om.previous_params(optimizer.opt_state, params), rest)
        extra["grads_at_previous_params"] = nnx.grad(loss_of)(before, tokens)
    optimizer.update(model, grads, **extra)
    return loss


def _remembers(optimizer: nnx.Optimizer) -> bool:
    def found(node) -> bool:
        return isinstance(node, om.transforms.PreviousParamsState)

    return any(map(found, jax.tree.leaves(optimizer.opt_state, is_leaf=found)))


def evaluated(model: GPT, optimizer: nnx.Optimizer) -> GPT:
    """Give the model at its evaluation parameters, which an averaging optimizer keeps apart from the trained ones."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return nnx.merge(graph, om.eval_params(optimizer.opt_state, params), rest)


@nnx.jit
def evaluate(model: GPT, batches: Int[Array, "N B T+1"]) -> Float[Array, ""]:
    """Mean loss over stacked batches."""
    graph, state = nnx.split(model)
    return jnp.mean(jax.lax.map(lambda tokens: loss_of(nnx.merge(graph, state), tokens), batches))


def validation_set(corpus: data.Corpus, config: GPTConfig, batches: int, batch: int = 32) -> Int[Array, "N B T+1"]:
    """Stack the validation windows into batches."""
    return data.windows(corpus.valid, batches * batch, config.context).reshape(batches, batch, -1)
