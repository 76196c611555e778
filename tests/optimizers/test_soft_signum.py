"""SoftSignum against its reference, and what it is with signs to the end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.soft_signum import soft_signum as reference


@pytest.mark.parametrize("hard_fraction", [0.5, 0.0, 1.0])
def test_reference_in_x64(hard_fraction):
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    few = {name: harness.CASES[name] for name in ("square", "stacked")}
    weights, gradients = harness.problem(np.float64, cases=few)
    with jax.enable_x64(True):
        tx = om.soft_signum(steps=harness.STEPS, hard_fraction=hard_fraction, **options)
        final = harness.run(tx, weights, gradients)
    lists = [[g[name] for name in few] for g in gradients]
    start = [weights[name] for name in few]
    expected = reference(start, lists, steps=harness.STEPS, hard=hard_fraction, **options)
    for name, want in zip(few, expected, strict=True):
        np.testing.assert_allclose(final[name], want, atol=1e-10, rtol=0)
    if hard_fraction == 0.5:
        signum = om.soft_signum(steps=harness.STEPS, hard_fraction=1.0, **options)
        assert np.abs(harness.run(signum, weights, gradients)["square"] - final["square"]).max() > 1e-2


def test_temperature_stays_after_the_last_step_and_is_shared():
    tx = om.soft_signum(1.0, steps=4, hard_fraction=0.5, momentum=0.0)
    grads = {"a": jnp.linspace(-1.0, 1.0, 9), "b": jnp.full(3, 0.1)}
    state, update, out = tx.init(grads), jax.jit(tx.update), []
    for _ in range(7):
        updates, state = update(grads, state, grads)
        out.append(updates)
    np.testing.assert_array_equal(out[6]["a"], out[3]["a"])
    assert jnp.abs(out[1]["a"][0]) == 1
    assert 0 < -out[4]["b"][0] < 1


def test_takes_vectors_and_nothing():
    tx = om.soft_signum(1.0, steps=4)
    assert tx.update({}, tx.init({}), {})[0] == {}
    chained = optax.masked(tx, {"scale": False})
    assert chained.update({"scale": jnp.ones(3)}, chained.init({"scale": jnp.ones(3)}), {"scale": jnp.ones(3)})


def test_refusals():
    for options in ({"steps": 0}, {"steps": 10, "hard_fraction": 1.5}, {"steps": 10, "momentum": 1.0}):
        with pytest.raises(ValueError, match="soft_signum|tempered"):
            om.soft_signum(0.1, **options)
