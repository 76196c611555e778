"""Newton-Muon against its reference, where it is Muon, and moments that are missing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.references import harness
from tests.references.newton_muon import newton_muon as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
OPTIONS = {"learning_rate": 0.1, "momentum": 0.9, "second_moment_decay": 0.8, "weight_decay": 0.05, "refresh_every": 3}
FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven", "heads")}
LEAVES = {name: case.leaf for name, case in FEW.items()}
INPUTS = {"wide": 8, "stacked": 8, "uneven": 8, "heads": 12}


def inputs_of(step):
    """Second moments of badly scaled inputs of one step, by case."""
    rng = np.random.default_rng(100 + step)
    drawn = {name: rng.normal(size=(50, n)) * np.geomspace(1, 0.01, n) for name, n in INPUTS.items()}
    return {name: x.T @ x / len(x) for name, x in drawn.items()}


@pytest.mark.parametrize("blocks", [1, 2])
def test_reference_in_x64(blocks):
    """Whole moments, and of 8 and 12 inputs two diagonal blocks each."""
    largest = {1: None, 2: 6}[blocks]
    with jax.enable_x64(True):
        weights, gradients = harness.problem(np.float64, cases=FEW)
        tx = om.newton_muon(orthogonalizer=SVD, leaves=LEAVES, max_block=largest, **OPTIONS)
        moments = [inputs_of(step) for step in range(len(gradients))]
        final = harness.run(tx, weights, gradients, {"input_moments": moments})
        for name, case in FEW.items():
            seen = [m[name] for m in moments]
            cut = [case.matrices(tree[name]) for tree in (weights, *gradients)]
            for found, w, *gs in zip(case.matrices(final[name]), *cut, strict=True):
                expected = reference(w, gs, polar, moments=seen, blocks=blocks, **OPTIONS)
                np.testing.assert_allclose(found, expected, atol=1e-10, err_msg=name)


@jax.disable_jit()
def last(tx, gradients, **extra):
    state = tx.init({"w": gradients[0]})
    for g in gradients:
        updates, state = tx.update({"w": g}, state, {"w": g}, **extra)
    return updates["w"]


def test_white_inputs_and_a_large_ridge_are_muon():
    gradients = list(jax.random.normal(jax.random.key(0), (2, 4, 6)))
    x = jax.random.normal(jax.random.key(1), (20, 4)) * jnp.array([[1.0, 0.1, 3.0, 1.0]])
    moment = jnp.matmul(x.T, x, precision="highest") / 20
    make = functools.partial(om.newton_muon, 0.1, orthogonalizer=SVD, refresh_every=1, second_moment_decay=0.0)
    muon = last(om.muon(0.1, orthogonalizer=SVD, shape_scale=om.shapes.RMSMatch(0.2)), gradients)
    np.testing.assert_allclose(last(make(), gradients, input_moments={"w": 5 * jnp.eye(4)}), muon, atol=1e-5)
    np.testing.assert_allclose(last(make(ridge=1e6), gradients, input_moments={"w": moment}), muon, atol=1e-4)
    assert jnp.abs(last(make(), gradients, input_moments={"w": moment}) - muon).max() > 1e-3


def test_without_ridge_the_gradient_moves_as_the_weights_do():
    """In other coordinates of the inputs, x -> S x and W -> W S^-1: G' -> G' S^-1."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        g, s, x = rng.normal(size=(4, 6)), rng.normal(size=(4, 4)), rng.normal(size=(50, 4))
        tx = om.transforms.precondition_inputs(0.0, ridge=0.0, refresh_every=1, eps=1e-14)

        def once(g, x):
            grads = {"w": jnp.asarray(g)}
            return np.asarray(tx.update(grads, tx.init(grads), input_moments={"w": jnp.asarray(x.T @ x / 50)})[0]["w"])

        # Stored (in, out): the gradient is x^T y, which becomes S x^T y.
        np.testing.assert_allclose(once(s @ g, x @ s.T), np.linalg.inv(s.T) @ once(g, x), rtol=1e-6, atol=1e-9)


