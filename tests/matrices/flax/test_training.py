"""Training: a scanned model and its unrolled twin go the same way; every way to hold parameters works."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.matrices._paths import by_path
from tests.contracts.problem import Probe

D, H, L, T = 4, 2, 2, 3


class NNXBlock(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(D, rngs=rngs)
        self.query = nnx.LinearGeneral(D, (H, 3), rngs=rngs)
        self.out = nnx.LinearGeneral((H, 3), D, axis=(-2, -1), rngs=rngs)

    def __call__(self, x):
        return x + self.out(jnp.tanh(self.query(self.norm(x))))


class NNXUnrolled(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([NNXBlock(rngs) for _ in range(L)])
        self.head = nnx.Linear(D, 5, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class NNXScanned(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.vmap(NNXBlock)(rngs.split(L))
        self.head = nnx.Linear(D, 5, rngs=rngs)

    def __call__(self, x):
        scan = nnx.scan(lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return self.head(scan(x, self.layers))


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        heads = jnp.tanh(nn.DenseGeneral((H, 3), name="query")(nn.LayerNorm()(x)))
        return x + nn.DenseGeneral(D, axis=(-2, -1), name="out")(heads), None


class LinenUnrolled(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(L):
            x, _ = LinenBlock(name=f"layers_{i}")(x)
        return nn.Dense(5, name="head")(x)


class LinenScanned(nn.Module):
    axis: int = 0

    @nn.compact
    def __call__(self, x):
        scan = nn.scan(LinenBlock, variable_axes={"params": self.axis}, split_rngs={"params": True}, length=L)
        x, _ = scan(name="layers")(x, None)
        return nn.Dense(5, name="head")(x)


def optimizer(leaves, **options):
    make = functools.partial(om.muon, 0.1, weight_decay=0.1, **options)
    return om.for_matrices(make, optax.adamw(1e-2), leaves=leaves)


def train(apply, params, leaves, steps=3):
    """Parameters after a few steps on a fixed batch."""
    tx, rng = optimizer(leaves), np.random.default_rng(1)
    x, y = rng.normal(size=(2, T, D)), rng.normal(size=(2, T, 5))

    @jax.jit
    def step(params, state):
        grads = jax.grad(lambda p: jnp.mean((apply(p, x) - y) ** 2))(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(tx.init, params))
    for _ in range(steps):
        params, state = step(params, state)
    return params


def randomized(params):
    """Weights of size 0.5 everywhere, zero-initialised ones too, so that no gradient vanishes."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: 0.5 * rng.normal(size=x.shape), params)


def assert_twins(scanned, unrolled, axis=0):
    """Every slice of the scanned weights is its twin's layer, and the head is the head."""
    flat = by_path(scanned)
    for path, x in by_path(unrolled).items():
        if path.startswith("layers"):
            _, layer, rest = path.replace("layers_", "layers/").split("/", 2)
            flat[path] = np.take(np.asarray(flat[f"layers/{rest}"]), int(layer), axis=axis)
        np.testing.assert_allclose(flat[path], x, rtol=0, atol=1e-12, err_msg=path)


def test_nnx_scanned_and_unrolled_twins_train_alike():
    with jax.enable_x64(True):
        models = [nnx.eval_shape(lambda make=make: make(nnx.Rngs(0))) for make in (NNXUnrolled, NNXScanned)]
        leaves = [om.leaves_from_flax(model) for model in models]
        unrolled = randomized(nnx.as_pure(nnx.state(models[0])))
        layers = [unrolled["layers"][i] for i in range(L)]
        scanned = nnx.State({"layers": jax.tree.map(lambda *x: np.stack(x), *layers), "head": unrolled["head"]})
        after = [
            train(lambda p, x, model=model: nnx.merge(nnx.graphdef(model), p)(x), params, leaf)
            for model, params, leaf in zip(models, (unrolled, scanned), leaves, strict=True)
        ]
        assert_twins(after[1], after[0])
        kernels = [tree["layers"][0]["query"]["kernel"] for tree in (unrolled, after[0])]
        assert np.abs(kernels[0] - kernels[1]).max() > 0.1


# Unrolled, the first layer is an input layer; scanned, it is one of its stack.
FIRST = [("layers*/kernel", "hidden")]


@functools.cache
def unrolled_linen():
    """Weights of the unrolled model before and after."""
    model, x = LinenUnrolled(), np.zeros((2, T, D))
    before = randomized(jax.eval_shape(model.init, jax.random.key(0), x)["params"])
    leaves = om.leaves_from_flax(model, x, rules=FIRST)
    return before, jax.device_get(train(lambda p, x: model.apply({"params": p}, x), before, leaves))


