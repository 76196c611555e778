"""Measures inside a training loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.diagnostics import every, fit_layers, per_matrix, update_rms
from tests.diagnostics.network import RULES, problem


def test_per_matrix_sees_stacks_and_splits():
    params, _, _ = problem()
    measured = per_matrix(update_rms, rules=RULES)(params)
    assert {path: x.shape for path, x in measured.items()} == {
        "layers/kernel": (2,),
        "mlp/kernel": (2,),
        "up/kernel": (1,),
    }
    kernel = np.asarray(params["mlp"]["kernel"])
    want = [np.sqrt(np.mean(part**2)) for part in (kernel[:, :2], kernel[:, 2:])]
    np.testing.assert_allclose(measured["mlp/kernel"], want, rtol=1e-6)


def test_every_measures_at_the_first_step_and_then_every_k_under_jit():
    seen = every(3, lambda grads, params, batch: jnp.sum(params * batch), batch=jnp.ones(2))
    tx = optax.chain(optax.monitor({"sum": seen}), optax.sgd(1.0))
    update = jax.jit(lambda state, params, batch: tx.update(jnp.ones(2), state, params, batch=batch))
    params, batch = jnp.array([10.0, 20.0]), jnp.array([1.0, 3.0])
    state, recorded = tx.init(params), []
    for _ in range(5):
        updates, state = update(state, params, batch)
        params = optax.apply_updates(params, updates)
        recorded.append(float(optax.tree.get(state, "sum")))
    assert recorded == [70, 70, 70, 58, 58]


def test_every_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        every(0, lambda updates, params: 0.0)
    tx = every(2, lambda updates, params, batch: batch, batch=jnp.zeros(2))
    with pytest.raises(ValueError, match="extra argument 'batch'"):
        tx.update(jnp.zeros(2), tx.init(jnp.zeros(2)))


def test_layers_are_fitted_on_their_own():
    sample = om.transforms.SmoothnessSample
    duals = np.linspace(1, 3, 5)
    run = [{"a": sample(2 + d, d), "b": sample(3 * d, d)} for d in duals[:, None]]
    fits = fit_layers(run)
    assert (fits["a"].constant, fits["a"].slope) == pytest.approx((2, 1))
    assert (fits["b"].constant, fits["b"].slope) == pytest.approx((0, 3), abs=1e-9)
    with pytest.raises(ValueError, match="samples is empty"):
        fit_layers([])
    with pytest.raises(ValueError, match="a: fit_smoothness: no positive"):
        fit_layers([{"a": sample(np.array([np.nan]), np.array([1.0]))}])
