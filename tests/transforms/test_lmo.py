"""Norms lifted to trees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.transforms._by_role import ROLES
from optax_muon.transforms._lmo import with_vector_axes
from tests.norms.definitions import DEFINITIONS
from tests.references import harness, roles

pytestmark = pytest.mark.thinned(2)

EXACT = om.linalg.SVDPolar()
PARAMS = {
    "up": {"kernel": (4, 6), "bias": (6,)},
    "layers": {"kernel": (3, 4, 6), "scale": (3, 6)},
    "conv": {"kernel": (3, 2, 5)},
    "embed": {"embedding": (7, 4)},
    "lm_head": {"kernel": (4, 7)},
}
LEAVES = {
    "up": {"kernel": om.Leaf("hidden", 0, 1), "bias": om.Leaf("vector")},
    "layers": {"kernel": om.Leaf("hidden", 1, 2), "scale": om.Leaf("vector", output=1)},
    "conv": {"kernel": om.Leaf("hidden", (0, 1), 2)},
    "embed": {"embedding": om.Leaf("embedding", 0, 1)},
    "lm_head": {"kernel": om.Leaf("head", 0, 1)},
}
EVERY_ROLE = ("hidden", "vector", "embedding", "head")


def gradients():
    rng = np.random.default_rng(0)
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    return jax.tree.map(lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32), PARAMS, is_leaf=is_shape)


def step(norm, radius=1.0, roles=EVERY_ROLE):
    tx = om.transforms.scale_by_lmo(norm, radius, leaves=LEAVES, roles=roles)
    grads = gradients()
    return jax.jit(tx.update)(grads, tx.init(grads))[0], grads


def test_per_output_norm_finds_the_axes_of_every_leaf():
    updates, grads = step(om.norms.AxisNorm("reduction"), 2.0)
    reduction = {"up": 0, "layers": 1, "conv": (0, 1), "embed": 0, "lm_head": 0}
    for module, axes in reduction.items():
        for name in ("kernel", "embedding"):
            if name in updates[module]:
                np.testing.assert_allclose(np.sqrt(np.sum(updates[module][name] ** 2, axis=axes)), 2.0, rtol=1e-5)
    np.testing.assert_allclose(updates["up"]["bias"], 2 * np.sign(grads["up"]["bias"]))


def test_a_vector_is_one_matrix_unless_its_axes_say_more():
    updates, grads = step(om.norms.RMS())
    bias, scale = grads["up"]["bias"], grads["layers"]["scale"]
    np.testing.assert_allclose(updates["up"]["bias"], bias / np.sqrt(np.mean(bias**2)), rtol=1e-5)
    each = np.sqrt(np.mean(scale**2, axis=1, keepdims=True))
    np.testing.assert_allclose(updates["layers"]["scale"], scale / each, rtol=1e-5)


def test_taps_of_a_convolution_are_cut_outermost():
    tx = om.transforms.scale_by_lmo(om.norms.Taps(om.norms.Frobenius(), 3), leaves=LEAVES["conv"])
    kernel = gradients()["conv"]
    updates, _ = tx.update(kernel, tx.init(kernel))
    each = np.sqrt(np.sum(kernel["kernel"] ** 2, axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(updates["kernel"], kernel["kernel"] / each, rtol=1e-5)


NORMALIZING = [name for name, entry in DEFINITIONS.items() if entry.norm.normalization is not None]
CASES = harness.CASES | roles.OTHERS


def test_which_norms_only_normalise():
    assert {"max", "frobenius", "rms", "per-output", "per-input", "embed", "scion-sign", "scion-row"} == set(
        NORMALIZING
    )


SMOOTH = om.norms.Smoothness(2.0, 0.1)


def radii():
    """Every norm with a fixed radius; one quickly with a radius of its own for each matrix."""
    for name in NORMALIZING:
        yield pytest.param(name, 0.5, id=name)
        yield pytest.param(name, SMOOTH, id=f"{name}, smooth", marks=() if name == "rms" else pytest.mark.slow)


@pytest.mark.parametrize(("name", "radius"), [*radii()])
def test_in_place_equals_matrix_by_matrix(name, radius):
    norm, leaves = DEFINITIONS[name].norm, roles.leaves(CASES)
    grads = {name: jnp.asarray(x, jnp.float32) for name, x in harness.problem(np.float32, cases=CASES)[0].items()}
    axes = functools.partial(with_vector_axes, leaves=leaves)
    tx = om.transforms.scale_by_lmo(norm, radius, leaves=leaves, roles=ROLES)
    here, _ = jax.jit(tx.update)(grads, tx.init(grads))
    lift = om.transforms.Lift(om.norms.Oracle(norm, radius), axes, None, ROLES)
    lifted = jax.jit(lambda grads: lift.apply(grads, optax.EmptyState())[0])(grads)
    for case, x in lifted.items():
        np.testing.assert_allclose(here[case], x, rtol=2e-5, atol=1e-7, err_msg=f"{case}, {radius}")


def test_in_place_keeps_a_nan_in_its_matrix_and_zero_at_zero():
    leaves = {"fused": harness.CASES["fused"].leaf}
    grads = {"fused": jnp.ones((8, 24)).at[2, 3].set(jnp.nan).at[:, 16:].set(0)}
    for norm in (om.norms.Frobenius(), om.norms.AxisNorm("output"), om.norms.Max()):
        tx = om.transforms.scale_by_lmo(norm, leaves=leaves)
        x = tx.update(grads, tx.init(grads))[0]["fused"]
        assert jnp.isnan(x[2, 3])
        assert jnp.isfinite(x[:, 8:]).all()
        assert x[:, 8:16].all()
        assert not x[:, 16:].any()
    with pytest.raises(TypeError, match="int32"):
        tx.update({"fused": jnp.ones((8, 24), jnp.int32)}, ())


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_in_place_leaves_a_sharded_head_where_it_lies(axis_type):
    mesh = jax.make_mesh((4,), ("x",), axis_types=(axis_type,), devices=jax.devices()[:4])
    head = jnp.asarray(np.random.default_rng(0).normal(size=(8, 64)), jnp.float32)
    tx = om.transforms.scale_by_lmo(
        om.norms.AxisNorm("reduction"), 2.0, leaves={"w": om.Leaf("head", 0, 1)}, roles=ROLES
    )
    expected = tx.update({"w": head}, optax.EmptyState())[0]["w"]
    with jax.set_mesh(mesh):
        placed = {"w": jax.device_put(head, NamedSharding(mesh, P(None, "x")))}
        update = jax.jit(lambda g: tx.update(g, optax.EmptyState())[0])
        moved = [
            op for op in ("all-to-all", "all-gather", "all-reduce") if op in update.lower(placed).compile().as_text()
        ]
        np.testing.assert_allclose(update(placed)["w"], expected, rtol=1e-6)
    assert moved == []


def test_scalars_and_empty_trees():
    tx = om.transforms.scale_by_lmo(om.norms.RMS(), 3.0, roles=("vector",))
    grads = {"temperature": jnp.array(-0.2)}
    assert tx.update(grads, tx.init(grads))[0]["temperature"] == -3.0
    assert tx.update({}, tx.init({}))[0] == {}


def test_a_dual_power_is_steepest_descent_matrix_by_matrix():
    norm = om.norms.Linear(EXACT)
    updates, grads = step(norm, om.norms.DualPower(1.0), EVERY_ROLE)
    kernel = grads["layers"]["kernel"]
    expected = norm.dual(kernel)[:, None, None] * norm.lmo(kernel)
    np.testing.assert_allclose(updates["layers"]["kernel"], expected, rtol=2e-5, atol=1e-5)


def test_transposes_share_a_run_and_a_scaled_norm_keeps_them_apart():
    leaves = {"a": {"kernel": om.Leaf("hidden", 0, 1)}, "b": {"kernel": om.Leaf("hidden", 0, 1)}}
    x = gradients()["up"]["kernel"]
    for norm in (om.norms.Spectral(EXACT), om.norms.Linear(EXACT)):
        tx = om.transforms.scale_by_lmo(norm, leaves=leaves)
        grads = {"a": {"kernel": x}, "b": {"kernel": x.T}}
        updates, _ = tx.update(grads, tx.init(grads))
        np.testing.assert_allclose(updates["a"]["kernel"], norm.lmo(x), atol=1e-6)
        np.testing.assert_allclose(updates["b"]["kernel"], norm.lmo(x.T), atol=1e-6)


def test_other_roles_are_refused_by_path():
    tx = om.transforms.scale_by_lmo(om.norms.Max(), leaves=LEAVES)
    with pytest.raises(ValueError, match="up/bias|embed/embedding|lm_head/kernel|layers/scale"):
        tx.init(gradients())


def test_a_forbidden_shape_is_refused_at_init():
    tx = om.transforms.scale_by_lmo(om.norms.KyFan(5))
    with pytest.raises(ValueError, match="k = 5"):
        tx.init({"up": {"kernel": jnp.ones((4, 6))}})


def test_radius_must_be_positive_at_construction():
    with pytest.raises(ValueError, match="radius"):
        om.transforms.scale_by_lmo(om.norms.Max(), 0.0)


def test_in_a_partition_and_a_chain():
    tx = om.for_matrices(
        optax.chain(om.transforms.scale_by_lmo(om.norms.Spectral(EXACT)), optax.scale_by_learning_rate(0.1)),
        otherwise=optax.sgd(0.1),
    )
    grads = gradients()
    del grads["layers"], grads["conv"]
    updates, _ = tx.update(grads, tx.init(grads), grads)
    s = jnp.linalg.svd(updates["up"]["kernel"], compute_uv=False)
    np.testing.assert_allclose(s, 0.1, rtol=1e-5)
    np.testing.assert_allclose(updates["up"]["bias"], -0.1 * grads["up"]["bias"])
