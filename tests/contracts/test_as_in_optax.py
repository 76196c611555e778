"""What Optax asks of its own optimizers, asked of every card: where users put one, it goes.

Most rows are traced and not compiled: shapes, dtypes and sharding types show there.
"""

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
from tests.contracts.problem import CONFINED, build, tree, with_extra_args

SAMPLE = {"muon", "scion", "dion"}
ROWS = [pytest.param(c, id=n, marks=() if n in SAMPLE else pytest.mark.slow) for n, c in om.registry.items()]
sampled = pytest.mark.parametrize("card", ROWS)
DATA = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
STEPS = 150


# The first and the third have their minimum within the unit ball of the norms of Scion, which never leaves it.
def parabola(w):
    return jnp.sum(jnp.square(w - 0.2))


def valley(w):
    """Rosenbrock's, down the rows: curved, and flat along its floor."""
    return jnp.sum(jnp.square(1 - w[0])) + 10 * jnp.sum(jnp.square(w[1:] - jnp.square(w[:-1])))


def factors(w):
    """The distance of a square from a matrix of lower rank."""
    target = jnp.outer(jnp.arange(1.0, 5.0), jnp.arange(1.0, 5.0)) / 64
    return jnp.sum(jnp.square(jnp.matmul(w, w.mT, precision="highest") - target))


def logistic(w):
    """Which of four classes, of points that a plane tells apart."""
    labels = jnp.argmax(DATA[:, :4], axis=1)
    logits = jnp.matmul(DATA, w, precision="highest")
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


# Function, shape, and the part of the first value that has to be reached.
FUNCTIONS = {
    "parabola": (parabola, (4, 3), 0.05),
    "valley": (valley, (3, 4), 0.3),
    "factors": (factors, (4, 2), 0.1),
    "logistic": (logistic, (5, 4), 0.5),
}
LEAVES = {name: om.Leaf("hidden", 0, 1) for name in FUNCTIONS}


ON_SPHERES = {"hyperball", "muon_h"}  # they keep the norm, which has to be that of the minimum
GROWING = {"nora": ("logistic",)}  # lengths of outputs never shrink: what has no length at its minimum can be reached
# Optax's own tests give every optimizer a rate that suits it; Kaon's spectrum is chaotic and needs the largest here.
RATES = (0.1, 0.01, 0.5, 1.0, 0.002, 0.02, 0.05)
# The rule around them is plain SGD, which runs away from the valley.
INSIDE = {"diloco": {"inner": optax.adam(0.1)}}


def of_matrices(card, rate):
    """Build a card's optimizer for a tree of matrices alone, as a user calls it."""
    options = card.defaults | INSIDE.get(card.name, {})
    tx = card.make(lambda count: rate * (1 - count / STEPS), leaves=LEAVES, **options)
    return optax.with_extra_args_support(with_extra_args(card, tx))


def values(params):
    return {name: f(params[name]) for name, (f, *_) in FUNCTIONS.items()}


# Whose weights stay on a manifold, where these functions have no minimum, come to one of their own in test_convergence.
@pytest.mark.parametrize("card", [row for row in ROWS if row.id not in CONFINED])
def test_four_functions_are_minimised_in_one_scan(card):
    rng = np.random.default_rng(1)
    start = {name: jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32) for name, (_, shape, _) in FUNCTIONS.items()}

    @jax.jit
    def run(params, rate):
        tx = of_matrices(card, rate)

        def body(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(lambda p: sum(values(p).values()))(params)
            updates, state = tx.update(grads, state, params, value=value)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, tx.init(params)), length=STEPS)[0][0]

    if card.name in ON_SPHERES:
        sizes = {"parabola": 0.2 * 12**0.5, "valley": 12**0.5, "factors": (30 / 64) ** 0.5, "logistic": 3.0}
        start = {name: x * (sizes[name] / jnp.linalg.norm(x)) for name, x in start.items()}
    first, lasts = values(start), [values(run(start, jnp.float32(rate))) for rate in RATES]
    for name, (*_, part) in FUNCTIONS.items():
        if name not in GROWING.get(card.name, FUNCTIONS):
            continue
        reached = min(float(last[name]) for last in lasts if np.isfinite(last[name]))
        assert reached < part * first[name], f"{name}: {first[name]:.3g} -> {reached:.3g}"


