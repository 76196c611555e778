"""PolarGrad against its reference, its limits, and the rate that its theory promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness, roles
from tests.references.polargrad import polargrad as reference

EXACT = om.linalg.SVDPolar()
JORDAN = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)


@pytest.mark.parametrize(
    ("orthogonalizer", "power", "cases"),
    [(EXACT, 1.0, harness.CASES), (JORDAN, 1.0, roles.FEW), (EXACT, 0.5, roles.FEW)],
    ids=["svd", "newton-schulz", "power"],
)
def test_reference_in_x64(orthogonalizer, power, cases):
    options = {"learning_rate": 0.02, "momentum": 0.9, "power": power, "weight_decay": 0.3}
    with jax.enable_x64(True):
        tx = om.polargrad(orthogonalizer=orthogonalizer, leaves=roles.leaves(cases), **options)
        orth = harness.numpy_map(orthogonalizer)
        harness.assert_matches(tx, functools.partial(reference, orth=orth, **options), cases=cases)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_polar_first_reference_in_x64(power):
    options = {"learning_rate": 0.02, "momentum": 0.9, "power": power, "weight_decay": 0.3, "order": "polar_first"}
    with jax.enable_x64(True):
        tx = om.polargrad(orthogonalizer=EXACT, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, orth=harness.numpy_map(EXACT), **options))


def test_polar_first_forgets_at_once_how_large_gradients_were():
    tx = om.polargrad(1.0, momentum=0.5, orthogonalizer=EXACT, order="polar_first")
    params = only(np.eye(4))
    state = tx.init(params)
    sizes = []
    for size in (10.0, 1e-9):
        updates, state = tx.update(only(size * np.eye(4)), state, params)
        sizes.append(-updates["up"]["kernel"])
    np.testing.assert_allclose(sizes[0], 0.5 * 40 * np.eye(4), rtol=1e-5)
    np.testing.assert_allclose(sizes[1], 0.75 * 4e-9 * np.eye(4), rtol=1e-5)  # 10 by an average of steps
    with pytest.raises(ValueError, match="order"):
        om.polargrad(1.0, order="both")


def only(x):
    return {"up": {"kernel": jnp.asarray(x, jnp.float32)}}


def test_power_zero_is_muon_without_look_ahead_and_scale():
    grads = only(np.random.default_rng(0).normal(size=(6, 9)))
    muon = om.muon(0.1, nesterov=False, shape_scale=om.shapes.Constant(1.0), orthogonalizer=EXACT)
    ours = om.polargrad(0.1, power=0.0, orthogonalizer=EXACT)
    a, b = (tx.update(grads, tx.init(grads), grads)[0]["up"]["kernel"] for tx in (muon, ours))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_homogeneous_of_degree_one():
    grads = np.random.default_rng(0).normal(size=(6, 9))
    tx = om.polargrad(0.1, orthogonalizer=EXACT)
    one, three = (tx.update(only(c * grads), tx.init(only(grads)), only(grads))[0]["up"]["kernel"] for c in (1, 3))
    np.testing.assert_allclose(three, 3 * one, atol=1e-6)


def test_adaptive_step_keeps_the_bound_of_theorem_4_11_where_a_constant_one_stalls():
    # f(W) = 1/2 tr((W - W*)^T Q (W - W*)): nuclear smoothness L = tr Q; the step 1/L is polargrad's.
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        basis, _ = np.linalg.qr(rng.normal(size=(15, 15)))
        q = jnp.asarray(basis @ np.diag(10.0 ** (-np.arange(15) / 2)) @ basis.T)
        goal = jnp.asarray(rng.uniform(-50, 50, size=(15, 20)))
        trace = jnp.trace(q)
        leaves = {"w": om.Leaf("hidden", 0, 1)}

        def loss(params):
            gap = params["w"] - goal
            return 0.5 * jnp.trace(gap.T @ q @ gap)

        def run(tx, steps):
            def body(carry, _):
                params, state = carry
                value, grads = jax.value_and_grad(loss)(params)
                updates, state = tx.update(grads, state, params)
                distance = jnp.linalg.svd(params["w"] - goal, compute_uv=False)[0]
                return (optax.apply_updates(params, updates), state), (value, distance)

            start = {"w": jnp.zeros_like(goal)}
            return jax.jit(lambda: jax.lax.scan(body, (start, tx.init(start)), None, length=steps)[1])()

        values, distances = run(om.polargrad(1 / trace, momentum=0.0, orthogonalizer=EXACT, leaves=leaves), 150)
        reach = np.maximum.accumulate(distances)
        t, first = np.arange(len(values)), values[0]
        assert np.all(values <= 2 * trace * first * reach**2 / (2 * trace * reach**2 + t * first) * (1 + 1e-9))
        assert values[-1] < 0.01 * first


def test_refuses_other_roles():
    with pytest.raises(ValueError, match="lm_head/kernel"):
        om.polargrad(0.1).init({"lm_head": {"kernel": jnp.ones((3, 3))}})
