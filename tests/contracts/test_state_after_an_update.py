"""State is sharded after an update as `om.state_shardings` says, so that a step is compiled once, ahead of time too."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding

import optax_muon as om
from tests.contracts.problem import nested
from tests.contracts.test_inside_shard_map import LAYOUTS, arrays, optimizer

SAMPLE = {("normuon", "both", "Explicit")}
ROWS = [
    pytest.param(card, layout, kind, id="-".join(row), marks=() if row in SAMPLE else pytest.mark.slow)
    for name, card in om.registry.items()
    for layout in LAYOUTS
    for kind in ("Explicit", "Auto")
    for row in [(name, layout, kind)]
]


COMPILED: list[str] = []  # an entry for every stage of a compilation
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: COMPILED.append(event) if event.startswith("/jax/core/compile/") else None
)


@pytest.mark.parametrize(("card", "layout", "kind"), ROWS)
def test_the_second_step_takes_what_the_first_returns(card, layout, kind):
    mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4], axis_types=(getattr(AxisType, kind),) * 2)
    shardings = nested({path: NamedSharding(mesh, spec) for path, spec in LAYOUTS[layout].items()})
    # On an Auto mesh the leaves' specs tell a step what types tell it on an Explicit one.
    tx = optimizer(card, LAYOUTS[layout] if kind == "Auto" else None)
    params = jax.device_put(jax.tree.map(lambda x: x.astype(jnp.float32), arrays(0)), shardings)
    named = om.state_shardings(tx, params, shardings)
    with jax.set_mesh(mesh):
        state = jax.jit(tx.init, out_shardings=named)(params)
        step = jax.jit(lambda g, s, p: tx.update(g, s, p, value=jnp.ones([])))
        _, returned = step(params, state, params)
        flat = jax.tree_util.tree_leaves_with_path(named)
        for (at, given), x in zip(flat, jax.tree.leaves(returned), strict=True):
            assert given.is_equivalent_to(x.sharding, x.ndim), f"{jax.tree_util.keystr(at)}: {given.spec}, {x.sharding}"
        assert COMPILED
        COMPILED.clear()
        step(params, returned, params)
        assert not COMPILED, "compiled twice"
