"""Every method of many workers beside its reference, by vmap and on eight devices; and what their sums keep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon import shapes, transforms, workers
from tests.references import workers as references
from tests.workers import harness
from tests.workers.harness import AXIS, LEAVES, POLAR

pytestmark = pytest.mark.thinned(2)

RATE, RULE = 0.1, {"momentum": 0.8}
COMMON = {"orthogonalizer": POLAR, "leaves": LEAVES, "axis_name": AXIS, "shape_scale": shapes.Constant(1.0), **RULE}
FRACTION = 0.25
LOCAL = {"period": 3, "outer_learning_rate": 0.7, "outer_momentum": 0.6}
LOSCAR = {"period": 3, "overlap": 1}


def descends(rate, *parts):
    return optax.chain(*parts, optax.scale(-rate))


def ring(lazy=True):
    return references.ring(harness.N, 1 / 6 if lazy else 1 / 3)


def masks(fraction):
    """What the library draws, by the compressor alone: ones at the entries of every round."""
    tx = transforms.random_k(fraction, leaves=LEAVES)
    ones, state, found = {"up": {"kernel": jnp.ones(harness.SHAPE)}}, None, []
    state = tx.init(ones)
    for _ in range(harness.STEPS // LOSCAR["period"]):
        kept, state = tx.update(ones, state)
        found.append(np.asarray(kept["up"]["kernel"]) > 0)
    return found


def coins(probability):
    key = jax.random.key(0)
    drawn = [bool(jax.random.bernoulli(jax.random.fold_in(key, t), probability)) for t in range(harness.STEPS)]
    assert 0 < sum(drawn[1:]) < harness.STEPS - 1
    return [True, *drawn[1:]]


# Name -> the optimizer, its reference, and whether all workers start from the same weights, as the method asks.
METHODS = {
    "ef21": (
        lambda: om.ef21_muon(RATE, compressor_up=transforms.top_k(FRACTION), **COMMON),
        lambda x, data: references.ef21_muon(x, data, rate=RATE, fraction=FRACTION, **RULE)[0],
        True,
    ),
    "demuon": (
        lambda: om.demuon(RATE, graph=workers.Ring(lazy=False), **COMMON),
        lambda x, data: references.demuon(x, data, rate=RATE, w=ring(lazy=False), **RULE),
        False,
    ),
    **{
        f"suda {backbone}": (
            lambda backbone=backbone: om.suda_muon(RATE, backbone=backbone, **COMMON),
            lambda x, data, backbone=backbone: references.suda_muon(
                x, data, rate=RATE, w=ring(), backbone=backbone, **RULE
            ),
            False,
        )
        for backbone in ("ed", "extra", "gt")
    },
    "loscar": (
        lambda: om.loscar(RATE, optax.identity(), fraction=0.5, axis_name=AXIS, leaves=LEAVES, **LOSCAR),
        lambda x, data: references.loscar(x, data, rate=RATE, masks=masks(0.5), **LOSCAR),
        False,
    ),
    "muloco": (
        lambda: om.muloco(RATE, **COMMON, **LOCAL),
        lambda x, data: references.muloco(x, data, rate=RATE, period=3, outer_rate=0.7, outer_momentum=0.6, **RULE),
        True,
    ),
    "marina": (
        lambda: descends(
            RATE,
            workers.marina(optax.identity(), 0.5, AXIS),
            transforms.apply_to_matrices(POLAR, leaves=workers.own_matrices(LEAVES, AXIS)),
        ),
        lambda x, data: references.marina(x, data, rate=RATE, coins=coins(0.5)),
        True,
    ),
}
QUICK = {("ef21", "checked, Explicit"), ("loscar", "checked, Explicit")}


@functools.cache
def problem(same_start):
    return harness.problem(same_start=same_start)


def rows():
    for name in METHODS:
        for manner in harness.MANNERS:
            quick = manner == "vmap" or (name, manner) in QUICK
            yield pytest.param(name, manner, id=f"{name}-{manner}", marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("name", "manner"), list(rows()))
def test_it_is_its_reference(name, manner):
    make, reference, same_start = METHODS[name]
    with jax.enable_x64(True):
        weights, data = problem(same_start)
        got, _ = harness.run(manner, make(), weights, data)
        np.testing.assert_allclose(got, reference(weights, data), atol=1e-10)
