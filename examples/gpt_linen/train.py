"""Train the scanned Linen GPT on Shakespeare over all devices there are, or over a CPU cut into several.

python examples/gpt_linen/train.py
python examples/gpt_linen/train.py --devices 8
python examples/gpt_linen/train.py --devices 4 --resume
"""

import argparse
import functools
import os
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gpt import data, options
from gpt.layers import generate
from gpt.recipe import Recipe
from gpt.run import OptionError, run
from gpt_linen.model import GPT, GPTConfig
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

import optax_muon as om

RUNS = pathlib.Path("runs/gpt_linen")
VALIDATION = 640  # windows


def mesh_of(count: int | None) -> Mesh:
    """Lay the first ``count`` devices, or all of them, along one axis that cuts both batch and parameters."""
    found = jax.devices()
    if count is not None and count > len(found):
        raise OptionError(f"argument --devices: {count} asked for, and {len(found)} {found[0].platform} found")
    return Mesh(np.array(found[:count]), ("data",), axis_types=(AxisType.Auto,))


def shard(shape: jax.ShapeDtypeStruct, leaf: om.Leaf, mesh: Mesh) -> NamedSharding:
    """Cut a matrix along its longest axis that the devices divide, not along layers; replicate a vector."""
    axes = [axis for axis in leaf.reduction + leaf.output if shape.shape[axis] % mesh.size == 0]
    if not axes:
        return NamedSharding(mesh, PartitionSpec())
    longest = max(axes, key=lambda axis: shape.shape[axis])
    return NamedSharding(
        mesh, PartitionSpec(*(mesh.axis_names[0] if i == longest else None for i in range(longest + 1)))
    )


def shardings_of(model: GPT, mesh: Mesh) -> tuple[PyTree, PyTree[om.Leaf]]:
    """Give every parameter its sharding, and its axes with that sharding as their spec."""
    shapes = jax.eval_shape(functools.partial(_init, model), jax.random.key(0))
    leaves = om.leaves_from_flax(model, jax.ShapeDtypeStruct((1, model.config.context), jnp.int32))
    shardings = jax.tree.map(functools.partial(shard, mesh=mesh), shapes, leaves)

    def with_spec(leaf: om.Leaf, sharding: NamedSharding) -> om.Leaf:
        return om.Leaf(leaf.role, leaf.reduction, leaf.output, leaf.split, sharding)

    return shardings, jax.tree.map(with_spec, leaves, shardings)


def _init(model: GPT, key: Array) -> PyTree:
    return model.init(key, jnp.zeros((1, model.config.context), jnp.int32))["params"]


def _apply(model: GPT, params: PyTree, tokens: Array) -> tuple[Array, Array]:
    return model.apply({"params": params}, tokens)  # pyright: ignore[reportReturnType] - no collection is mutable


