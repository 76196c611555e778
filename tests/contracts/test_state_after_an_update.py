"""State is sharded after an update as `om.state_shardings` says, so that a step compiled ahead of time goes on."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.contracts.problem import nested
from tests.contracts.test_inside_shard_map import LAYOUTS, arrays, optimizer

SAMPLE = {("normuon", "both")}
ROWS = [
    pytest.param(card, layout, id=f"{name}-{layout}", marks=() if (name, layout) in SAMPLE else pytest.mark.slow)
    for name, card in om.registry.items()
    for layout in LAYOUTS
]


@pytest.mark.parametrize(("card", "layout"), ROWS)
def test_the_second_step_takes_what_the_first_returns(card, layout):
    mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4], axis_types=(AxisType.Explicit,) * 2)
    place = lambda spec: NamedSharding(mesh, spec)  # noqa: E731
    shardings = jax.tree.map(place, nested(LAYOUTS[layout]), is_leaf=lambda x: isinstance(x, P))
    tx = optimizer(card)
    params = jax.device_put(jax.tree.map(lambda x: x.astype(jnp.float32), arrays(0)), shardings)
    named = om.state_shardings(tx, params, shardings)
    with jax.set_mesh(mesh):
        state = jax.jit(tx.init, out_shardings=named)(params)
        step = jax.jit(lambda g, s, p: tx.update(g, s, p, value=jnp.ones([])))
        compiled = step.lower(params, state, params).compile()
        returned = compiled.output_shardings[1]
        flat = jax.tree_util.tree_leaves_with_path(named)
        for (at, given), found, x in zip(flat, jax.tree.leaves(returned), jax.tree.leaves(state), strict=True):
            assert given.is_equivalent_to(found, x.ndim), f"{jax.tree_util.keystr(at)}: {given.spec}, {found}"
        _, state = compiled(params, state, params)
        compiled(params, state, params)