@sampled
@pytest.mark.parametrize("kept", [jnp.float32, jnp.bfloat16])
def test_both_sides_of_a_cond_have_one_type(card, kept):
    tx = optax.with_extra_args_support(build(card))
    params, grads = tree(0, kept), tree(1, kept)

    def step(state, flag):
        return jax.lax.cond(
            flag,
            lambda: tx.update(grads, state, params, value=jnp.float32(1.0)),
            lambda: (jax.tree.map(jnp.zeros_like, grads), state),
        )

    state = tx.init(params)
    updates, after = jax.eval_shape(step, state, True)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, grads)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, jax.eval_shape(lambda: state))


@sampled
def test_wrappers_carry_it_and_hand_on_what_it_is_given(card):
    params, grads = tree(0), tree(1)
    for wrap in (
        lambda tx: optax.apply_if_finite(tx, 3),
        lambda tx: optax.MultiSteps(tx, 3).gradient_transformation(),
        lambda tx: om.multi_steps(tx, 3),
        lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
    ):
        tx = optax.with_extra_args_support(wrap(build(card)))

        def body(state, _, tx=tx):
            return tx.update(grads, state, params, value=jnp.float32(1.0), unknown=2)[::-1]

        # A scan raises where a state changes its structure, a shape, a dtype or a weak type.
        jax.eval_shape(lambda state, body=body: jax.lax.scan(body, state, length=2), tx.init(params))


@pytest.mark.parametrize("name", sorted(SAMPLE))
def test_a_gradient_that_is_not_finite_changes_nothing(name):
    tx = optax.apply_if_finite(build(om.registry[name]), 3)
    params, grads = tree(0), tree(1)
    broken = jax.tree.map(lambda g: g.at[(0,) * g.ndim].set(jnp.nan), grads)
    update = jax.jit(tx.update)
    _, state = update(grads, tx.init(params), params)
    updates, after = update(broken, state, params)
    assert not any(jnp.any(u) for u in jax.tree.leaves(updates))
    chex.assert_trees_all_equal(after.inner_state, state.inner_state)
    assert after.total_notfinite == 1


@sampled
def test_hyperparameters_are_injected_as_users_write_it(card):
    """`optax.inject_hyperparams` beside ours, with a schedule."""
    if card.kind != "matrix" or card.extra_args:
        pytest.skip("takes leaves or a second gradient of its own; test_inject_hyperparams has these")
    static = sorted(card.static_args)
    rate = optax.linear_schedule(0.1, 0.0, 10)
    params = {"up": {"kernel": jnp.ones((4, 3))}, "bias": jnp.ones(3)}
    for tx in (
        om.inject_hyperparams(card.make)(rate, **card.defaults),
        optax.inject_hyperparams(card.make, static_args=static)(learning_rate=rate, **card.defaults),
    ):
        whole = om.for_matrices(tx, otherwise=optax.sgd(0.1))
        state = whole.init(params)
        np.testing.assert_allclose(optax.tree.get(state, "hyperparams")["learning_rate"], 0.1)
        _, after = jax.eval_shape(whole.update, params, state, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(after, jax.eval_shape(lambda state=state: state))


@sampled
def test_updates_have_their_parameters_sharding_types(card):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    specs = {"conv/kernel": P(None, "x"), "row/kernel": P(None, "x")}

    def place(path, x):
        name = "/".join(key.key for key in path)
        spec = P() if x.ndim < 2 else specs.get(name, P("x"))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))

    with jax.set_mesh(mesh):
        params = jax.tree_util.tree_map_with_path(place, tree(0))
        tx = optax.with_extra_args_support(build(card))
        step = functools.partial(tx.update, value=jnp.float32(1.0))
        updates, _ = jax.eval_shape(step, params, jax.eval_shape(tx.init, params), params)

    def cuts(x):
        """The mesh axes of every dimension; a spec may leave out the last ones."""
        return (*x.sharding.spec, *[None] * (x.ndim - len(x.sharding.spec)))

    jax.tree.map(lambda u, p: chex.assert_equal(cuts(u), cuts(p)), updates, params)
