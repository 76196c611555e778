"""One worker is the card alone, workers that see the same are one worker, and sums over workers are kept."""

import jax
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon import transforms, workers
from tests.workers import harness
from tests.workers.harness import AXIS, LEAVES, POLAR

BARE = {"orthogonalizer": POLAR, "leaves": LEAVES, "momentum": 0.8}


def top():
    return transforms.top_k(0.25)


CARDS = {
    "sign_muon": lambda axis: om.sign_muon(0.1, axis_name=axis, **BARE),
    "sign_muon with feedback": lambda axis: om.sign_muon(0.1, error_feedback=True, axis_name=axis, **BARE),
    "ef21_muon": lambda axis: om.ef21_muon(0.1, axis_name=axis, compressor_up=top(), **BARE),
    "ef21_muon by ranks": lambda axis: om.ef21_muon(
        0.1, axis_name=axis, compressor_up=transforms.low_rank(2), compressor_down=top(), **BARE
    ),
    "demuon": lambda axis: om.demuon(0.1, axis_name=axis, weight_decay=0.1, **BARE),
    "suda_muon": lambda axis: om.suda_muon(0.1, axis_name=axis, **BARE),
    "muloco": lambda axis: om.muloco(0.1, axis_name=axis, period=2, **BARE),
    "muloco, compressed": lambda axis: om.muloco(0.1, axis_name=axis, period=2, compressor=top(), **BARE),
    "diloco": lambda axis: om.diloco(0.7, optax.sgd(0.1, momentum=0.9), period=2, axis_name=axis, leaves=LEAVES),
    "loscar": lambda axis: om.loscar(0.1, optax.trace(0.9), period=2, axis_name=axis, leaves=LEAVES),
    "marina": lambda axis: optax.chain(
        workers.marina(transforms.random_k(0.5, unbiased=True), 0.5, axis, leaves=LEAVES), optax.scale(-0.1)
    ),
}
QUICK = ("ef21_muon by ranks", "demuon", "muloco, compressed")
each = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CARDS]
)


@each
def test_one_worker_and_workers_that_see_the_same_are_the_card_alone(name):
    with jax.enable_x64(True):
        weights, data = harness.problem(4, same_start=True, same_data=True)
        want = harness.alone(CARDS[name](None), weights[0], data[0])
        for n in (1, 4):
            got, _ = harness.run("vmap", CARDS[name](AXIS), weights[:n], data[:n])
            np.testing.assert_allclose(got, np.broadcast_to(want, got.shape), atol=1e-10)


def state_of(kind, states):
    """The one state of a kind in a stack of workers' states."""
    nodes = jax.tree.leaves(states, is_leaf=lambda x: isinstance(x, kind))
    (found,) = [node for node in nodes if isinstance(node, kind)]
    return found


def test_estimates_have_the_mean_that_they_follow():
    with jax.enable_x64(True):
        weights, data = harness.problem(same_start=True)
        _, states = harness.run("vmap", CARDS["ef21_muon"](AXIS), weights, data)
        exchanged = state_of(workers.ExchangeState, states)
        each, mean = exchanged.own["up"]["kernel"], exchanged.mean["up"]["kernel"]
        np.testing.assert_allclose(mean, np.broadcast_to(each.mean(axis=0), mean.shape), atol=1e-14)
        # What tracking keeps beyond each worker's momentum adds up to zero.
        weights, data = harness.problem()
        _, states = harness.run("vmap", CARDS["demuon"](AXIS), weights, data)
        beyond = state_of(workers.TrackingState, states).beyond["up"]["kernel"]
        assert np.abs(beyond).max() > 0.1
        np.testing.assert_allclose(beyond.sum(axis=0), 0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sign_muon", "ef21_muon", "muloco", "loscar"])
def test_the_order_of_workers_does_not_matter(name):
    with jax.enable_x64(True):
        weights, data = harness.problem(same_start=True)
        got, _ = harness.run("vmap", CARDS[name](AXIS), weights, data)
        turned, _ = harness.run("vmap", CARDS[name](AXIS), weights[::-1], data[::-1])
        np.testing.assert_allclose(turned[::-1], got, atol=1e-12)


def test_what_cannot_work_says_so():
    grads = {"up": {"kernel": np.ones((4, 4), np.float32)}}

    def traced(tx, n):
        step = jax.vmap(lambda g: tx.update(g, tx.init(g), g)[0], axis_name=AXIS)
        return jax.eval_shape(step, jax.tree.map(lambda g: np.stack([g] * n), grads))

    for backbone in ("ed", "extra"):
        tx = om.suda_muon(0.1, graph=workers.Ring(lazy=False), backbone=backbone, axis_name=AXIS)
        with pytest.raises(ValueError, match=r"unstable on Ring\(lazy=False\) of 8 workers.*-0.333.*lazy=True"):
            traced(tx, 8)
    traced(om.suda_muon(0.1, graph=workers.Ring(lazy=False), backbone="gt", axis_name=AXIS), 8)
    traced(om.suda_muon(0.1, graph=workers.Ring(lazy=False), axis_name=AXIS), 7)
    tx = om.demuon(0.1, axis_name="nodes")
    with pytest.raises(ValueError, match="no axis 'nodes' around this update"):
        tx.update(grads, tx.init(grads), grads)
    with pytest.raises(ValueError, match="up/kernel: a parameter .* without a gradient"):
        tx.update({"down": grads["up"]}, tx.init(grads), grads)
    for wrong, message in (
        (lambda: workers.suda(workers.Ring(), AXIS, "diffusion"), "backbone must be"),
        (lambda: workers.merge_overlapped(2, AXIS, overlap=2), "overlap must be below the period 2"),
        (lambda: workers.merge_overlapped(2, AXIS, fraction=0.0), r"fraction must be in \(0, 1\]"),
        (lambda: workers.local_steps(optax.sgd(1.0), optax.sgd(1.0), 0, AXIS), "period must be a whole number >= 1"),
        (lambda: workers.marina(top(), 0.0, AXIS), r"probability must be in \(0, 1\]"),
        (lambda: transforms.top_k(0.0), r"fraction must be a number in \(0, 1\]"),
        (lambda: transforms.low_rank(0), "rank must be a whole number >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
