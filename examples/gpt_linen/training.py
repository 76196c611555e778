"""The compiled functions of the Linen model on a mesh."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from gpt.recipe import Recipe
from gpt_linen.mesh import init, shardings_of
from gpt_linen.model import GPT
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

import optax_muon as om


def apply(model: GPT, params: PyTree, tokens: Int[Array, "B T"]) -> tuple[Float[Array, "B T V"], Float[Array, "L H"]]:
    """Give the logits, and the largest attention logits."""
    return model.apply({"params": params}, tokens)  # pyright: ignore[reportReturnType] - no collection is mutable


class Training:
    """The compiled functions of a model on a mesh, each a pure function of parameters and optimizer state.

    Args:
        model: the module.
        recipe: the optimizer.
        mesh: where it runs; its axis ``data`` cuts the batch.
    """

    def __init__(self, model: GPT, recipe: Recipe, mesh: Mesh):
        self.by_batch, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
        self.model = model = model.clone(activations=self.by_batch)
        self.parts = recipe.accumulate
        self.shardings, leaves = shardings_of(model, mesh)
        self.tx = optax.with_extra_args_support(recipe.transformation(leaves))
        self.remembers = recipe.takes_two_gradients
        self.shapes = jax.eval_shape(functools.partial(init, model), jax.random.key(0))
        self.state_shardings = om.state_shardings(self.tx, self.shapes, self.shardings)
        self.init_params = jax.jit(functools.partial(init, model), out_shardings=self.shardings)
        self.init_state = jax.jit(self.tx.init, out_shardings=self.state_shardings)
        out = (self.shardings, self.state_shardings, everywhere, everywhere)
        self.step = jax.jit(self._step, donate_argnums=(0, 1), out_shardings=out)
        self.gradient = jax.jit(jax.grad(self.loss, has_aux=True), out_shardings=(self.shardings, everywhere))
        self.evaluate = jax.jit(self._evaluate, out_shardings=everywhere)

    def loss(self, params: PyTree, tokens: Int[Array, "B T+1"]) -> tuple[Float[Array, ""], Float[Array, "L H"]]:
        """Mean cross-entropy of the next token, in nats, and the largest attention logits."""
        logits, largest = apply(self.model, params, tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean(), largest

    def _step(self, params: PyTree, state: PyTree, tokens: Int[Array, "B T+1"]) -> tuple[PyTree, PyTree, Array, Array]:
        lowest = jnp.full((self.model.config.layers, self.model.config.heads), -jnp.inf)
        if self.parts == 1:
            params, state, largest, loss = self._micro_step(params, state, lowest, tokens)
            return params, state, loss, largest.max()

        def body(carry, tokens):
            params, state, largest = carry
            params, state, largest, loss = self._micro_step(params, state, largest, tokens)
            return (params, state, largest), loss

        micro = tokens.reshape(self.parts, tokens.shape[0] // self.parts, -1)
        (params, state, largest), losses = jax.lax.scan(body, (params, state, lowest), micro)
        return params, state, losses.mean(), largest.max()

    def _micro_step(self, params: PyTree, state: PyTree, largest: Array, tokens: Array) -> tuple[Any, ...]:
        tokens = jax.lax.with_sharding_constraint(tokens, self.by_batch)
        (loss, seen), grads = jax.value_and_grad(self.loss, has_aux=True)(params, tokens)
        extra: dict[str, Any] = {"value": loss}
        if not self.model.qk_norm:
            largest = jnp.maximum(largest, seen)
            extra["max_logits"] = {"blocks/attention": largest}
        if self.remembers:
            before = om.previous_params(state, params)
            extra["grads_at_previous_params"], _ = jax.grad(self.loss, has_aux=True)(before, tokens)
        # The name by which a profile, or a reader of the compiled program, tells the optimizer from the model.
        with jax.named_scope("optimizer"):
            updates, state = self.tx.update(grads, state, params, **extra)
            params = optax.apply_updates(params, updates)
        return params, state, largest, loss

    def _evaluate(self, params: PyTree, state: PyTree, batches: Int[Array, "N B T+1"]) -> Float[Array, ""]:
        params = om.eval_params(state, params)

        def one(tokens):
            return self.loss(params, jax.lax.with_sharding_constraint(tokens, self.by_batch))[0]

        return jnp.mean(jax.lax.map(one, batches))
