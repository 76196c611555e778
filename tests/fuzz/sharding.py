"""Every layout gives the update of one device: random meshes, specs and sides, Auto, Explicit, and `shard_map`."""

import math
import random
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.contracts.problem import AHEAD
from tests.fuzz.kind import Kind

MESHES = (
    {"a": 2},
    {"a": 3},
    {"a": 8},
    {"a": 2, "b": 3},
    {"a": 4, "b": 2},
    {"a": 2, "b": 2, "c": 2},
    {"a": 4, "one": 1},
    {"one": 1},
)
# Sums and products alone: rules that make much of rounding are compared with options of their own, in the contracts.
CARDS = ("muon", "normuon", "scion", "muoneq", "sf_normuon", "rmnp", "orscale", "htmuon")
SIDES = (1, 2, 3, 4, 6, 7, 12)
WHERE = ("auto", "auto without specs", "explicit")


class Layout(NamedTuple):
    """A mesh, how its axes are known, an optimizer, and (shape, batch axes, spec) of every parameter."""

    mesh: int
    where: str
    card: str
    arrays: tuple[tuple[tuple[int, ...], int, tuple[Any, ...]], ...]


def layout_of(seed: int, ways: tuple[str, ...] = WHERE) -> Layout:
    """Make a layout of five parameters from one number."""
    rng = random.Random(seed)
    mesh, where = rng.randrange(len(MESHES)), rng.choice(ways)
    arrays = []
    for _ in range(5):
        batch = rng.choice((0, 0, 1))
        shape = tuple(rng.choice(SIDES) for _ in range(2 + batch))
        arrays.append((shape, batch, spec_of(rng, MESHES[mesh], shape)))
    return Layout(mesh, where, rng.choice(CARDS), tuple(arrays))


def spec_of(rng: random.Random, mesh: dict[str, int], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Put mesh axes on array axes that they divide, or not at all; JAX places no array on others."""
    left, spec = rng.sample(sorted(mesh), len(mesh)), []
    for side in shape:
        names = []
        while left and rng.random() < 0.6 and side % math.prod(mesh[name] for name in [*names, left[0]]) == 0:
            names.append(left.pop(0))
        spec.append(tuple(names) if len(names) > 1 else names[0] if names else None)
    return tuple(spec)


def problem(layout: Layout):
    """Give leaves without specs, parameters and gradients by name, and the specs."""
    rng = np.random.default_rng(0)
    names = [f"p{i}" for i in range(len(layout.arrays))]
    leaves = {
        name: om.Leaf("hidden", batch, batch + 1) for name, (_, batch, _) in zip(names, layout.arrays, strict=True)
    }
    params, grads = (
        {
            name: rng.normal(size=shape).astype(np.float32)
            for name, (shape, *_) in zip(names, layout.arrays, strict=True)
        }
        for _ in range(2)
    )
    specs = {name: P(*spec) for name, (*_, spec) in zip(names, layout.arrays, strict=True)}
    return leaves, params, grads, specs


def optimizer(card: str, leaves):
    """Build a card's optimizer; all parameters are hidden matrices."""
    entry = om.registry[card]
    return entry.make(0.05, leaves=leaves, **entry.defaults)


def two_steps(tx):
    """Make the second update, which also sees what the first has kept."""

    def run(params, grads):
        updates, state = tx.update(grads, tx.init(params), params)
        return tx.update(jax.tree.map(lambda g, u: g + u, grads, updates), state, params)[0]

    return run


def over_mesh(layout: Layout):
    """Make the update where the layout says."""
    leaves, params, grads, specs = problem(layout)
    sizes = MESHES[layout.mesh]
    kind = AxisType.Explicit if layout.where == "explicit" else AxisType.Auto
    devices = jax.devices()[: math.prod(sizes.values())]
    mesh = jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(kind,) * len(sizes), devices=devices)
    if layout.where in ("auto", "shard_map"):
        leaves = {name: om.Leaf("hidden", x.reduction, x.output, spec=specs[name]) for name, x in leaves.items()}
    run = two_steps(optimizer(layout.card, leaves))
    with jax.set_mesh(mesh):
        shardings = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
        params, grads = jax.device_put((params, grads), (shardings, shardings))
        if layout.where == "shard_map":
            run = jax.shard_map(run, mesh=mesh, in_specs=(specs, specs), out_specs=specs)
        return jax.device_get(jax.jit(run)(params, grads))


def check(layout: Layout):
    """Compare with one device."""
    leaves, params, grads, _ = problem(layout)
    expected = jax.jit(two_steps(optimizer(layout.card, leaves)))(params, grads)
    found = over_mesh(layout)
    for name, x in expected.items():
        error = float(jnp.abs(found[name] - x).max())
        assert error <= 1e-5 * AHEAD.get(layout.card, 1), f"{name} of {layout} is {error:.1e} away"
    cases = zip(layout.arrays, strict=True)
    return [(layout.mesh, layout.where, layout.card, array) for (array,) in cases]


def inside(seed: int) -> Layout:
    """Make a layout inside the caller's own map."""
    return layout_of(seed, ("shard_map",))


NUMBERS = st.integers(0, 2**62)
KIND = Kind("sharding", NUMBERS.map(layout_of), check, quick=1, share=0.005, minutes=12)
INSIDE = Kind("inside shard_map", NUMBERS.map(inside), check, quick=1, share=0.002, minutes=4)
