"""Where parameters and activations lie: one mesh axis cuts batch and matrices, another one heads and features."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gpt.errors import OptionError
from gpt_linen.model import GPT
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

import optax_muon as om

# The axis of each kernel that a tensor axis cuts, layers first: a product over heads or features stays on one device
# until its second matrix has brought it back to the width (Shoeybi et al., arXiv 1909.08053).
TENSOR = {
    "blocks/attention/query/kernel": 2,
    "blocks/attention/key/kernel": 2,
    "blocks/attention/value/kernel": 2,
    "blocks/attention/out/kernel": 1,
    "blocks/mlp_up/kernel": 2,
    "blocks/mlp_up/bias": 1,
    "blocks/mlp_down/kernel": 1,
    "head/kernel": 1,
}


def found(count: int | None) -> list[Any]:
    """Give the first ``count`` devices, or all of them."""
    devices = jax.devices()
    if count is not None and count > len(devices):
        raise OptionError(f"argument --devices: {count} asked for, and {len(devices)} {devices[0].platform} found")
    return devices[:count]


def mesh_of(devices: list[Any], tensor: int = 1) -> Mesh:
    """Lay devices along ``data``, which cuts batch and matrices, and ``tensor``, which cuts heads and features."""
    if len(devices) % tensor:
        raise OptionError(f"argument --tensor: {tensor} does not divide {len(devices)} devices")
    shape = (len(devices) // tensor, tensor)
    return Mesh(np.array(devices).reshape(shape), ("data", "tensor"), axis_types=(AxisType.Auto,) * 2)


def init(model: GPT, key: Array) -> PyTree:
    """Initialise the parameters."""
    return model.init(key, jnp.zeros((1, model.config.context), jnp.int32))["params"]


def shard(path: tuple, shape: jax.ShapeDtypeStruct, leaf: om.Leaf, mesh: Mesh) -> NamedSharding:
    """Cut a leaf along its tensor axis, and a matrix along its longest other axis that ``data`` divides, not layers."""
    name = "/".join(key.key for key in path)
    spec: list[str | None] = [None] * len(shape.shape)
    data, tensor = mesh.shape["data"], mesh.shape["tensor"]
    if tensor > 1 and name in TENSOR:
        if shape.shape[TENSOR[name]] % tensor:
            raise OptionError(
                f"argument --tensor: {tensor} does not divide axis {TENSOR[name]} of {name} {shape.shape}"
            )
        spec[TENSOR[name]] = "tensor"
    axes = [axis for axis in leaf.reduction + leaf.output if shape.shape[axis] % data == 0 and not spec[axis]]
    if axes and data > 1:
        spec[max(axes, key=lambda axis: shape.shape[axis])] = "data"
    while spec and spec[-1] is None:
        spec.pop()
    return NamedSharding(mesh, PartitionSpec(*spec))


def shardings_of(model: GPT, mesh: Mesh) -> tuple[PyTree, PyTree[om.Leaf]]:
    """Give every parameter its sharding, and its axes with that sharding as their spec."""
    shapes = jax.eval_shape(functools.partial(init, model), jax.random.key(0))
    leaves = om.leaves_from_flax(model, jax.ShapeDtypeStruct((1, model.config.context), jnp.int32))
    shardings = jax.tree_util.tree_map_with_path(functools.partial(shard, mesh=mesh), shapes, leaves)

    def with_spec(leaf: om.Leaf, sharding: NamedSharding) -> om.Leaf:
        return om.Leaf(leaf.role, leaf.reduction, leaf.output, leaf.split, sharding)

    return shardings, jax.tree.map(with_spec, leaves, shardings)
