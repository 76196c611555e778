"""Local smoothness, measured between two points."""

import jax.numpy as jnp
import numpy as np

import optax_muon as om

EXACT = om.linalg.SVDPolar()


def quadratic(params):
    """Gradients of sum over matrices of c/2 |W|^2: Frobenius smoothness c."""
    return {"a": {"kernel": 3.0 * params["a"]["kernel"]}, "a_out": {"kernel": 5.0 * params["a_out"]["kernel"]}}


def test_smoothness_of_a_quadratic_is_its_curvature():
    rng = np.random.default_rng(0)

    def draw():
        return {
            "a": {"kernel": jnp.asarray(rng.normal(size=(3, 4, 6)), jnp.float32)},
            "a_out": {"kernel": jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)},
        }

    leaves = {"a": {"kernel": om.Leaf("hidden", 1, 2)}, "a_out": {"kernel": om.Leaf("hidden", 0, 1)}}
    here, there = draw(), draw()
    there["a"]["kernel"] = there["a"]["kernel"].at[1].set(here["a"]["kernel"][1])
    points = (there, quadratic(there), here, quadratic(here))
    norms = {"a_out*": om.norms.Linear(EXACT), "hidden": om.norms.Frobenius()}
    samples = om.transforms.measure_smoothness(*points, norms=norms, leaves=leaves)
    np.testing.assert_allclose(samples["a/kernel"].estimate, [3, np.nan, 3], rtol=1e-5)
    norm = om.norms.Linear(EXACT)
    moved = there["a_out"]["kernel"] - here["a_out"]["kernel"]
    expected = norm.dual(5 * moved) / norm.value(moved)
    np.testing.assert_allclose(samples["a_out/kernel"].estimate, [expected], rtol=1e-5)
    np.testing.assert_allclose(samples["a_out/kernel"].dual, [norm.dual(5 * there["a_out"]["kernel"])], rtol=1e-5)
