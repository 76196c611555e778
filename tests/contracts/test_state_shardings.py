"""Every leaf of every optimizer's state has the one sharding it should: its parameter's, or none of the axes."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.contracts.problem import LEAVES, MATRICES, OTHERS, build, nested

# Two parameters of one shape, so that a sharding found by shape alone is seen; no two neighbours have one spec.
TWIN = {"twin/kernel": ((6, 6), om.Leaf("hidden", 0, 1))}
SHAPES = {path: shape for path, (shape, _) in (MATRICES | OTHERS | TWIN).items()}
SPECS = {
    "square/kernel": P("x", "y"),
    "tall/kernel": P("y", "x"),
    "wide/kernel": P(("x", "y")),
    "row/kernel": P(None, "x"),
    "stacked/kernel": P(None, "y", "x"),
    "conv/kernel": P(None, None, "y"),
    "fused/kernel": P("x"),
    "embed/embedding": P(("y", "x"), None),
    "lm_head/kernel": P(None, ("x", "y")),
    "square/bias": P("y"),
    "stacked/bias": P("x"),
    "twin/kernel": P("y", None),
}
PARAMS = nested({path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in SHAPES.items()})
PLACED = nested(LEAVES | {"twin/kernel": om.Leaf("hidden", 0, 1)})
CARDS = [pytest.param(card, id=name) for name, card in om.registry.items()]
STATEFUL = [row for row in CARDS if row.values[0].state.per_parameter]
WRAPPERS = {
    "multi_steps": lambda tx: om.multi_steps(tx, 2),
    "previous params": om.remember_previous_params,
    "injected": lambda tx: optax.inject_hyperparams(lambda rate: optax.chain(tx, optax.scale(rate)))(rate=0.1),
    "optax.ema": lambda tx: optax.chain(tx, optax.ema(0.9)),
    # Trees like the parameters whose arrays are of other shapes: one side's mean square, or a mere placeholder.
    "factored": lambda tx: optax.chain(tx, optax.scale_by_factored_rms(min_dim_size_to_factor=4)),
}


MESH = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4])
SHARDINGS = {path: NamedSharding(MESH, spec) for path, spec in SPECS.items()}
REPLICATED = NamedSharding(MESH, P())


def expected(at, leaf):
    """A parameter's sharding where the last two keys are its path and the shape is its own, else replicated.

    What optimizers keep per output or per matrix stands under the whole path as one key, and keeps the parameter's
    sharding on the axes that it has. Factors of matrices, in a tuple under that key, are cut over the parameter's axes,
    along the last of their own that these divide.
    """
    stacks = [i for i, key in enumerate(at) if i and hasattr(key, "idx") and getattr(at[i - 1], "key", None) in SHAPES]
    if stacks:
        return NamedSharding(MESH, factor_spec(leaf.shape, SPECS[at[stacks[0] - 1].key]))
    names = [str(getattr(key, "key", getattr(key, "name", key))) for key in at]
    path = "/".join(names[-2:])
    if SHAPES.get(path) == leaf.shape:
        return SHARDINGS[path]
    path = next((name for name in names[-2:] if name in SHAPES), None)
    if path is None or len(leaf.shape) != len(SHAPES[path]):
        return REPLICATED
    spec = [*SPECS[path], *[None] * (len(leaf.shape) - len(SPECS[path]))]
    return NamedSharding(MESH, P(*(name if n > 1 else None for name, n in zip(spec, leaf.shape, strict=True))))


def factor_spec(shape, spec):
    """Try all axes of the parameter, then each."""
    named = [name for name in ("x", "y") if name in jax.tree.leaves(tuple(spec))]
    for names in [named, *[[name] for name in named]]:
        for axis in (2, 1) if len(shape) > 2 else ():
            if names and shape[axis] % 2 ** len(names) == 0:
                return P(*[None] * axis, tuple(names))
    return P()


def axes(sharding):
    """What shards every dimension, written one way."""
    dims = [jax.tree.leaves(entry) for entry in sharding.spec]
    while dims and not dims[-1]:
        dims.pop()
    return dims


def check(found, tx):
    """Compare every leaf; returns how many are like a parameter."""
    state = jax.eval_shape(tx.init, PARAMS)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    like = 0
    for (at, leaf), given in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(found), strict=True):
        assert axes(given) == axes(expected(at, leaf)), f"{jax.tree_util.keystr(at)} {leaf.shape}: {given.spec}"
        like += not given.is_fully_replicated
    return like


@pytest.mark.parametrize("card", STATEFUL)
def test_state_has_its_parameter_s_sharding_or_none(card):
    tx = build(card, leaves=PLACED)
    found = om.state_shardings(tx, PARAMS, nested(SHARDINGS))
    vectors = 2 * (len(OTHERS) if card.kind == "matrix" else 0)  # two moments of Adam
    assert check(found, tx) > vectors, "nothing of the matrix optimizer's state is like a parameter"


@pytest.mark.parametrize("wrap", [pytest.param(wrap, id=name) for name, wrap in WRAPPERS.items()])
def test_wrappers_keep_it(wrap):
    tx = wrap(build(om.registry["normuon"], leaves=PLACED))
    assert check(om.state_shardings(tx, PARAMS, nested(SHARDINGS)), tx)


def by_shape(tx):
    """The sharding of the first parameter of the same shape."""
    first = {shape: SHARDINGS[path] for path, shape in reversed(SHAPES.items())}
    return jax.tree.map(lambda x: first.get(x.shape, REPLICATED), jax.eval_shape(tx.init, PARAMS))


def by_name(tx):
    """The parameter's sharding for whatever stands under its path, of any shape."""

    def place(at, leaf):
        path = "/".join(str(getattr(key, "key", "")) for key in at[-2:])
        return SHARDINGS.get(path, REPLICATED)

    return jax.tree_util.tree_map_with_path(place, jax.eval_shape(tx.init, PARAMS))


MUTANTS = {
    "replicated": lambda tx: jax.tree.map(lambda _: REPLICATED, jax.eval_shape(tx.init, PARAMS)),
    "by shape": by_shape,
    "by name": by_name,
    "one leaf too many": lambda tx: (om.state_shardings(tx, PARAMS, nested(SHARDINGS)), REPLICATED),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_answer_is_seen(mutant):
    tx = WRAPPERS["factored"](build(om.registry["normuon"], leaves=PLACED))
    with pytest.raises(AssertionError):
        check(MUTANTS[mutant](tx), tx)


@pytest.mark.parametrize("card", STATEFUL)
def test_replicating_everything_is_seen_for_every_card(card):
    tx = build(card, leaves=PLACED)
    with pytest.raises(AssertionError, match="kernel"):
        check(MUTANTS["replicated"](tx), tx)
