"""Matrix-free curvature against the dense Hessian, matrix by matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.diagnostics import Lanczos
from tests.diagnostics.network import RULES, dense, loss, problem


@pytest.fixture(scope="module")
def measured():
    return jax.jit(lambda *args: om.diagnostics.measure(loss, *args, rules=RULES))(*problem())


def flat(table, field):
    return np.concatenate([np.asarray(getattr(table[path], field)) for path in dense()])


def expected(f):
    return np.array([f(g, h) for matrices in dense().values() for g, h in matrices])


def along(g, h):
    u, _, vh = np.linalg.svd(g, full_matrices=False)
    return (u @ vh).ravel() @ h @ (u @ vh).ravel()


def top(g, h):
    return np.abs(np.linalg.eigvalsh(h)).max()


def test_curvatures_are_those_of_the_dense_hessian(measured):
    np.testing.assert_allclose(flat(measured, "step_curvature"), expected(along), rtol=1e-4)
    np.testing.assert_allclose(flat(measured, "top_curvature"), expected(top), rtol=1e-4)
    assert np.all(flat(measured, "residual") <= 0.01 * flat(measured, "top_curvature"))


def test_norms_and_what_follows_from_them(measured):
    nuclear, frobenius = expected(lambda g, h: np.linalg.norm(g, "nuc")), expected(lambda g, h: np.linalg.norm(g))
    np.testing.assert_allclose(flat(measured, "nuclear"), nuclear, rtol=1e-5)
    np.testing.assert_allclose(flat(measured, "frobenius"), frobenius, rtol=1e-5)
    left, right = expected(along) / expected(top), nuclear**2 / frobenius**2
    np.testing.assert_allclose(flat(measured, "curvature_ratio"), left, rtol=1e-4)
    np.testing.assert_allclose(flat(measured, "nuclear_rank"), right, rtol=1e-5)
    assert np.array_equal(flat(measured, "condition"), left <= right)
    assert left.min() < 0 < left.max()  # both signs are in the sample
    np.testing.assert_allclose(flat(measured, "advantage"), np.where(left > 0, right / left, np.inf), rtol=1e-4)
    step = np.where(left > 0, nuclear / expected(along), np.inf)
    np.testing.assert_allclose(flat(measured, "best_step"), step, rtol=1e-4)


def quadratic(params):
    return jnp.sum(jnp.array([[-3.0], [2.0], [0.5]]) * params["up"]["kernel"] ** 2) / 2


of_quadratic = jax.jit(lambda params: om.diagnostics.measure(quadratic, params))


def test_single_measures_and_a_given_direction():
    params = {"up": {"kernel": jnp.ones((3, 4))}}

    @jax.jit
    def both(params):
        twice = jax.tree.map(lambda w: jnp.full_like(w, 2.0), params)
        along = om.diagnostics.curvature_along_step(quadratic, params, direction=twice)
        return om.diagnostics.top_curvature(quadratic, params, lanczos=Lanczos(2)), along

    top, along = both(params)
    assert float(along["up/kernel"][0]) == pytest.approx(4 * 4 * (-3 + 2 + 0.5), rel=1e-5)
    assert int(top["up/kernel"].products[0]) == 2
    assert float(top["up/kernel"].value[0]) < 2.999  # two products are too few, and the residual says so
    assert float(top["up/kernel"].residual[0]) > 0.1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_largest_eigenvalue_may_be_negative(dtype):
    m = of_quadratic({"up": {"kernel": jnp.ones((3, 4), dtype)}})["up/kernel"]
    assert float(m.top_curvature[0]) == pytest.approx(3, rel=1e-5)
    assert m.top_curvature.dtype == jnp.float32


def test_points_without_gradient_curvature_or_sense():
    zero = {"up": {"kernel": jnp.zeros((3, 4))}}
    still = of_quadratic(zero)["up/kernel"]
    assert np.isnan(still.advantage[0])
    assert float(still.step_curvature[0]) == 0
    assert float(still.nuclear_rank[0]) == 0
    plane = jax.jit(lambda params: om.diagnostics.measure(lambda p: jnp.sum(p["up"]["kernel"]), params))
    flat = plane(zero)["up/kernel"]
    assert (float(flat.top_curvature[0]), float(flat.advantage[0])) == (0, np.inf)
    broken = of_quadratic({"up": {"kernel": jnp.full((3, 4), jnp.nan)}})["up/kernel"]
    assert np.isnan(broken.nuclear[0])
    assert not broken.condition[0]
    with pytest.raises(ValueError, match=r"no hidden matrix among 1 parameters \(bias\)"):
        om.diagnostics.measure(quadratic, {"bias": jnp.zeros(3)})
    with pytest.raises(ValueError, match="iterations must be at least 1, not 0"):
        Lanczos(iterations=0)
    with pytest.raises(ValueError, match="tolerance must not be negative"):
        Lanczos(tolerance=-1.0)
