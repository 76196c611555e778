"""Steps that end in a set: feasible, within reach, and no point within reach is better."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.norms import Affine, Ball, Box
from optax_muon.transforms import step_inside
from tests.references import harness
from tests.references.local_lmo import local_lmo as reference

FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}


@pytest.mark.parametrize(("trust", "proportional"), [("euclidean", False), ("euclidean", True), ("max", False)])
def test_reference_in_x64(trust, proportional):
    how = {"trust": trust, "proportional": proportional}
    with jax.enable_x64(True):
        tx = om.local_lmo(0.3, domain=Box(-1.0, 1.2), leaves=harness.LEAVES, **how)
        clipped = functools.partial(reference, learning_rate=0.3, low=-1.0, high=1.2, **how)

        def from_inside(w, gradients):
            return clipped(np.clip(w, -1.0, 1.2), gradients)

        inside = optax.chain(tx)
        weights, gradients = harness.problem(np.float64, cases=FEW)
        final = harness.run(inside, {k: np.clip(w, -1.0, 1.2) for k, w in weights.items()}, gradients)
        for name, case in FEW.items():
            cut = [case.matrices(tree[name]) for tree in (weights, *gradients)]
            for found, w, *gs in zip(case.matrices(final[name]), *cut, strict=True):
                np.testing.assert_allclose(found, from_inside(w, gs), atol=1e-10, err_msg=name)


def once(w, g, domain, radius, **options):
    tx = step_inside(domain, radius, leaves={"w": om.Leaf("hidden", 0, 1)}, **options)
    return w + tx.update({"w": g}, tx.init({"w": w}), {"w": w})[0]["w"]


DOMAINS = {
    "box": (Box(-0.5, 0.5), lambda z: np.clip(z, -0.5, 0.5)),
    "ball": (Ball(1.0), lambda z: z / max(1, np.linalg.norm(z))),
    "sums": (Affine(lambda g: g - g.mean(0, keepdims=True)), None),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_no_point_within_reach_is_better(name):
    domain, project = DOMAINS[name]
    w, g = np.asarray(jax.random.normal(jax.random.key(0), (2, 4, 3)), np.float64)
    w = 0.4 * w if project is None else project(w)
    project = project or (lambda z: z - (z - w).mean(0))
    with jax.enable_x64(True):
        z = np.asarray(once(jnp.asarray(w), jnp.asarray(g), domain, 0.6))
        step = np.linalg.norm(z - w)
        np.testing.assert_allclose(project(z), z, atol=1e-9)
        assert step <= 0.6 + 1e-9
        rng = np.random.default_rng(0)
        for _ in range(300):
            other = project(z + 0.2 * rng.normal(size=z.shape))
            other = w + (other - w) * min(1, 0.6 / np.linalg.norm(other - w))
            assert np.sum(g * other) >= np.sum(g * z) - 1e-9
        if name != "sums":
            far = np.asarray(once(jnp.asarray(w), jnp.asarray(g), domain, jnp.inf))
            best = -0.5 * np.sign(g) if name == "box" else -g / np.linalg.norm(g)
            np.testing.assert_allclose(far, best, atol=1e-12)


def test_everywhere_it_is_normalised_descent_and_proportional_is_projected_descent():
    w, g = 0.1 * jax.random.normal(jax.random.key(0), (2, 4, 3))
    wide = once(w, g, Box(-jnp.inf, jnp.inf), 0.6)
    np.testing.assert_allclose(wide, w - 0.6 * g / jnp.linalg.norm(g), atol=1e-6)
    inside = once(w, g, Box(-9.0, 9.0), 0.6, proportional=True)
    np.testing.assert_allclose(inside, w - 0.6 * g, atol=1e-6)
    assert jnp.isfinite(once(w, 0 * g, Ball(1.0), 0.6)).all()
    brought = once(9 * w, 1e30 * g, Box(-0.1, 0.1), 1e-3)  # from outside, by a gradient of any size
    np.testing.assert_allclose(jnp.clip(brought, -0.1, 0.1), brought, atol=1e-6)


def test_what_cannot_be_is_an_error():
    with pytest.raises(ValueError, match="Box: low"):
        Box(1.0, 0.0)
    with pytest.raises(ValueError, match="Ball: radius"):
        Ball(0.0)
    with pytest.raises(ValueError, match=r"norms\.Box alone"):
        step_inside(Ball(1.0), 0.1, trust="max")
    with pytest.raises(ValueError, match="proportional"):
        step_inside(Box(0.0, 1.0), 0.1, trust="max", proportional=True)
    with pytest.raises(ValueError, match="trust must be"):
        step_inside(Ball(1.0), 0.1, trust="spectral")
    tx = step_inside(Ball(1.0), 0.1)
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update({}, tx.init({}))
    with pytest.raises(TypeError, match="up/kernel: step_inside takes real arrays, not complex64"):
        tx.init({"up": {"kernel": jnp.ones((2, 2), jnp.complex64)}})
