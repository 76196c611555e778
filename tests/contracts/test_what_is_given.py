"""What every card makes of gradients that are not like the parameters: of another dtype or shape, complex, missing."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon import transforms
from tests.contracts.problem import TURNING, extra_args

SAMPLE = {"muon", "scion", "dion"}
CARDS = [pytest.param(card, id=name) for name, card in om.registry.items()]
every_card = pytest.mark.parametrize("card", CARDS)
sampled = pytest.mark.parametrize(
    "card", [pytest.param(*c.values, id=c.id, marks=() if c.id in SAMPLE else pytest.mark.slow) for c in CARDS]
)
SHAPES = {"up": {"kernel": (4, 6)}}
WITH_ROLES = {"up": {"kernel": (4, 6), "bias": (6,)}, "embed": {"embedding": (5, 4)}}
LEAVES = {
    "up": {"kernel": om.Leaf("hidden", 0, 1), "bias": om.Leaf("vector")},
    "embed": {"embedding": om.Leaf("embedding", 0, 1)},
}
REAL_ONLY = {
    "adaptive_muon",
    "asgo",
    "conda",
    "cosmos",
    "fismo",
    "kl_shampoo",
    "local_lmo",
    "manifold_muon",
    "mousse",
    "muon_ogd",
    "newton_muon",
    "shampoo",
    "spel",
    "sso",
    "soap",
    "soft_signum",
    "splus",
}


def arrays(card, seed, dtype=jnp.float32):
    """Random arrays for all that a card takes."""
    rng = np.random.default_rng(seed)

    def draw(shape):
        x = rng.normal(size=shape)
        return jnp.asarray(x + 1j * rng.normal(size=shape) if jnp.issubdtype(dtype, jnp.complexfloating) else x, dtype)

    shapes = WITH_ROLES if card.kind in ("roles", "any") else SHAPES
    return jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))


def build(card, **options):
    return optax.with_extra_args_support(card.make(0.1, leaves=LEAVES, **card.defaults | options))


def update(card, tx, grads, state, params=None):
    """One update with every extra argument that a card may want."""
    more = extra_args(card, grads)
    return tx.update(grads, state, params, value=jnp.float32(1.0), **more)


def kinds(tree):
    """Dtype, weakness and shape of every array: what a scan compares, and what a second compilation is for."""
    return jax.tree.map(lambda x: (x.dtype, x.weak_type, x.shape), jax.eval_shape(lambda: tree))


NARROW, WIDE, WIDER = jnp.bfloat16, jnp.float32, jnp.float64


@every_card
@pytest.mark.parametrize(
    ("kept", "given"),
    [(NARROW, WIDE), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((WIDE, NARROW), (WIDE, WIDER)))],
)
def test_the_state_keeps_its_dtypes_whatever_the_gradients_have(card, kept, given):
    with jax.enable_x64(given == WIDER):
        tx, params, grads = build(card), arrays(card, 0, kept), arrays(card, 1, given)
        state = tx.init(params)
        updates, after = jax.eval_shape(lambda *a: update(card, tx, *a), grads, state, params)
        chex.assert_trees_all_equal_structs(after, state)
        assert kinds(after) == kinds(state)
        assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(given)}


@sampled
@pytest.mark.filterwarnings("error:.*float64:UserWarning")
def test_numpy_s_doubles_are_floats_without_x64_and_say_nothing(card):
    params, grads = (jax.tree.map(lambda x: np.asarray(x, np.float64), arrays(card, seed)) for seed in (0, 1))
    tx = build(card)
    updates, _ = update(card, tx, grads, tx.init(params), params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.float32)}


@sampled
def test_wide_gradients_scan_compile_once_and_pass_apply_if_finite(card):
    chex.clear_trace_counter()  # it counts by name, and the last card's function had the same
    tx = optax.apply_if_finite(build(card), max_consecutive_errors=2)
    params, grads = arrays(card, 0, jnp.bfloat16), arrays(card, 1)
    broken = jax.tree.map(lambda g: g * jnp.nan, grads)

    def step(state, grads):
        updates, state = update(card, tx, grads, state, params)
        return state, optax.tree.norm(updates)

    state = tx.init(params)
    many = jax.tree.map(lambda *xs: jnp.stack(xs), grads, broken, grads)
    _, norms = jax.lax.scan(step, state, many)
    assert (jnp.isfinite(norms)).all()
    assert norms[1] == 0
    once = jax.jit(chex.assert_max_traces(step, n=1))
    for _ in range(3):
        state, _ = once(state, grads)


@sampled
def test_complex_matrices_go_downhill_or_raise_with_their_path(card):
    # Small, so that a decay does not count.
    small = 1.0 if card.name in TURNING else 0.01
    tx, params = build(card), jax.tree.map(lambda p: small * p, arrays(card, 0, jnp.complex64))
    if card.name in REAL_ONLY:
        with pytest.raises(TypeError, match=r"(up/kernel|embed/embedding): \w+ takes real .*, not complex64"):
            tx.init(params)
        return
    grads, state = arrays(card, 1, jnp.complex64), tx.init(params)
    run = jax.jit(lambda *a: update(card, tx, *a))
    for _ in range(2):
        updates, state = run(grads, state, params)
    for g, u in zip(jax.tree.leaves(grads), jax.tree.leaves(updates), strict=True):
        assert u.dtype == jnp.complex64
        along = jnp.real(jnp.vdot(g, u, precision="highest"))
        assert along < -0.4 * jnp.linalg.norm(g) * jnp.linalg.norm(u)


@every_card
@pytest.mark.parametrize("wrong", [None, jnp.ones((1, 6)), jnp.ones((4, 5))], ids=["None", "(1, 6)", "(4, 5)"])
def test_a_gradient_that_does_not_fit_is_named(card, wrong):
    tx, params = build(card), arrays(card, 0)
    grads = arrays(card, 1)
    grads["up"]["kernel"] = wrong
    what = "a parameter (4, 6) without a gradient" if wrong is None else f"gradient {wrong.shape}, parameter (4, 6)"
    state = jax.eval_shape(tx.init, params)
    with pytest.raises(ValueError, match="these gradients are not of these parameters") as error:
        jax.eval_shape(lambda *a: update(card, tx, *a), grads, state, params)
    assert f"up/kernel: {what}" in str(error.value)
    if card.kind == "matrix":
        partition = om.for_matrices(tx, otherwise=optax.sgd(0.1))
        with pytest.raises(ValueError, match="up/kernel"):
            jax.eval_shape(lambda *a: update(card, partition, *a), grads, partition.init(params), params)


@pytest.mark.parametrize("wrong", [None, jnp.ones((1, 6))], ids=["None", "(1, 6)"])
@sampled
def test_it_is_named_where_no_parameters_are_given(card, wrong):
    tx = build(card)
    state = jax.eval_shape(tx.init, arrays(card, 0))
    grads = arrays(card, 1)
    grads["up"]["kernel"] = wrong
    needs_params = "needs the parameters|needs params|no parameters|NO_PARAMS|requires .*params"
    with pytest.raises((ValueError, TypeError), match=f"up/kernel|{needs_params}"):
        jax.eval_shape(lambda g, s: update(card, tx, g, s), grads, state)


@pytest.mark.parametrize("name", ["correct_by_same_batch", "closed_loop_momentum", "low_rank_storm"])
def test_a_second_gradient_that_does_not_fit_is_named(name):
    tx = {
        "correct_by_same_batch": lambda: transforms.correct_by_same_batch(1.0),
        "closed_loop_momentum": lambda: transforms.closed_loop_momentum("I"),
        "low_rank_storm": lambda: transforms.low_rank_storm(0.9, 2),
    }[name]()
    grads = {"up": {"kernel": jnp.ones((4, 6))}}
    for wrong, what in ((None, "without a second"), (jnp.ones((1, 6)), r"second gradient \(1, 6\)")):
        with pytest.raises(ValueError, match=f"{name}: up/kernel: .*{what}"):
            tx.update(grads, tx.init(grads), grads_at_previous_params={"up": {"kernel": wrong}})


def test_a_vector_of_the_other_optimizer_is_named_too():
    params = {"up": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)}}
    tx = om.for_matrices(om.muon(0.1), otherwise=optax.adam(0.1))
    wrong = {"up": params["up"] | {"bias": jnp.ones(1)}}
    with pytest.raises(ValueError, match=r"up/bias: gradient \(1,\), parameter \(6,\)"):
        tx.update(wrong, tx.init(params), params)


def test_a_real_state_of_complex_parameters_is_named():
    params = {"up": {"kernel": jnp.ones((4, 6), jnp.complex64)}}
    with pytest.raises(TypeError, match="up/kernel: complex64 has no room in float32"):
        om.muon(0.1, state_dtype=jnp.float32).init(params)
