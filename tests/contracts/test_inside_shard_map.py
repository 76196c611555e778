"""Inside the caller's own `jax.shard_map` and `jax.pmap` every optimizer takes its step on whole matrices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.placement import OverMesh
from optax_muon.placement._placement import Placement
from tests.contracts.problem import AHEAD, LEAVES, MATRICES, OTHERS, SHARDED, build, nested

# One of every kind, and no more: most of the time is the compiler's.
KINDS = ("tall/kernel", "stacked/kernel", "fused/kernel", "conv/kernel", "embed/embedding", "stacked/bias")
SHAPES = {path: shape for path, (shape, _) in (MATRICES | OTHERS).items() if path in KINDS}
STEPS = 3


def cut(reduction=None, output=None, batch=None, vector=None):
    """Specs that cut every parameter's last reduction axis, first output axis and batch axis, where they divide."""
    names = {}
    for path in SHAPES:
        leaf = LEAVES[path]
        entries = [None] * len(SHAPES[path])
        for axes, name in ((leaf.reduction[-1:], reduction), (leaf.output[:1], output)):
            for axis in axes:
                entries[axis] = name if SHAPES[path][axis] % 2 == 0 else None
        for axis in leaf.batch(len(entries)) if leaf.output else ():
            entries[axis] = batch
        if not leaf.output:
            entries[-1] = vector
        names[path] = P(*entries)
    return names


LAYOUTS = {
    "reduction": cut(reduction="x", vector="y"),
    "output": cut(output="x", vector="x"),
    "both": cut(reduction="x", output="y", vector=("x", "y")),
    "both and batch": cut(reduction="x", output=None, batch="y", vector="y"),
}
LAYOUTS["both"]["stacked/bias"] = P("x", "y")
LAYOUTS["both"]["tall/kernel"] = P(("y", "x"), None)
MANNERS = {
    "checked, Auto": (True, AxisType.Auto),
    "unchecked, Auto": (False, AxisType.Auto),
    "checked, Explicit": (True, AxisType.Explicit),
    "unchecked, Explicit": (False, AxisType.Explicit),
}
SAMPLE = {("muon", "both", "checked, Explicit"), ("normuon", "output", "unchecked, Auto")}


def rows():
    for name, card in om.registry.items():
        for layout in LAYOUTS:
            # The four manners on one layout; elsewhere the checked and the unchecked one.
            for manner in MANNERS if layout == "both" else ("checked, Explicit", "unchecked, Auto"):
                marks = () if (name, layout, manner) in SAMPLE else pytest.mark.slow
                yield pytest.param(card, layout, manner, id=f"{name}-{layout}-{manner}", marks=marks)


@dataclasses.dataclass
class Witness(Placement):
    """The usual placement, which notes whose matrices it was given."""

    seen: set = dataclasses.field(default_factory=set)

    def run(self, op, works):
        self.seen |= {work.path for work in works}
        return OverMesh().run(op, works)


def arrays(seed):
    """Random parameters of size 0.1 in float64."""
    rng = np.random.default_rng(seed)
    return nested({path: jnp.asarray(0.1 * rng.normal(size=shape)) for path, shape in SHAPES.items()})


def leaves_of(specs, options):
    """The leaves of a card's problem with their specs."""
    flat = {
        "/".join((a, b)): leaf for a, part in options.get("leaves", nested(LEAVES)).items() for b, leaf in part.items()
    }
    return nested({path: dataclasses.replace(flat[path], spec=specs and specs[path]) for path in SHAPES})


def optimizer(card, specs=None, placement=None):
    options = SHARDED.get(card.name, {})
    return build(card, options={**options, "leaves": leaves_of(specs, options)}, placement=placement)


def train(tx, params, grads):
    """Take some steps in a loop, whose state must keep its type."""

    def step(carry, grads):
        params, state = carry
        # The gradient depends on the parameters, so that a wrong step changes the next one too.
        grads = jax.tree.map(lambda g, p: g + 0.1 * p, grads, params)
        updates, state = tx.update(grads, state, params, value=jnp.ones([]))
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, tx.init(params)), grads)[0]


@functools.cache
def whole(name):
    """Parameters and state after the same steps without a map."""
    card = om.registry[name]
    return jax.jit(functools.partial(train, optimizer(card)))(arrays(0), stacked_gradients())


def stacked_gradients():
    return jax.tree.map(lambda *xs: jnp.stack(xs), *(arrays(1 + i) for i in range(STEPS)))


def inside(card, specs, check, kind, witness):
    mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4], axis_types=(kind,) * 2)
    tree = nested(specs)
    placed = jax.tree.map(lambda spec: NamedSharding(mesh, spec), tree, is_leaf=lambda x: isinstance(x, P))
    steps = jax.tree.map(lambda spec: P(None, *spec), tree, is_leaf=lambda x: isinstance(x, P))
    tx = optimizer(card, specs, witness)
    params, grads = jax.device_put(arrays(0), placed), stacked_gradients()
    grads = jax.device_put(
        grads, jax.tree.map(lambda s: NamedSharding(mesh, s), steps, is_leaf=lambda x: isinstance(x, P))
    )
    state = jax.tree.map(lambda s: s.spec, om.state_shardings(optimizer(card), params, placed, inside=True))
    body = functools.partial(train, tx)
    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(tree, steps), out_specs=(tree, state), check_vma=check))(
        params, grads
    )


def close(got, expected, atol):
    for (at, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=atol, err_msg=jax.tree_util.keystr(at))


@pytest.mark.parametrize(("card", "layout", "manner"), list(rows()))
def test_the_step_is_that_of_whole_arrays(card, layout, manner):
    with jax.enable_x64():
        witness = Witness()
        params, state = inside(card, LAYOUTS[layout], *MANNERS[manner], witness)
        expected, expected_state = whole(card.name)
        close(params, expected, 1e-5 * AHEAD.get(card.name, 1))
        assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, expected_state)
    assert witness.seen >= MATRICES.keys() & SHAPES.keys() or card.in_place
