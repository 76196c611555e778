"""Momentum in eight bits: what it costs, what it loses, and where it lies."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.transforms import quantize_state
from optax_muon.transforms._quantize_state import _levels, _values

pytestmark = pytest.mark.thinned(2)

PARAMS = {"up": {"kernel": jnp.zeros((8, 16)), "bias": jnp.zeros(16)}, "embed": {"embedding": jnp.zeros((4, 8))}}


def gradients(seed, like=PARAMS):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), like)


def walk(tx, steps=20, params=PARAMS):
    """Parameters and state after some steps."""
    state, update = tx.init(params), jax.jit(tx.update)
    for seed in range(steps):
        updates, state = update(gradients(seed, params), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("size", [1e-30, 1.0, pytest.param(1e30, marks=pytest.mark.slow), 3e38])
@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
def test_every_number_comes_back_on_average_and_within_a_level(size, dtype):
    x = jnp.asarray(size * np.random.default_rng(0).uniform(-1, 1, (3, 40)), dtype)
    scale = jnp.abs(x).max(-1, keepdims=True)
    seen = (
        np.stack([_values(_levels(x, scale, jax.random.key(i)), scale) for i in range(300)]).astype(np.float64) / size
    )
    wide, level = np.asarray(x, np.float64) / size, np.asarray(scale, np.float64) / size / 127
    rounding = float(jnp.finfo(dtype).eps)
    assert (np.abs(seen - wide) <= level + rounding).all()
    # Half a level is the deviation of one rounding at most, so 300 of them lie within a sixth of it.
    assert (np.abs(seen.mean(0) - wide) < level / 6 + rounding).all()


def test_a_small_gradient_is_not_lost():
    """A hundredth of a level a step moves the momentum on average; rounding to the nearest would never."""
    params = {"w": jnp.zeros((1, 2000))}
    tx = quantize_state(optax.ema(0.9, debias=False))
    state, update = tx.init(params), jax.jit(tx.update)
    _, state = update({"w": jnp.full((1, 2000), 1.0).at[0, 0].set(1270.0)}, state)
    for _ in range(10):
        # The first entry keeps its size, so that the level stays at one.
        held = 127.0 + 0 * state.count
        updates, state = update({"w": jnp.full((1, 2000), 0.05).at[0, 0].set(held)}, state)
    expected = 0.1 * 0.9**10 + 0.05 * (1 - 0.9**10)
    assert abs(float(updates["w"][0, 1:].mean()) / expected - 1) < 0.3


def test_muon_walks_as_with_a_float_state():
    # Parameters of size 20 x 0.02 in all: the two walks part by the noise of 1/127 of a momentum.
    make = lambda: om.for_matrices(om.muon(0.02), otherwise=optax.adam(0.02))  # noqa: E731
    plain, _ = walk(make())
    rounded, state = walk(quantize_state(make()))
    for a, b in zip(jax.tree.leaves(rounded), jax.tree.leaves(plain), strict=True):
        assert 0 < np.linalg.norm(a - b) < 0.05 * np.linalg.norm(b)
    assert sorted(x.shape for x in jax.tree.leaves(state) if x.dtype == jnp.int8) == [(4, 8), (8, 16), (16,)]


def test_bytes_of_muon_are_a_quarter():
    params = {"up": {"kernel": jnp.zeros((64, 256))}}
    full, quarter = (
        sum(x.nbytes for x in jax.tree.leaves(tx.init(params))) for tx in (om.muon(0.02), quantize_state(om.muon(0.02)))
    )
    assert quarter == full / 4 + 64 * 4 + 4  # a scale for every vector, and the count


def test_second_moments_numbers_and_complex_sums_stay_as_they_are():
    adam = quantize_state(optax.adam(0.1)).init(PARAMS).inner[0]
    assert {x.dtype.name for x in jax.tree.leaves(adam.mu)} == {"int8"}
    assert {x.dtype.name for x in jax.tree.leaves(adam.nu)} == {"float32"}
    odd = {"number": jnp.zeros([]), "none": jnp.zeros((0, 3)), "complex": jnp.zeros((2, 2), jnp.complex64)}
    tx = quantize_state(optax.trace(0.9))
    _, state = jax.jit(tx.update)(odd, tx.init(odd))
    assert jax.tree.map(lambda x: x.dtype, state.inner.trace) == jax.tree.map(lambda x: x.dtype, odd)


@pytest.mark.parametrize("make", [om.dion, om.dion2, om.lion_muon])
def test_every_momentum_beside_another_one_is_found(make):
    """What is missed here would stay wide in silence, since the Adam beside it has a sum of gradients."""
    state = quantize_state(om.for_matrices(make(0.02), otherwise=optax.adam(0.02))).init(PARAMS)
    assert sorted(x.shape for x in jax.tree.leaves(state) if x.dtype == jnp.int8) == [(4, 8), (8, 16), (16,)]


def test_a_nan_is_seen_in_its_vector_alone():
    tx = quantize_state(optax.trace(0.9))
    state = tx.init({"w": jnp.zeros((3, 4))})
    _, state = tx.update({"w": jnp.ones((3, 4)).at[1, 2].set(jnp.nan)}, state)
    updates, _ = tx.update({"w": jnp.ones((3, 4))}, state)
    assert jnp.isnan(updates["w"]).all(1).tolist() == [False, True, False]


def test_the_state_is_stable_in_a_loop_and_takes_every_partition():
    tx = quantize_state(om.for_matrices(om.normuon(0.02), otherwise=optax.adam(0.1)))
    state = tx.init(PARAMS)

    def step(state, grads):
        return tx.update(grads, state, PARAMS)[1], None

    after, _ = jax.lax.scan(step, state, jax.tree.map(lambda g: jnp.stack([g, g]), gradients(0)))
    assert int(after.count) == 2
    # What walks a state by its parameters finds the levels: checkpoints and shardings go by that.
    marked = optax.tree.map_params(tx, lambda x: x.dtype.name, state, transform_non_params=lambda x: None)
    assert jax.tree.leaves(marked).count("int8") == 3


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("spec", [P("x", "y"), P(None, ("x", "y")), P("y")])
def test_levels_and_scales_are_sharded_like_their_parameter(kind, spec):
    mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4], axis_types=(kind, kind))
    params = {"up": {"kernel": jnp.zeros((8, 16))}}
    shardings = {"up": {"kernel": NamedSharding(mesh, spec)}}
    tx = quantize_state(om.muon(0.02))
    expected, _ = walk(tx, 3, params)
    placed = jax.device_put(params, shardings)
    named = om.state_shardings(tx, placed, shardings)
    (levels,) = [
        s for s, x in zip(jax.tree.leaves(named), jax.tree.leaves(tx.init(params)), strict=True) if x.dtype == "int8"
    ]
    assert levels.spec == spec
    with jax.set_mesh(mesh):
        state = jax.jit(tx.init, out_shardings=named)(placed)
        step = jax.jit(tx.update, out_shardings=(shardings, named))
        for seed in range(3):
            updates, state = step(jax.device_put(gradients(seed, params), shardings), state, placed)
            placed = jax.jit(optax.apply_updates)(placed, updates)
    np.testing.assert_allclose(placed["up"]["kernel"], expected["up"]["kernel"], atol=1e-5)
    (scales,) = jax.tree.leaves(state.scales)
    assert scales.sharding.is_equivalent_to(NamedSharding(mesh, P(*spec[:1])), 2)


def test_what_cannot_be_is_an_error():
    with pytest.raises(ValueError, match="bits must be 8"):
        quantize_state(optax.trace(0.9), 4)
    with pytest.raises(ValueError, match="no sum of gradients"):
        quantize_state(optax.sgd(0.1)).init(PARAMS)
