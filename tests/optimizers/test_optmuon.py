"""OptMuon against its reference, and what its loop promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.optmuon import optmuon as reference
from tests.state import floats_per_parameter

POLAR = om.linalg.SVDPolar()
SECOND = "grads_at_previous_params"


@pytest.mark.parametrize(("form", "version"), [("A", 1), ("A", 2), ("I", 2)])
def test_matches_its_reference(form, version):
    options = {"learning_rate": 0.5, "form": form, "version": version}
    cases = {name: harness.CASES[name] for name in ("tall", "stacked", "convolution", "fused", "uneven")}
    with jax.enable_x64(True):
        tx = om.optmuon(orthogonalizer=POLAR, leaves=harness.LEAVES, **options)
        expected = functools.partial(reference, orth=harness.numpy_map(POLAR), **options)
        harness.assert_matches(tx, expected, cases=cases, extra=(SECOND,) if form == "I" else ())


def loop(form, version, gradients, before=None):
    tx = om.transforms.closed_loop_momentum(form, version, leaves={"w": om.Leaf("hidden", 0, 1)})
    state, update, out = tx.init({"w": gradients[0]}), jax.jit(tx.update), []
    for i, g in enumerate(gradients):
        extra = {} if before is None else {SECOND: {"w": before[i]}}
        _, state = update({"w": g}, state, **extra)
        out.append(state)
    return out


def test_form_i_keeps_the_exact_gradient_of_a_deterministic_problem():
    with jax.enable_x64(True):
        exact = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4, 3)))
        before = jnp.concatenate([exact[:1], exact[:-1]])
        for g, state in zip(exact, loop("I", 2, exact, before), strict=True):
            np.testing.assert_allclose(state.average["w"], g, atol=1e-13)


def test_first_update_ignores_the_second_gradient():
    g = jnp.ones((1, 3, 3))
    state = loop("I", 2, g, g * jnp.nan)[0]
    np.testing.assert_array_equal(state.average["w"], g[0])


def test_after_a_spike_version_two_recovers_and_version_one_does_not():
    gradients = jnp.concatenate([jnp.ones((5, 1, 1)), jnp.full((1, 1, 1), 30.0), jnp.ones((1, 1, 1))])
    one, two = (np.array([s.scalars["w"]["rho"].item() for s in loop("A", v, gradients)]) for v in (1, 2))
    np.testing.assert_allclose(one, np.minimum.accumulate(two), rtol=1e-6)
    assert (two > 0).all()
    assert (two <= 1).all()
    np.testing.assert_allclose(one[-2:], one[4], rtol=1e-6)
    assert two[-1] > 0.95


def test_size_of_the_step_and_of_the_state():
    grads = {"up": {"kernel": jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)))}}
    tx = om.optmuon(0.5, orthogonalizer=POLAR)
    updates, state = tx.update(grads, tx.init(grads))
    norm = float(jnp.linalg.norm(grads["up"]["kernel"]))
    values = np.linalg.svd(updates["up"]["kernel"], compute_uv=False)
    np.testing.assert_allclose(values, 0.5 * norm / np.sqrt(1 + norm**2), rtol=1e-5)
    assert floats_per_parameter(tx, grads) * 24 == 24 + 5
    for options in ({"form": "B"}, {"version": 3}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.optmuon(0.1, **options)
    with pytest.raises(ValueError, match=SECOND):
        om.optmuon(0.1, form="I").update(grads, tx.init(grads))
