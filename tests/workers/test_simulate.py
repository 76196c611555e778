"""The simulator: who arrives when, by hand; one worker is a plain loop; what the schemes promise of delays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon import workers
from optax_muon.workers import Clock, Ringmaster, simulate

SCHEMES = [
    Ringmaster(2),
    workers.ParameterAgnostic(),
    workers.Rennala(1),
    workers.DelayAdaptive(),
    workers.Rescaled(),
    workers.Ringleader(),
    workers.Vanilla(),
]
START = {"up": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)}}
TX = om.muon(0.05, orthogonalizer=om.linalg.SVDPolar(), leaves={"up": {"kernel": om.Leaf("hidden", 0, 1)}})


def noisy(params, key, worker):
    return jax.tree.map(lambda p: p + 0.3 * jax.random.normal(key, p.shape) + worker, params)


def pull(params, key, worker):
    return params


def columns(run, *names):
    return [tuple(row) for row in np.stack([run.history[name] for name in names], axis=1).tolist()]


def scalar(scheme, seconds, optimum=None, rate=0.5, **end):
    """Descend one number on workers whose optima differ."""
    optimum = jnp.zeros(len(seconds)) if optimum is None else jnp.asarray(optimum)
    return simulate(
        optax.sgd(rate),
        {"w": jnp.ones(())},
        lambda p, key, i: {"w": p["w"] - optimum[i]},
        clock=Clock(seconds),
        scheme=scheme,
        **end,
    )


def test_arrivals_are_those_computed_by_hand():
    # Workers of 2, 3 and 7 seconds: ready at 2, 3, 4, 6 (the first started again at 4, before the second's at 3),
    # 6, 7, 8.
    run = scalar(workers.Vanilla(), [2.0, 3.0, 7.0], steps=7)
    assert columns(run, "time", "worker", "delay") == [
        (2, 0, 0), (3, 1, 1), (4, 0, 1), (6, 1, 1), (6, 0, 1), (7, 2, 5), (8, 0, 1),
    ]  # fmt: skip
    # With R = 3 the slow one is stopped after the third update, at 4, and its gradient of 7 never comes; begun anew
    # at 4 it is stopped again after the sixth.
    run = scalar(Ringmaster(3), [2.0, 3.0, 7.0], steps=7)
    assert columns(run, "time", "worker", "delay") == [
        (2, 0, 0), (3, 1, 1), (4, 0, 1), (6, 1, 1), (6, 0, 1), (8, 0, 0), (9, 1, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: type(scheme).__name__)
def test_one_worker_is_a_plain_loop(scheme):
    run = simulate(TX, START, noisy, clock=Clock([2.0], jitter=0.5), scheme=scheme, steps=4, seed=3)
    params, state = START, TX.init(START)

    @jax.jit
    def step(params, state, key, rate):
        updates, state = TX.update(noisy(params, key, 0), state, params)
        return optax.apply_updates(params, jax.tree.map(lambda u: u * rate, updates)), state

    for k in range(4):
        rate = (k + 1) ** -0.75 if isinstance(scheme, workers.ParameterAgnostic) else 1.0
        params, state = step(params, state, jax.random.fold_in(jax.random.key(3), k), rate)
    np.testing.assert_allclose(run.params["up"]["kernel"], params["up"]["kernel"], atol=1e-6)
    assert run.history["delay"].max() == 0


def test_delays_stay_below_what_a_scheme_allows():
    seconds = [i**0.5 for i in range(1, 9)]
    for limit in (1, 2, 5):
        run = scalar(Ringmaster(limit), seconds, steps=40)
        assert run.history["delay"].max() == limit - 1
    # R = 1 is the fastest worker alone.
    run = scalar(Ringmaster(1), seconds, steps=5)
    assert columns(run, "time", "worker") == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]
    assert [workers.ParameterAgnostic().limit(k) for k in (1, 2, 4, 9, 16, 100)] == [1, 1, 2, 3, 4, 10]
    run = scalar(workers.ParameterAgnostic(), seconds, steps=60)
    assert (run.history["delay"] < np.maximum(1, np.sqrt(run.history["step"]))).all()


def test_rennala_with_equal_clocks_is_a_minibatch():
    optimum = np.array([1.0, -2.0, 4.0])
    run = scalar(workers.Rennala(3), [1.0] * 3, optimum, steps=4)
    w = 1.0
    for _ in range(4):
        w -= 0.5 * (w - optimum.mean())
    np.testing.assert_allclose(run.params["w"], w, rtol=1e-6)
    assert run.history["time"].tolist() == [1, 2, 3, 4]


def test_ringleader_steps_along_the_mean_of_all():
    # The first update at 3, when the slow one has sent; the fast one's three gradients are one mean.
    run = scalar(workers.Ringleader(), [1.0, 3.0], [1.0, -1.0], steps=200, rate=0.05)
    assert columns(run, "time", "worker")[:2] == [(3, 1), (3, 0)]
    np.testing.assert_allclose(run.params["w"], 0, atol=0.03)


def test_rescaled_finds_the_minimum_of_all_and_vanilla_that_of_the_fast():
    for scheme, found in ((workers.Vanilla(), 0.5), (workers.Rescaled(), 0.0)):
        run = scalar(scheme, [1.0, 3.0], [1.0, -1.0], time=240, rate=0.02)
        np.testing.assert_allclose(run.params["w"], found, atol=0.04)


def test_one_seed_has_one_history_and_a_late_gradient_a_smaller_rate():
    runs = [
        simulate(TX, START, noisy, clock=Clock([1.0, 2.0], 0.3), scheme=workers.DelayAdaptive(), steps=6, seed=seed,
                 record=lambda p: jnp.sum(p["up"]["kernel"] ** 2))
        for seed in (0, 0, 1)
    ]  # fmt: skip
    for name in runs[0].history:
        np.testing.assert_array_equal(runs[0].history[name], runs[1].history[name])
    assert (runs[0].history["time"] != runs[2].history["time"]).any()
    assert len(runs[0].history["value"]) == 6
    server = workers.Server([1.0, 1.0])
    assert [workers.DelayAdaptive().rate(server, 0, delay) for delay in (0, 2, 4)] == [1, 1, 0.5]


def test_what_cannot_work_says_so():
    with pytest.raises(ValueError, match="give time or steps"):
        simulate(TX, START, pull, clock=Clock([1.0]), scheme=workers.Vanilla())
    with pytest.raises(ValueError, match=r"seconds\[1\] must be positive"):
        Clock([1.0, 0.0])
    with pytest.raises(ValueError, match="1 gradients for the 2 workers"):
        simulate(TX, START, [pull], clock=Clock([1.0, 2.0]), scheme=workers.Vanilla(), steps=1)
    other = [pull, lambda params, key, worker: {"down": params["up"]}]
    with pytest.raises(ValueError, match="(?s)worker 1: .*up/kernel: a parameter .* without a gradient"):
        simulate(TX, START, other, clock=Clock([2.0, 1.0]), scheme=workers.Vanilla(), steps=1)
    with pytest.raises(ValueError, match="Ringmaster: max_delay must be a whole number"):
        Ringmaster(0)
