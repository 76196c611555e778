"""Gradient transport, and the optimizers on it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.transport import transported as reference
from tests.state import floats_per_parameter

POLAR = om.linalg.SVDPolar()
SOME = {name: harness.CASES[name] for name in ("tall", "stacked", "convolution", "uneven")}


@pytest.mark.parametrize("final", ["y", "w"])
def test_muon_igt_matches_its_reference(final):
    options = {"learning_rate": 0.1, "momentum": 0.8, "transport": 0.7, "weight_decay": 0.1}
    finish = om.eval_params if final == "w" else lambda state, params: params
    with jax.enable_x64(True):
        constant = om.shapes.Constant(1.0)
        tx = om.muon_igt(orthogonalizer=POLAR, shape_scale=constant, leaves=harness.LEAVES, **options)
        expected = functools.partial(reference, direction=harness.numpy_map(POLAR), final=final, **options)
        harness.assert_matches(tx, expected, finish=finish, cases=SOME)


def test_transported_scion_matches_its_reference():
    options = {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.1}
    with jax.enable_x64(True):
        orth = harness.numpy_map(POLAR)

        def direction(m):
            return 2.0 * np.sqrt(m.shape[0] / m.shape[1]) * orth(m)

        tx = om.transported_scion(orthogonalizer=POLAR, radii=2.0, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, direction=direction, **options), cases=SOME)


def test_transported_scion_moves_every_role():
    params = {"up": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}, "embed": {"embedding": jnp.ones((5, 3))}}
    tx = om.transported_scion(0.1)
    updates, _ = tx.update(params, tx.init(params), params)
    assert all(jnp.abs(u).min() > 0 for u in jax.tree.leaves(updates))


def test_transported_average_is_the_true_gradient_of_a_quadratic():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        root = rng.normal(size=(5, 5))
        hessian = jnp.asarray(root @ root.T)
        inner = optax.chain(
            om.transforms.first_gradient_ema(0.9),
            om.transforms.apply_to_matrices(POLAR, leaves={"w": om.Leaf("hidden", 0, 1)}),
            optax.scale(-0.1),
        )
        tx = om.transforms.implicit_gradient_transport(inner, 0.9)
        params = {"w": jnp.asarray(rng.normal(size=(5, 3)))}
        state, update = tx.init(params), jax.jit(tx.update)
        for _ in range(8):
            behind = om.eval_params(state, params)
            updates, state = update({"w": hessian @ params["w"]}, state, params)
            np.testing.assert_allclose(state.inner[0].average["w"], hessian @ behind["w"], atol=1e-11)
            moved = params["w"] + updates["w"]
            now = om.eval_params(state, {"w": moved})["w"]
            np.testing.assert_allclose(moved, now + 9 * (now - behind["w"]), atol=1e-11)
            params = {"w": moved}


def test_no_transport_is_the_inner_optimizer():
    weights, gradients = harness.problem(np.float32, cases={"wide": harness.CASES["wide"]})
    inner = optax.chain(optax.ema(0.9), optax.sgd(0.1))
    plain = harness.run(inner, weights, gradients)
    for options in ({"decay": 0.9, "scale": 0.0}, {"decay": 0.0}):
        ours = harness.run(om.transforms.implicit_gradient_transport(inner, **options), weights, gradients)
        np.testing.assert_allclose(ours["wide"], plain["wide"], atol=1e-6)


def test_state_sizes_and_options():
    params = {"up": {"kernel": jnp.zeros((40, 40))}}
    for make in (om.muon_igt, om.transported_scion):
        assert round(floats_per_parameter(make(0.1), params), 2) == 2
        with pytest.raises(ValueError, match="1.5"):
            make(0.1, momentum=1.5)