class MLP(nnx.Module):
    def __init__(self, rngs):
        self.up = nnx.Linear(5, 8, rngs=rngs)
        self.down = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.relu(self.up(x)))


def test_the_moments_of_a_model_are_computed_when_it_is_time():
    model, x, calls = MLP(nnx.Rngs(0)), jax.random.normal(jax.random.key(0), (10, 5)), []
    found = om.diagnostics.input_moments(model, x)
    np.testing.assert_allclose(found["up/kernel"], jnp.matmul(x.T, x, precision="highest") / 10, atol=1e-5)
    assert found["down/kernel"].shape == (8, 8)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params = nnx.to_pure_dict(params)
    tx = om.for_matrices(
        om.newton_muon(0.1, refresh_every=2), otherwise=optax.sgd(0.1), rules=[("*/kernel", om.Leaf("hidden", 0, 1))]
    )

    def moments():
        jax.debug.callback(lambda: calls.append(1))
        return om.diagnostics.input_moments(nnx.merge(graph, params, rest), x)

    step = jax.jit(lambda state: tx.update(params, state, params, input_moments=moments)[1])
    state = tx.init(params)
    for expected in (0, 1, 1):
        state = step(state)
        jax.effects_barrier()
        assert len(calls) == expected


def test_missing_moments_are_named_with_the_cure():
    tx = om.newton_muon(0.1, refresh_every=1)
    grads = {"up": {"kernel": jnp.ones((4, 6))}}
    state = tx.init(grads)
    with pytest.raises(ValueError, match=r"needs the second moments .*om\.diagnostics\.input_moments"):
        tx.update(grads, state, grads)
    for wrong, what in (({}, "no second moment"), ({"up/kernel": jnp.eye(6)}, r"a second moment \(6, 6\)")):
        with pytest.raises(ValueError, match=rf"up/kernel: {what}.* \(4, 4\) is needed"):
            tx.update(grads, state, grads, input_moments=wrong)
    cut = {"w": om.Leaf("hidden", 0, 1, om.Split((2, 2), "reduction"))}
    with pytest.raises(ValueError, match="pieces along the inputs"):
        om.newton_muon(0.1, leaves=cut).init({"w": jnp.ones((4, 6))})
    for options in ({"momentum": 1.0}, {"ridge": -1.0}, {"refresh_every": 0}):
        with pytest.raises(ValueError, match="momentum|ridge|refresh_every"):
            om.newton_muon(0.1, **options)


def test_a_moment_without_inverse_leaves_the_gradient():
    grads = {"w": jnp.ones((4, 6))}
    tx = om.transforms.precondition_inputs(refresh_every=1)
    broken = {"w": -100 * jnp.eye(4)}
    np.testing.assert_array_equal(tx.update(grads, tx.init(grads), input_moments=broken)[0]["w"], grads["w"])


@pytest.mark.parametrize("kind", [AxisType.Explicit, pytest.param(AxisType.Auto, marks=pytest.mark.slow)])
def test_blocks_of_moments_on_a_mesh_are_those_of_one_device(kind):
    mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4], axis_types=(kind,) * 2)
    params, sharding = {"w": jax.random.normal(jax.random.key(0), (12, 8))}, NamedSharding(mesh, P("x", "y"))
    moments = {"w": jnp.diag(jnp.linspace(1.0, 3.0, 12)) + 0.1}

    def twice(spec, params):
        leaves = {"w": om.Leaf("hidden", 0, 1, spec=spec)}
        tx = om.newton_muon(0.1, max_block=6, refresh_every=1, orthogonalizer=SVD, leaves=leaves)
        state = tx.init(params)
        for _ in range(2):
            updates, state = tx.update(params, state, params, input_moments=moments)
        return updates["w"]

    with jax.set_mesh(mesh):
        found = jax.jit(functools.partial(twice, sharding.spec))(jax.device_put(params, {"w": sharding}))
    np.testing.assert_allclose(jax.device_get(found), twice(None, params), atol=1e-6)
