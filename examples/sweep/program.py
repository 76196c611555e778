"""A whole training run as one compiled program whose learning rate and seed are arguments."""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from gpt.recipe import Recipe
from jaxtyping import Array, PyTree
from sweep.workloads import Workload

import optax_muon as om

POINTS = 20  # validations on the way


class Outcome(NamedTuple):
    """What a run gives.

    Attributes:
        loss: final validation loss, on all batches held out, at the evaluation parameters.
        curve: validation loss on a quarter of them, after equal parts of the steps, shape (POINTS,).
        cpu_seconds: of all cores, validations included.
    """

    loss: float
    curve: list[float]
    cpu_seconds: float


class Program:
    """Compiled once for an optimizer; every rate and seed reuses it."""

    def __init__(self, workload: Workload, recipe: Recipe):
        self.workload, self.recipe = workload, recipe
        scalar = jax.ShapeDtypeStruct((), jnp.float32)
        self.compiled = jax.jit(self._run).lower(scalar, jax.ShapeDtypeStruct((), jnp.int32)).compile()

    def __call__(self, rate: float, seed: int) -> Outcome:
        start = time.process_time()
        loss, curve = jax.block_until_ready(self.compiled(jnp.float32(rate), jnp.int32(seed)))
        return Outcome(float(loss), np.asarray(curve, np.float64).tolist(), time.process_time() - start)

    def state_per_parameter(self) -> float:
        """Floats of optimizer state per parameter of the model."""
        _, params, _ = self._model(0)
        state = jax.eval_shape(self.recipe.transformation().init, params)
        sizes = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (state, params)]
        return sizes[0] / sizes[1]

    def _model(self, seed: Any) -> tuple[Any, PyTree, PyTree]:
        model = self.workload.make(nnx.Rngs(jax.random.key(seed)), self.recipe.projections)
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        return graph, params, rest

    def _run(self, rate: Array, seed: Array) -> tuple[Array, Array]:
        tx = self.recipe.transformation(peak=rate)
        graph, params, rest = self._model(seed)
        key = jax.random.fold_in(jax.random.key(1), seed)

        def loss_at(params: PyTree, batch: Any) -> Array:
            return self.workload.loss(nnx.merge(graph, params, rest), batch)

        def step(carry: Any, number: Array) -> tuple[Any, None]:
            params, state = carry
            batch = self.workload.draw(jax.random.fold_in(key, number))
            loss, grads = jax.value_and_grad(loss_at)(params, batch)
            extra: dict[str, Any] = {"value": loss}
            if self.recipe.takes_two_gradients:
                extra["grads_at_previous_params"] = jax.grad(loss_at)(om.previous_params(state, params), batch)
            if self.recipe.takes_input_moments:
                # A function: it runs at the steps that use it alone.
                here = nnx.merge(graph, params, rest)
                extra["input_moments"] = lambda: om.diagnostics.input_moments(self.workload.loss, here, batch)
            updates, state = optax.with_extra_args_support(tx).update(grads, state, params, **extra)
            return (optax.apply_updates(params, updates), state), None

        def validate(carry: Any, batches: Any) -> Array:
            at = om.eval_params(carry[1], carry[0])
            return jnp.mean(jax.lax.map(functools.partial(loss_at, at), batches))

        few = jax.tree.map(lambda x: x[::4], self.workload.valid)
        each = self.recipe.steps // POINTS

        def stretch(carry: Any, first: Array) -> tuple[Any, Array]:
            carry, _ = jax.lax.scan(step, carry, first + jnp.arange(each))
            return carry, validate(carry, few)

        carry, curve = jax.lax.scan(stretch, (params, tx.init(params)), each * jnp.arange(POINTS))
        return validate(carry, self.workload.valid), curve
