"""Eight workers, each with weights and gradients of its own: by `jax.vmap`, and on eight devices by `jax.shard_map`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import optax_muon as om

N, STEPS, PULL = 8, 6, 0.3
SHAPE = (6, 4)  # (reduction, output), as Flax stores them
LEAVES = {"up": {"kernel": om.Leaf("hidden", 0, 1)}}
AXIS = "workers"
MANNERS = {
    "vmap": None,
    "checked, Auto": (True, AxisType.Auto),
    "unchecked, Auto": (False, AxisType.Auto),
    "checked, Explicit": (True, AxisType.Explicit),
    "unchecked, Explicit": (False, AxisType.Explicit),
}
# Most of the time is the compiler's, so the quick run has one manner of each kind.
QUICK = [
    pytest.param(name, marks=() if name in ("vmap", "checked, Explicit") else pytest.mark.slow) for name in MANNERS
]
POLAR = om.linalg.SVDPolar()


def problem(n=N, *, same_start=False, same_data=False, seed=0, steps=STEPS):
    """Weights (n, in, out) and what gradients are made of, (n, steps, in, out), in float64."""
    rng = np.random.default_rng(seed)
    weights, data = rng.normal(size=(n, *SHAPE)), rng.normal(size=(n, steps, *SHAPE))
    weights = np.broadcast_to(weights[:1], weights.shape) if same_start else weights
    return weights, np.broadcast_to(data[:1], data.shape) if same_data else data


def walk(tx, weights, data):
    """Take one worker's steps; gradients depend on the weights, so that a wrong step changes the next one too."""
    tx = optax.with_extra_args_support(tx)
    params, batches = ({"up": {"kernel": x}} for x in (weights, data))

    def step(carry, batch):
        params, state, previous = carry
        grads, before = (jax.tree.map(lambda b, p: b + PULL * p, batch, at) for at in (params, previous))
        updates, state = tx.update(grads, state, params, grads_at_previous_params=before)
        return (optax.apply_updates(params, updates), state, params), None

    params, state, _ = jax.lax.scan(step, (params, tx.init(params), params), batches)[0]
    return params["up"]["kernel"], state


def run(manner, tx, weights, data):
    """Give all workers' last weights, (n, in, out), and states, stacked."""
    weights, data, n = jnp.asarray(weights), jnp.asarray(data), len(weights)
    one = functools.partial(walk, tx)
    if MANNERS[manner] is None:
        return jax.jit(jax.vmap(one, axis_name=AXIS))(weights, data)
    check, kind = MANNERS[manner]
    mesh = jax.make_mesh((n,), (AXIS,), axis_types=(kind,), devices=jax.devices()[:n])
    placed = [jax.device_put(x, jax.NamedSharding(mesh, P(AXIS))) for x in (weights, data)]

    def body(weights, data):
        return jax.tree.map(lambda x: x[None], one(weights[0], data[0]))

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=check))(*placed)


def alone(tx, weights, data):
    """Give the last weights of one worker without an axis."""
    return np.asarray(jax.jit(functools.partial(walk, tx))(jnp.asarray(weights), jnp.asarray(data))[0])
