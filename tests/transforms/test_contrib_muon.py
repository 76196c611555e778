"""What docs/from-optax-muon.md says of optax.contrib.muon and of this library, as it is when run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.matrices._paths import by_path

X = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
STACK = np.stack([X] * 4)
HIDDEN = {"k": om.Leaf("hidden", 0, 1)}


def step(tx, grads):
    return jax.jit(tx.update)(grads, tx.init(grads), grads)[0]["k"]


def test_the_default_partition_goes_by_rank():
    params = {"embed": jnp.ones((10, 4)), "bias": jnp.ones((3, 4)), "stacked": jnp.ones((3, 4, 4))}
    groups = jax.eval_shape(optax.contrib.muon(0.02).init, params).inner_states
    assert set(by_path(groups["muon"].inner_state[0].mu)) == {"embed", "bias"}
    assert set(by_path(groups["adam"].inner_state[0].mu)) == {"stacked"}


def test_the_inner_adam_looks_ahead():
    grads = {"k": jnp.arange(1.0, 4.0)}
    size = step(optax.contrib.muon(0.1, adam_learning_rate=0.1), grads)
    np.testing.assert_allclose(size, step(optax.nadam(0.1), grads), rtol=1e-6)
    assert (jnp.abs(size - step(optax.adam(0.1), grads)) > 0.01).all()


def test_shape_scales_have_the_same_meaning():
    x = X[:, :3]
    for option, scale in (({}, om.shapes.Jordan()), ({"consistent_rms": 0.2}, om.shapes.RMSMatch(0.2))):
        ours = om.muon(
            0.1, shape_scale=scale, orthogonalizer=om.linalg.NewtonSchulz(om.linalg.JORDAN_2024), leaves=HIDDEN
        )
        np.testing.assert_allclose(step(ours, {"k": x}), step(optax.contrib.muon(0.1, **option), {"k": x}), atol=1e-5)


def test_adaptive_sums_over_a_stack_and_polargrad_does_not():
    axes = optax.contrib.MuonDimensionNumbers(1, 2)
    stacked = optax.contrib.muon(1.0, adaptive=True, muon_weight_dimension_numbers=lambda p: {"k": axes})
    ratio = np.linalg.norm(step(stacked, {"k": STACK})[0]) / np.linalg.norm(
        step(optax.contrib.muon(1.0, adaptive=True), {"k": X})
    )
    assert ratio == pytest.approx(4, rel=1e-3)
    ours = step(om.polargrad(1.0, leaves={"k": om.Leaf("hidden", 1, 2)}), {"k": STACK})
    np.testing.assert_allclose(ours[0], step(om.polargrad(1.0, leaves=HIDDEN), {"k": X}), rtol=1e-3)


def test_huge_gradients():
    assert not step(optax.contrib.muon(1.0), {"k": np.float32(1e20) * X}).any()
    ours = step(om.muon(1.0, leaves=HIDDEN), {"k": np.float32(1e20) * X})
    assert 0.7 < np.linalg.norm(ours, 2) < 1.3


def test_spectral_preconditioning_in_bfloat16():
    x = {"k": jnp.asarray(X, jnp.bfloat16)}
    with pytest.raises((NotImplementedError, TypeError), match="bfloat16"):  # by version of JAX
        step(optax.contrib.muon(1.0, preconditioning="spectral"), x)
    ours = step(om.muon(1.0, orthogonalizer=om.linalg.SVDPolar(), leaves=HIDDEN), x)
    np.testing.assert_allclose(np.linalg.svd(ours.astype(np.float32))[1], 1, atol=0.02)


def test_coefficients():
    rows = ((3.4445, -4.775, 2.0315),) * 6
    with pytest.raises(ValueError, match="Not enough coeffs"):
        optax.contrib.muon(0.02, ns_coeffs=rows).init({"k": X})
    with pytest.raises(ValueError, match="Unknown ns_coeff preset"):
        optax.contrib.muon(0.02, ns_coeffs="muon")
    optax.contrib.muon(0.02, ns_coeffs="standard")


def test_dimension_numbers_of_a_stack_are_not_checked():
    axes = optax.contrib.MuonDimensionNumbers()
    assert step(optax.contrib.muon(1.0, muon_weight_dimension_numbers=lambda p: {"k": axes}), {"k": STACK}).any()
    with pytest.raises(om.UnknownLeafError):
        om.leaves({"k": STACK})


def test_a_mesh_with_explicit_axes():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = {"k": jax.device_put(X, jax.NamedSharding(mesh, P("data", None)))}
        with pytest.raises(Exception, match="illegally sharded"):
            step(optax.contrib.muon(1.0), x)
        ours = step(om.muon(1.0, leaves=HIDDEN), x)
    np.testing.assert_allclose(ours, step(om.muon(1.0, leaves=HIDDEN), {"k": X}), atol=1e-5)
