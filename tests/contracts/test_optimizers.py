"""Promises that every named optimizer keeps, on matrix leaves of every kind; the registry drives them.

A card costs a minute of compilation for all rows. The quick run takes the rows that depend on a card's own rule for
every card, and the rows that test the shared machinery for one card of each make: a matrix chain, a choice by roles, a
rule with memory of its own. ``-m "slow or not slow"`` takes every row for every card.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.matrices._paths import by_path
from tests.contracts.problem import AHEAD, COUNT, LEAVES, MATRICES, OTHERS, SHARDED, Probe, build, loss, nested, tree

CARDS = [pytest.param(card, id=name) for name, card in om.registry.items()]
SAMPLE = {"muon", "scion"}
every_card = pytest.mark.parametrize("card", CARDS)
sampled = pytest.mark.parametrize(
    "card", [pytest.param(*c.values, id=c.id, marks=() if c.id in SAMPLE else pytest.mark.slow) for c in CARDS]
)
ALSO = (jnp.float32, jnp.float64)
TARGET = tree(1)
ON_BLOCKS = {"muon_bp"}  # which asks for the shardings that an Auto mesh hides


@functools.partial(jax.jit, static_argnums=0)
def step(tx, params, state, target=TARGET):
    """One step towards the target; extra arguments that an optimizer may not know ride along."""
    target = {module: {name: target[module][name] for name in part} for module, part in params.items()}
    value, grads = jax.value_and_grad(loss)(params, target)
    updates, state = tx.update(grads, state, params, value=value, something_unknown=1)
    return optax.apply_updates(params, updates), state


def assert_close(card, a, b, atol=1e-6):
    """Compare parameters after steps of 0.05."""
    atol *= AHEAD.get(card.name, 1)
    chex.assert_trees_all_equal_structs(a, b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=0), a, b)


@every_card
@pytest.mark.parametrize("dtype", [jnp.bfloat16, *(pytest.param(d, marks=pytest.mark.slow) for d in ALSO)])
def test_dtypes_and_state_are_stable(card, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        probe = Probe()
        tx = build(card, placement=probe)
        params = tree(0, dtype)
        grads = tree(1, dtype)
        state = tx.init(params)
        updates, after = jax.eval_shape(tx.update, grads, state, params)
        assert (probe.seen and probe.seen % COUNT == 0) or card.kind in ("roles", "any") or card.in_place
        chex.assert_trees_all_equal_shapes_and_dtypes(updates, jax.eval_shape(lambda: params))
        chex.assert_trees_all_equal_shapes_and_dtypes(after, jax.eval_shape(lambda: state))
        abstract = jax.eval_shape(tx.init, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(abstract, jax.eval_shape(lambda: state))


@pytest.mark.thinned(3)
@every_card
@pytest.mark.parametrize(
    ("kept", "given"),
    [(jnp.bfloat16, {"state_dtype": jnp.float32}), pytest.param(jnp.float32, {}, marks=pytest.mark.slow)],
)
def test_updates_have_the_gradients_dtype_whatever_else_is_wider(card, kept, given):
    tx = build(card, options=given)
    params, grads = tree(0, kept), tree(1, jnp.bfloat16)
    state = tx.init(params)
    updates, after = jax.eval_shape(tx.update, grads, state, params)
    assert {u.dtype for u in jax.tree.leaves(own(card, updates))} == {jnp.dtype(jnp.bfloat16)}
    chex.assert_trees_all_equal_shapes_and_dtypes(after, jax.eval_shape(lambda: state))


@sampled
def test_narrow_gradients_are_computed_on_in_the_states_dtype(card):
    """Rounded once, at the end: the steps are those of widened gradients and parameters."""
    tx, steps = build(card, options={"state_dtype": jnp.float32}), []
    update = jax.jit(tx.update)
    for dtype in (jnp.float32, jnp.bfloat16):
        params = jax.tree.map(lambda p: p.astype(dtype), tree(0, jnp.bfloat16))  # noqa: B023
        state = tx.init(params)
        for seed in (1, 2):
            grads = jax.tree.map(lambda g: g.astype(dtype), tree(seed, jnp.bfloat16))  # noqa: B023
            updates, state = update(grads, state, params)
        taken = jax.tree.leaves(own(card, updates))
        steps.append(np.concatenate([np.ravel(u.astype(jnp.bfloat16)).astype(float) for u in taken]))
    # A rounding of the momentum alone makes 2e-3; other products of float32 tip an entry over now and then.
    assert np.linalg.norm(steps[1] - steps[0]) < 1e-3 * np.linalg.norm(steps[0])


def own(card, updates):
    """Give what the card itself updates: the matrices, or all."""
    return (
        updates if card.kind in ("roles", "any") else [updates[m][k] for m, k in (path.split("/") for path in MATRICES)]
    )


@sampled
def test_constant_schedule_equals_constant(card):
    params = tree(0)
    outcomes = []
    for rate in (0.03, optax.constant_schedule(0.03)):
        tx = build(card, rate)
        outcomes.append(step(tx, *step(tx, params, tx.init(params)))[0])
    assert_close(card, *outcomes)


@sampled
def test_accumulated_micro_batches_equal_one_large_batch(card):
    params, halves = tree(0), (tree(2), tree(3))
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    tx = build(card)
    whole = optax.apply_updates(params, jax.jit(tx.update)(mean, tx.init(params), params)[0])
    many = optax.MultiSteps(build(card), 2)
    state, now, update = many.init(params), params, jax.jit(many.update)
    for grads in halves:
        updates, state = update(grads, state, now)
        now = optax.apply_updates(now, updates)
    assert_close(card, now, whole, atol=1e-5)


@sampled
def test_frozen_leaves_do_not_move(card):
    tx = optax.masked(build(card), lambda p: {k: {n: k != "square" for n in v} for k, v in p.items()})
    params = tree(0)
    grads = tree(1)
    update = jax.jit(tx.update)
    _, state = update(grads, tx.init(params), params)
    updates, _ = update(grads, state, params)  # the first may be zero, as SOAP's
    # optax.masked leaves what it masks as it came in.
    chex.assert_trees_all_equal(updates["square"], grads["square"])
    assert jnp.abs(updates["tall"]["kernel"]).max() > 0


@sampled
def test_runs_one_by_one_as_in_buckets(card):
    params = tree(0)
    bucketed, alone = build(card), build(card, placement=Probe(max_bytes=0))
    assert_close(
        card, step(bucketed, params, bucketed.init(params))[0], step(alone, params, alone.init(params))[0], atol=2e-6
    )


@sampled
def test_state_maps_over_parameters(card):
    tx = build(card)
    state = tx.init(tree(0))
    same = optax.tree.map_params(tx, lambda x: x, state, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
    chex.assert_trees_all_equal_structs(state, same)


@sampled
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("matrix_spec", [P("x"), P(None, "x")], ids=["first", "second"])
def test_sharded_equals_unsharded(card, axis_type, matrix_spec):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(axis_type,), devices=jax.devices()[:2])
    shapes = nested({path: shape for path, (shape, _) in (MATRICES | OTHERS).items()})
    divides = {"row": P(None, "x"), "conv": P(None, "x")}  # axes of length 1 and 3 do not split in two

    def spec(module, shape):
        return P() if len(shape) < 2 else divides.get(module, matrix_spec)

    shardings = {m: {k: NamedSharding(mesh, spec(m, s)) for k, s in entry.items()} for m, entry in shapes.items()}
    tx, params = build(card, options=SHARDED.get(card.name)), tree(0)
    expected = step(tx, *step(tx, params, tx.init(params)))[0]
    if card.name in ON_BLOCKS:
        flat = {path: dataclasses.replace(leaf, spec=by_path(shardings)[path].spec) for path, leaf in LEAVES.items()}
        tx = build(card, options=SHARDED.get(card.name), leaves=nested(flat))
    with jax.set_mesh(mesh):
        placed, goal = jax.device_put((params, TARGET), (shardings, shardings))
        state = jax.jit(tx.init, out_shardings=om.state_shardings(tx, placed, shardings))(placed)

        @jax.jit
        def sharded(params, state):
            grads = jax.tree.map(lambda a, b: a - b, params, goal)
            updates, state = tx.update(grads, state, params, value=loss(params, goal))
            return optax.apply_updates(params, updates), state

        for _ in range(2):
            placed, state = sharded(placed, state)
    assert_close(card, jax.device_get(placed), jax.device_get(expected), atol=1e-5)


@sampled
def test_resumes_bit_for_bit(card, tmp_path):
    import orbax.checkpoint as ocp

    tx, params = build(card), tree(0)
    there = step(tx, params, tx.init(params))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "step", there)
        checkpointer.wait_until_finished()
        back = checkpointer.restore(tmp_path / "step", jax.tree.map(ocp.utils.to_shape_dtype_struct, there))
    chex.assert_trees_all_equal(step(tx, *there), step(tx, *back))


@sampled
def test_nan_gradient_stays_in_its_matrix(card):
    params, grads = tree(0), tree(1)
    broken = {**grads, "stacked": {**grads["stacked"], "kernel": grads["stacked"]["kernel"].at[0, 0, 0].set(jnp.nan)}}
    tx = build(card)
    updates, _ = jax.jit(tx.update)(broken, tx.init(params), params)
    stacked = updates["stacked"]["kernel"]
    assert jnp.isnan(stacked[0]).any(), "a NaN must be seen"
    if card.couples:
        return
    assert jnp.isfinite(stacked[1]).all()
    for path in MATRICES:
        module, name = path.split("/")
        assert module == "stacked" or jnp.isfinite(updates[module][name]).all(), path


@sampled
def test_zero_gradient_gives_finite_updates(card):
    params = tree(0)
    tx = build(card)
    updates, _ = jax.jit(tx.update)(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    chex.assert_tree_all_finite(updates)


@every_card
def test_card_is_complete(card):
    assert card.paper
    assert card.state
    assert card.chain
    assert card.make.__doc__
    assert getattr(om, card.name) is card.make
    assert card.name in om.__all__
