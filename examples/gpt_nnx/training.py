"""The step and the evaluation of the NNX model."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from gpt import data
from gpt.recipe import ADAMW_RATE as ADAMW_RATE
from gpt.recipe import Recipe as Recipe
from gpt_nnx.model import GPT, GPTConfig
from jaxtyping import Array, Float, Int

import optax_muon as om

Logits = dict[str, Float[Array, " H"]]  # the largest of every head, by the path of its attention


def create(config: GPTConfig, recipe: Recipe, seed: int, dtype: Any = None) -> tuple[GPT, nnx.Optimizer]:
    """Make a fresh model and its optimizer."""
    model = GPT(config, nnx.Rngs(seed), dtype, qk_norm=recipe.qk_clip is None)
    return model, nnx.Optimizer(model, recipe.transformation(), wrt=nnx.Param)


def loss_of(model: GPT, tokens: Int[Array, "B T+1"]) -> tuple[Float[Array, ""], Logits]:
    """Mean cross-entropy of the next token, in nats, and the largest attention logits."""
    logits, largest = model.measured(tokens[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean(), largest


@nnx.jit(static_argnames=("batch", "parts"), donate_argnums=(0, 1))
def train_step(
    model: GPT, optimizer: nnx.Optimizer, ids: Array, key: Array, *, batch: int, parts: int = 1
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Draw a batch with ``key`` and take one step, in ``parts`` micro-batches.

    Returns:
        The loss before the step, and the largest attention logit (-inf where the model normalises queries and keys).
    """
    tokens = data.sample(ids, key, batch, model.config.context)
    largest: Logits = {}
    if not model.qk_norm:
        lowest = jnp.full(model.config.heads, -jnp.inf)
        largest = {f"blocks/{i}/attention": lowest for i in range(model.config.layers)}
    if parts == 1:
        loss, largest = _micro_step(model, optimizer, tokens, largest)
    else:
        graph, state = nnx.split((model, optimizer))

        def body(carry, tokens):
            state, largest = carry
            pair = nnx.merge(graph, state)
            loss, largest = _micro_step(*pair, tokens, largest)
            return (nnx.state(pair), largest), loss

        (state, largest), losses = jax.lax.scan(body, (state, largest), tokens.reshape(parts, batch // parts, -1))
        nnx.update((model, optimizer), state)
        loss = losses.mean()
    return loss, jnp.max(jnp.stack([*largest.values()])) if largest else jnp.array(-jnp.inf)


def _micro_step(
    model: GPT, optimizer: nnx.Optimizer, tokens: Int[Array, "B T+1"], largest: Logits
) -> tuple[Float[Array, ""], Logits]:
    """Update with one micro-batch; ``largest`` grows over those of a step, and is kept where it has entries."""
    (loss, seen), grads = nnx.value_and_grad(loss_of, has_aux=True)(model, tokens)
    extra: dict[str, Any] = {"value": loss}
    if largest:
        extra["max_logits"] = largest = jax.tree.map(jnp.maximum, largest, seen)
    if _keeps(optimizer, om.transforms.InputMomentsState):
        # A function: it runs at the steps that use it alone.
        extra["input_moments"] = lambda: om.diagnostics.input_moments(loss_of, model, tokens)
    if _keeps(optimizer, om.transforms.PreviousParamsState):
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        before = nnx.merge(graph, om.previous_params(optimizer.opt_state, params), rest)
        extra["grads_at_previous_params"], _ = nnx.grad(loss_of, has_aux=True)(before, tokens)
    optimizer.update(model, grads, **extra)
    return loss, largest


def _keeps(optimizer: nnx.Optimizer, kind: type) -> bool:
    def found(node) -> bool:
        return isinstance(node, kind)

    return any(map(found, jax.tree.leaves(optimizer.opt_state, is_leaf=found)))


def evaluated(model: GPT, optimizer: nnx.Optimizer) -> GPT:
    """Give the model at its evaluation parameters, which an averaging optimizer keeps apart from the trained ones."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return nnx.merge(graph, om.eval_params(optimizer.opt_state, params), rest)


@nnx.jit
def evaluate(model: GPT, batches: Int[Array, "N B T+1"]) -> Float[Array, ""]:
    """Mean loss over stacked batches."""
    graph, state = nnx.split(model)
    return jnp.mean(jax.lax.map(lambda tokens: loss_of(nnx.merge(graph, state), tokens)[0], batches))


def validation_set(corpus: data.Corpus, config: GPTConfig, batches: int, batch: int = 32) -> Int[Array, "N B T+1"]:
    """Stack the validation windows into batches."""
    return data.windows(corpus.valid, batches * batch, config.context).reshape(batches, batch, -1)
