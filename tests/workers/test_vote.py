"""The vote: entries are those of the majority, whatever the manner of sending; few bits turn nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon import workers
from tests.references.workers import sign_muon
from tests.workers import harness

pytestmark = pytest.mark.thinned(2)

RULE = {"momentum": 0.8}
TX = om.sign_muon(0.1, orthogonalizer=harness.POLAR, leaves=harness.LEAVES, axis_name=harness.AXIS, **RULE)


def counted(x, **options):
    """What every worker emits for a stack of updates, by vmap."""
    tx = workers.vote("w", **options)
    return np.asarray(jax.jit(jax.vmap(lambda u: tx.update(u, tx.init(u))[0], axis_name="w"))(jnp.asarray(x)))


@pytest.mark.parametrize("manner", harness.QUICK)
def test_sign_muon_of_eight_workers_is_its_reference(manner):
    with jax.enable_x64(True):
        weights, data = harness.problem(same_start=True)
        got, _ = harness.run(manner, TX, weights, data)
        np.testing.assert_allclose(got, sign_muon(weights, data, rate=0.1, **RULE), atol=1e-12)


def test_identical_workers_and_one_worker_are_sign_muon():
    with jax.enable_x64(True):
        weights, data = harness.problem(same_start=True, same_data=True)
        one = om.sign_muon(0.1, orthogonalizer=harness.POLAR, leaves=harness.LEAVES, **RULE)
        want = harness.alone(one, weights[0], data[0])
        for n in (8, 1):
            got, _ = harness.run("vmap", TX, weights[:n], data[:n])
            np.testing.assert_array_equal(got, np.broadcast_to(want, got.shape))


def test_bits_and_bytes_count_alike_and_ties_are_as_said():
    x = np.random.default_rng(0).normal(size=(4, 5, 3))
    total = np.sign(x).sum(axis=0)
    assert (total == 0).any()
    for packed in (True, False):
        assert (counted(x, packed=packed) == np.sign(total)).all()
        assert (counted(x, packed=packed, ties="first") == np.where(total, np.sign(total), np.sign(x[0]))).all()
        drawn = counted(x, packed=packed, ties="random")
        assert (drawn == drawn[0]).all()
        assert (np.abs(drawn) == 1).all()
        assert ((drawn[0] == np.sign(total)) | (total == 0)).all()


def test_a_minority_cannot_turn_what_the_others_agree_on():
    x = np.broadcast_to(np.random.default_rng(1).normal(size=(5, 3)), (7, 5, 3)).copy()
    x[:3] *= -1e30
    np.testing.assert_array_equal(counted(x)[6], np.sign(x[6]))


def test_zero_and_nan_abstain():
    x = np.ones((8, 3), np.float32)
    x[:, 0], x[:, 1] = 0, np.nan
    for packed in (True, False):
        np.testing.assert_array_equal(counted(x, packed=packed)[0], [0, 0, 1])
    # Four abstentions against two votes cancel among themselves.
    x = np.array([1, 1, 0, 0, np.nan, 0], np.float32)[:, None]
    assert counted(x)[0] == counted(x, packed=False)[0] == 1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_shapes_of_any_rank_and_low_precision(dtype):
    for shape in ((), (1,), (9,), (3, 17), (2, 3, 5)):
        x = jnp.asarray(np.random.default_rng(2).normal(size=(3, *shape)), dtype)
        got = counted(x)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got[1], np.sign(np.sign(np.asarray(x, np.float32)).sum(axis=0)))


@pytest.mark.parametrize("check", [True, False])
def test_common_weights_stay_common(check):
    """What all workers hold leaves a map as replicated, with and without the account of varying axes."""
    mesh = jax.make_mesh((8,), (harness.AXIS,), axis_types=(AxisType.Auto,))
    weights, data = harness.problem(same_start=True)

    def body(params, grads):
        def step(carry, g):
            params, state = carry
            updates, state = TX.update({"up": {"kernel": g}}, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        return jax.lax.scan(step, (params, TX.init(params)), grads[0])[0][0]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P(), P(harness.AXIS)), out_specs=P(), check_vma=check)
    got = jax.jit(mapped)({"up": {"kernel": jnp.asarray(weights[0], jnp.float32)}}, jnp.asarray(data, jnp.float32))
    assert got["up"]["kernel"].sharding.is_fully_replicated
    expected = functools.partial(sign_muon, rate=0.1, **RULE)
    np.testing.assert_allclose(got["up"]["kernel"], _without_pull(expected, weights, data), atol=1e-5)


def _without_pull(rule, weights, data):
    """The reference on gradients that do not depend on the weights."""
    moved = data - 0.3 * weights[:, None]
    x = weights
    steps = []
    for t in range(data.shape[1]):
        # The reference pulls by its own weights; what is subtracted follows them.
        moved[:, t] = data[:, t] - 0.3 * x
        steps.append(t)
        x = rule(weights, moved[:, : t + 1])
    return x[0]


def test_what_cannot_work_says_so():
    grads = {"up": {"kernel": jnp.ones((4, 4))}}
    with pytest.raises(ValueError, match="ties must be"):
        workers.vote("w", ties="coin")
    with pytest.raises(ValueError, match="vote: there is no axis 'w' around this update"):
        workers.vote("w").update(grads, workers.vote("w").init(grads))
    with pytest.raises(TypeError, match="up/kernel: vote takes real"):
        workers.vote("w").init({"up": {"kernel": jnp.ones((2, 2), complex)}})
    leaves = {"up": {"kernel": om.Leaf("hidden", 0, 1, spec=P("w"))}}
    tx = om.sign_muon(0.1, leaves=leaves, axis_name="w")
    mesh = jax.make_mesh((2,), ("w",), devices=jax.devices()[:2], axis_types=(AxisType.Auto,))
    body = jax.shard_map(lambda g: tx.update(g, tx.init(g), g)[0], mesh=mesh, in_specs=P("w"), out_specs=P("w"))
    with pytest.raises(ValueError, match="up/kernel: its spec .* over the workers' axis w"):
        jax.eval_shape(body, grads)