@pytest.mark.parametrize("axis", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_linen_scanned_and_unrolled_twins_train_alike(axis):
    with jax.enable_x64(True):
        unrolled, expected = unrolled_linen()
        layers = [unrolled[f"layers_{i}"] for i in range(L)]
        stack = functools.partial(np.stack, axis=axis)
        scanned = {"layers": jax.tree.map(lambda *x: stack(x), *layers), "head": unrolled["head"]}
        model = LinenScanned(axis)
        leaves = om.leaves_from_flax(model, np.zeros((2, T, D)), rules=FIRST)
        found = train(lambda p, x: model.apply({"params": p}, x), scanned, leaves)
        assert_twins(found, expected, axis)


def probed(leaves, probe):
    """The optimizer, counting the matrices that reach its maps."""
    return om.for_matrices(functools.partial(om.normuon, 0.1, placement=probe), optax.adam(1e-2), leaves=leaves)


def test_nnx_optimizer_with_sharding_metadata_and_a_state_of_another_rank():
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    probe = Probe()

    class Model(nnx.Module):
        def __init__(self, rngs):
            metadata = {"out_sharding": ("data", "model")}
            make = nnx.vmap(
                lambda rngs: nnx.Linear(D, D, kernel_metadata=metadata, rngs=rngs),
                transform_metadata={nnx.PARTITION_NAME: None},
            )
            self.layers = make(rngs.split(L))

        def __call__(self, x):
            return nnx.scan(lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.layers)

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda model: jnp.mean(model(jnp.ones((1, D))) ** 2))(model)
        optimizer.update(model, grads)

    with jax.set_mesh(mesh):
        model = Model(nnx.Rngs(0))
        leaves = om.leaves_from_flax(model)
        assert leaves["layers"]["kernel"] == om.Leaf("hidden", 1, 2, spec=P(None, "data", "model"))
        optimizer = nnx.Optimizer(model, probed(leaves, probe), wrt=nnx.Param)
        before = np.asarray(model.layers.kernel[...])
        step(model, optimizer)
    moved = np.asarray(model.layers.kernel[...]) - before
    assert probe.seen == L
    assert (np.linalg.norm(moved, axis=(1, 2)) > 0.05).all()
    assert model.layers.kernel[...].sharding.spec == P(None, "data", "model")


def test_linen_train_state_with_boxed_parameters():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
            return nn.Dense(5, name="head")(nn.Dense(8, kernel_init=init, name="up")(x))

    x, probe = jnp.ones((1, D)), Probe()
    params = jax.jit(Model().init)(jax.random.key(0), x)["params"]
    leaves = om.leaves_from_flax(Model(), x, rules=[("up/kernel", "hidden")])
    state = TrainState.create(apply_fn=Model().apply, params=params, tx=probed(leaves, probe))
    assert isinstance(params["up"]["kernel"], nn.Partitioned)

    @jax.jit
    def step(state):
        grads = jax.grad(lambda p: jnp.mean(state.apply_fn({"params": p}, x) ** 2))(state.params)
        return state.apply_gradients(grads=grads)

    after = step(state)
    assert probe.seen == 1
    for path, before in by_path(params).items():
        assert (by_path(after.params)[path] != before).any(), path


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weight", "bias"], meta_fields=["name"])
@dataclasses.dataclass
class Layer:
    """A module that is a pytree and stores its weight (out, in), as Equinox does."""

    weight: jax.Array
    bias: jax.Array
    name: str = "layer"

    def __call__(self, x):
        return self.weight @ x + self.bias


def test_modules_that_are_pytrees():
    model = {"up": Layer(jnp.ones((8, D)) / 8, jnp.zeros(8)), "head": Layer(jnp.ones((5, 8)) / 8, jnp.zeros(5))}
    assert om.leaves(model)["up"].weight == om.Leaf("hidden", 1, 0), "its bias is as long as its outputs"
    rules = [("head/weight", om.Leaf("head", 1, 0)), ("weight", om.Leaf("hidden", reduction=1, output=0))]
    probe = Probe()
    tx = om.for_matrices(functools.partial(om.muon, 0.1, placement=probe), optax.sgd(0.1), rules=rules)
    grads = jax.grad(lambda model: jnp.sum(model["head"](model["up"](jnp.ones(D)))))(model)
    updates, _ = jax.jit(tx.update)(grads, tx.init(model), model)
    moved = optax.apply_updates(model, updates)
    assert isinstance(moved["up"], Layer)
    assert probe.seen == 1
    size = np.linalg.norm(updates["up"].weight, 2)
    assert 0.8 < size / (0.1 * 2**0.5) < 1.2, "fan-out over fan-in is two, not one half"
    np.testing.assert_allclose(updates["head"].weight, -0.1 * grads["head"].weight, rtol=1e-6)