class Training:
    """The compiled functions of a model on a mesh, each a pure function of parameters and optimizer state.

    Args:
        model: the module.
        recipe: the optimizer.
        mesh: where it runs.
        batch: sequences in a step.
    """

    def __init__(self, model: GPT, recipe: Recipe, mesh: Mesh, batch: int):
        self.by_batch, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
        self.model = model = model.clone(activations=self.by_batch)
        self.batch, self.parts = batch, recipe.accumulate
        self.shardings, leaves = shardings_of(model, mesh)
        self.tx = optax.with_extra_args_support(recipe.transformation(leaves))
        self.remembers = recipe.takes_two_gradients
        init = functools.partial(_init, model)
        shapes = jax.eval_shape(init, jax.random.key(0))
        self.state_shardings = om.state_shardings(self.tx, shapes, self.shardings)
        self.init_params = jax.jit(init, out_shardings=self.shardings)
        self.init_state = jax.jit(self.tx.init, out_shardings=self.state_shardings)
        out = (self.shardings, self.state_shardings, everywhere, everywhere)
        self.step = jax.jit(self._step, donate_argnums=(0, 1), out_shardings=out)
        self.evaluate = jax.jit(self._evaluate, out_shardings=everywhere)

    def loss(self, params: PyTree, tokens: Int[Array, "B T+1"]) -> tuple[Float[Array, ""], Float[Array, "L H"]]:
        """Mean cross-entropy of the next token, in nats, and the largest attention logits."""
        logits, largest = _apply(self.model, params, tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean(), largest

    def _step(self, params: PyTree, state: PyTree, ids: Array, key: Array) -> tuple[PyTree, PyTree, Array, Array]:
        tokens = data.sample(ids, key, self.batch, self.model.config.context)
        lowest = jnp.full((self.model.config.layers, self.model.config.heads), -jnp.inf)
        tokens = tokens.reshape(self.parts, self.batch // self.parts, -1)
        if self.parts == 1:
            params, state, largest, loss = self._micro_step(params, state, lowest, tokens[0])
            return params, state, loss, largest.max()

        def body(carry, tokens):
            params, state, largest = carry
            params, state, largest, loss = self._micro_step(params, state, largest, tokens)
            return (params, state, largest), loss

        (params, state, largest), losses = jax.lax.scan(body, (params, state, lowest), tokens)
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
        updates, state = self.tx.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state, largest, loss

    def _evaluate(self, params: PyTree, state: PyTree, batches: Int[Array, "N B T+1"]) -> Float[Array, ""]:
        params = om.eval_params(state, params)

        def one(tokens):
            return self.loss(params, jax.lax.with_sharding_constraint(tokens, self.by_batch))[0]

        return jnp.mean(jax.lax.map(one, batches))


class Trainer:
    """Parameters and optimizer state on a mesh."""

    def __init__(self, args: argparse.Namespace, corpus: data.Corpus, config: GPTConfig):
        mesh = mesh_of(args.devices)
        if args.batch // args.accumulate % mesh.size:
            micro = f"{args.batch // args.accumulate} sequences of a micro-batch"
            raise OptionError(f"argument --batch: {mesh.size} devices do not divide the {micro}")
        dtype = None if args.dtype == "float32" else jnp.dtype(args.dtype)
        self.training = Training(GPT(config, dtype, args.recipe.qk_clip is None), args.recipe, mesh, args.batch)
        self.params = self.training.init_params(jax.random.key(args.seed))
        self.opt_state = self.training.init_state(self.params)
        everywhere = NamedSharding(mesh, PartitionSpec())
        per = int(np.lcm(32, mesh.size))
        windows = data.windows(corpus.valid, max(1, VALIDATION // per) * per, config.context)
        # From the host's memory: every process holds the whole text, and no device of another one's.
        self.ids = jax.device_put(np.asarray(corpus.train), everywhere)
        self.valid = jax.device_put(np.asarray(windows).reshape(-1, per, config.context + 1), everywhere)

    def step(self, key: Array) -> tuple[Array, Array]:
        self.params, self.opt_state, loss, largest = self.training.step(self.params, self.opt_state, self.ids, key)
        return loss, largest

    def evaluate(self) -> Array:
        return self.training.evaluate(self.params, self.opt_state, self.valid)

    def state(self) -> PyTree:
        return {"params": self.params, "optimizer": self.opt_state}

    def load(self, state: PyTree) -> None:
        self.params, self.opt_state = state["params"], state["optimizer"]

    def sample(self, key: Array, prompt: Int[Array, " T"], length: int) -> Array:
        params, model = om.eval_params(self.opt_state, self.params), self.training.model

        def logits_of(params, tokens):
            return _apply(model, params, tokens)[0]

        return generate(logits_of, params, model.config.context, key, prompt, length)


def main(argv: list[str] | None = None) -> None:
    made = options.parser(__doc__, RUNS)
    add = made.add_argument_group("devices").add_argument
    add("--devices", type=int, metavar="N", help="use N of them; a CPU is cut into N (all that are found)")
    add("--distributed", action="store_true", help="call jax.distributed.initialize first, one process per host")
    args = options.parse(made, argv)
    if args.devices is not None:
        if args.distributed:
            made.error("argument --devices: not with --distributed, which takes all devices of all hosts")
        if args.devices < 1:
            made.error(f"argument --devices: must be at least 1, not {args.devices}")
        # Read when JAX starts its first backend, which nothing above has done.
        os.environ["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={args.devices}"
        )
    if args.distributed:
        jax.distributed.initialize()
    run(args, Trainer)


if __name__ == "__main__":
    main()
