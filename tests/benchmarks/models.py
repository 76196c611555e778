"""The matrices of a GPT, as shapes."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

import optax_muon as om
from optax_muon.linalg._flops import plain_flops


def gpt(layers: int, width: int, mesh=None, spec=None) -> tuple[dict, dict]:
    """Shapes and leaves of qkv, proj, up and down of every layer; ``spec``: one, or a function of the name."""
    sizes = {"qkv": (width, 3 * width), "proj": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}

    def matrix(name, shape):
        chosen = spec(name) if callable(spec) else spec
        sharding = None if mesh is None else NamedSharding(mesh, chosen)
        return {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)}

    params = {f"layer_{i}": {name: matrix(name, shape) for name, shape in sizes.items()} for i in range(layers)}
    # Said outright: by name, a fused qkv is three matrices, and optax.contrib.muon takes it for one.
    return params, jax.tree.map(lambda _: om.Leaf("hidden", 0, 1), params)


def stacked(layers: int, width: int) -> tuple[dict, dict]:
    """Shapes and leaves of the same model with its layers in one array each, as `flax.linen.scan` stores them."""
    params, _ = gpt(1, width)
    one = params["layer_0"]
    params = {"layers": jax.tree.map(lambda x: jax.ShapeDtypeStruct((layers, *x.shape), x.dtype), one)}
    return params, jax.tree.map(lambda _: om.Leaf("hidden", 1, 2), params)


def plain(params: dict) -> float:
    """FLOPs of five plain quintic steps on every matrix."""
    return sum(plain_flops(*x.shape) for x in jax.tree.leaves(params))


def elements(params: dict) -> int:
    """Number of matrix elements."""
    return sum(x.size for x in jax.tree.leaves(params))


def lower(tx, params, donate=False):
    """Lower one update; state shaped like a parameter lies as the parameter does."""
    shardings = jax.tree.map(lambda x: x.sharding, params)
    state = jax.eval_shape(tx.init, params)
    if next(iter(jax.tree.leaves(shardings)), None) is not None:
        by_shape = {x.shape: x.sharding for x in jax.tree.leaves(params)}
        whole = next(iter(by_shape.values()))
        whole = NamedSharding(whole.mesh, jax.sharding.PartitionSpec())
        state = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=by_shape.get(x.shape, whole)), state
        )
    return jax.jit(tx.update, donate_argnums=(0, 1) if donate else ()).lower(params, state, params)
