"""What is certain is silent, what is assumed warns once or raises, what is unknown always raises."""

import re
import warnings

import jax.numpy as jnp
import optax
import pytest

import optax_muon as om

CERTAIN = {"up": {"kernel": jnp.ones((4, 8)), "bias": jnp.ones(8)}, "lm_head": {"kernel": jnp.ones((4, 9))}}
ASSUMED = {
    **CERTAIN,
    **{f"Dense_{i}": {"kernel": jnp.ones((4, 4))} for i in range(3)},
    "fc": {"kernel": jnp.ones((4, 7))},
}


def partition(params, **options):
    return om.for_matrices(om.muon(0.02), optax.sgd(1.0), **options).init(params)


ASKS = [partition, om.label, lambda params, **options: om.labels(**options)(params)]


@pytest.mark.parametrize("ask", ASKS)
def test_certain_is_silent(ask):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(CERTAIN)
        ask(CERTAIN, strict=True)


@pytest.mark.parametrize("ask", ASKS)
def test_assumed_warns_once_with_rules_that_silence_it(ask):
    with pytest.warns(om.AssumedLeafWarning) as caught:
        ask(ASSUMED)
    (warning,) = caught
    text = str(warning.message)
    assert "('Dense_*/kernel', om.Leaf('hidden', 0, 1)),  # 3 of (4, 4)" in text
    rules = eval(re.search(r"rules=(\[.*\n\])", text, re.DOTALL)[1], {"om": om})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(ASSUMED, rules=rules, strict=True)
    with pytest.warns(om.AssumedLeafWarning):
        ask(ASSUMED, rules=[("nothing", "head")], strict=False)
    with pytest.raises(om.UnknownLeafError, match="fc/kernel"):
        ask(ASSUMED, strict=True)


def test_leaves_remember_what_was_assumed():
    leaves = om.leaves(ASSUMED)
    assert leaves["fc"]["kernel"].assumed
    assert not leaves["up"]["kernel"].assumed
    with pytest.warns(om.AssumedLeafWarning, match="fc/kernel"):
        partition(ASSUMED, leaves=leaves)
    for ask in (om.leaves, om.describe):
        with pytest.raises(om.UnknownLeafError, match="fc/kernel"):
            ask(ASSUMED, strict=True)


def test_updates_do_not_warn():
    with pytest.warns(om.AssumedLeafWarning):
        state = partition(ASSUMED)
    tx = om.for_matrices(om.muon(0.02), optax.sgd(1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tx.update(ASSUMED, state, ASSUMED)


@pytest.mark.parametrize("strict", [None, True, False])
def test_unknown_raises(strict):
    for ask in ASKS:
        with pytest.raises(om.UnknownLeafError, match="scan/kernel"):
            ask({**CERTAIN, "scan": {"kernel": jnp.ones((3, 4, 8))}}, strict=strict)
