"""Schedule-free averages: what they average, where optax's fits, and how b rises."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.state import floats_per_parameter

TARGET = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))


def trajectory(tx, steps=12, start=None):
    """Fast iterates, evaluation points and states of a noisy quadratic."""
    params = {"w": jnp.zeros((3, 2)) if start is None else start}
    noise = np.random.default_rng(1).normal(size=(steps, 3, 2))
    state, out = tx.init(params), []
    update = jax.jit(tx.update)
    for n in noise:
        updates, state = update({"w": params["w"] - TARGET + n}, state, params)
        params = optax.apply_updates(params, updates)
        out.append((params["w"], om.eval_params(state, params)["w"], state))
    return out


@pytest.mark.parametrize("store", [False, True], ids=["solved", "stored"])
def test_average_is_the_weighted_mean_of_the_fast_iterates_at_every_step(store):
    def rate(count):
        return 0.3 / (1 + count)

    with jax.enable_x64(True):
        inner = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(rate))
        rising = om.transforms.anytime_interpolation(0.6, 0.8, 3)
        fast, weights = [], []
        tx = om.transforms.schedule_free(inner, rate, rising, store_average=store)
        for t, (y, x, state) in enumerate(trajectory(tx)):
            fast.append(np.asarray(state.fast["w"]))
            weights.append(rate(t) ** 2)
            np.testing.assert_allclose(x, np.average(fast, axis=0, weights=weights), atol=1e-13)
            b = rising(t + 1)
            np.testing.assert_allclose(y, (1 - b) * fast[-1] + b * np.asarray(x), atol=1e-13)


def test_fits_optax_where_rate_and_b_are_constant_and_nothing_decays():
    with jax.enable_x64(True):
        ours = trajectory(om.transforms.schedule_free(optax.sgd(0.1), 0.1, 0.9))
        theirs = trajectory(optax.contrib.schedule_free(optax.sgd(0.1), 0.1, 0.9))
        for (y, x, _), (there_y, there_x, _) in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(y, there_y, atol=1e-13)
            np.testing.assert_allclose(x, there_x, atol=1e-13)


def test_decay_acts_on_the_fast_iterate_unlike_optax():
    inner = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1))
    ours = trajectory(om.transforms.schedule_free(inner, 0.1, 0.9))
    theirs = trajectory(optax.contrib.schedule_free(inner, 0.1, 0.9))
    assert np.abs(ours[-1][0] - theirs[-1][0]).max() > 1e-3
    seen = trajectory(om.transforms.schedule_free(inner, 0.1, 0.9, inner_sees="params"))
    for (y, x, _), (there_y, there_x, _) in zip(seen, theirs, strict=True):
        np.testing.assert_allclose(y, there_y, atol=1e-6)
        np.testing.assert_allclose(x, there_x, atol=1e-6)
    with pytest.raises(ValueError, match="inner_sees must be 'fast' or 'params', not 'y'"):
        om.transforms.schedule_free(inner, 0.1, inner_sees="y")


def test_a_power_of_the_step_weighs_late_iterates_more():
    with jax.enable_x64(True):
        tx = om.transforms.schedule_free(optax.sgd(0.1), 0.1, 0.9, weight_power=0.0, step_power=2.0, store_average=True)
        fast = []
        for _, x, state in trajectory(tx):
            fast.append(np.asarray(state.fast["w"]))
            np.testing.assert_allclose(
                x, np.average(fast, axis=0, weights=np.arange(1, len(fast) + 1) ** 2), atol=1e-13
            )


def test_interpolation_zero_is_the_inner_optimizer_with_an_average_beside_it():
    with jax.enable_x64(True):
        tx = om.transforms.schedule_free(optax.sgd(0.1), 0.1, 0.0, store_average=True)
        steps = trajectory(tx)
        params, noise = np.zeros((3, 2)), np.random.default_rng(1).normal(size=(12, 3, 2))
        seen = []
        for (y, x, _), n in zip(steps, noise, strict=True):
            params = params - 0.1 * (params - np.asarray(TARGET, np.float64) + n)
            seen.append(params)
            np.testing.assert_allclose(y, params, atol=1e-6)
            np.testing.assert_allclose(x, np.mean(seen, 0), atol=1e-6)


def test_a_rate_of_zero_at_first_leaves_the_average_finite():
    tx = om.transforms.schedule_free(optax.sgd(lambda t: 0.1 * t), lambda t: 0.1 * t, 0.9)
    assert all(np.isfinite(x).all() for _, x, _ in trajectory(tx, 3))


@pytest.mark.parametrize("form", ["weights", "steps", "published"])
def test_interpolation_rises_from_its_start_to_one(form):
    warm, start, rho = 10, 0.6, 0.8
    b = om.transforms.anytime_interpolation(start, rho, warm, form)
    values = np.array([b(count) for count in range(400)])
    np.testing.assert_allclose(values[:warm], start, rtol=1e-6)
    assert (np.diff(values[warm - 1 :]) > 0).all()
    assert values[-1] > 0.95
    rates = np.minimum(1, np.arange(1, 401) / warm) ** 2
    shares = rates / np.cumsum(rates)
    odds = shares / (1 - np.where(shares == 1, np.nan, shares))
    t = np.arange(1, 401)
    shrunk = {"weights": odds / odds[warm - 1], "steps": warm / t, "published": (warm - 1) / np.maximum(t - 1, 1)}[form]
    np.testing.assert_allclose(values[warm:], 1 - shrunk[warm:] ** rho * (1 - start), rtol=1e-5)
    np.testing.assert_allclose(om.transforms.anytime_interpolation(start, 0.0, warm, form)(200), start, rtol=1e-6)


def test_evaluation_parameters_are_found_in_partitions_and_chains():
    params = {"up": {"kernel": jnp.eye(3), "bias": jnp.ones(3)}}
    averaged = om.transforms.schedule_free(optax.sgd(0.1), 0.1, 0.5)
    theirs = optax.contrib.schedule_free(optax.sgd(0.1), 0.1, 0.5)
    for wrap in (lambda t: t, lambda t: om.multi_steps(t, 1), lambda t: optax.chain(optax.clip(10.0), t)):
        tx = wrap(om.for_matrices(averaged, otherwise=theirs))
        now, state = params, tx.init(params)
        for _ in range(3):
            updates, state = tx.update(params, state, now)
            now = optax.apply_updates(now, updates)
        # Gradient 1 on the ones: z = 0.9, 0.8, 0.7, its mean 0.8 and y = 0.75, for both.
        evaluated = om.eval_params(state, now)
        np.testing.assert_allclose(jnp.diag(evaluated["up"]["kernel"]), 0.8, rtol=1e-5)
        np.testing.assert_allclose(evaluated["up"]["bias"], 0.8, rtol=1e-5)
        np.testing.assert_allclose(now["up"]["bias"], 0.75, rtol=1e-5)


def test_other_optimizers_are_evaluated_where_they_are():
    params = {"w": jnp.ones(2)}
    assert om.eval_params(optax.adam(0.1).init(params), params) is params


def test_low_precision_parameters_keep_a_wide_average():
    tx = om.transforms.schedule_free(optax.sgd(1e-4), 1e-4, 0.9, store_average=True, state_dtype=jnp.float32)
    params = {"w": jnp.ones(1, jnp.bfloat16)}
    state = tx.init(params)
    for _ in range(10):
        _, state = tx.update({"w": jnp.ones(1)}, state, params)
    np.testing.assert_allclose(state.average["w"], 1 - 5.5e-4, rtol=1e-5)


def test_options_and_sizes():
    with pytest.raises(ValueError, match="interpolation 0 .*store_average"):
        om.transforms.schedule_free(optax.sgd(0.1), 0.1, 0.0)
    with pytest.raises(ValueError, match="warmup_steps must be at least 2, not 1"):
        om.transforms.anytime_interpolation(0.9, 1.0, 1)
    with pytest.raises(ValueError, match="form must be .*'other'"):
        om.transforms.anytime_interpolation(0.9, 1.0, 5, "other")
    params = {"w": jnp.zeros((40, 40))}
    for store, floats in ((False, 1), (True, 2)):
        tx = om.transforms.schedule_free(optax.sgd(0.1), 0.1, store_average=store)
        assert round(floats_per_parameter(tx, params), 2) == floats
