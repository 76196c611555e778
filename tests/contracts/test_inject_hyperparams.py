"""Every number of every named optimizer can be kept in the state and changed there, as a user writes it."""

import functools
import inspect
import numbers

import jax
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.contracts.problem import MATRICES, OTHERS, nested, with_second_gradient

CARDS = [pytest.param(card, id=name) for name, card in om.registry.items()]
SMALL = ("tall/kernel", "wide/kernel", "lm_head/kernel", "square/bias")
LEAVES = nested({path: leaf for path, (_, leaf) in (MATRICES | OTHERS).items() if path in SMALL})
STEPS = 3
# Numbers whose change no update can show, and why.
SILENT: dict[tuple[str, str], str] = {}


def trees():
    """Random parameters, and gradients of every step."""
    rng = np.random.default_rng(0)
    shapes = {path: shape for path, (shape, _) in (MATRICES | OTHERS).items() if path in SMALL}
    return [
        nested({path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()})
        for _ in range(STEPS + 1)
    ]


def partition(card, make):
    """Build a card's optimizer for the whole tree, with ``make`` in the place of the card's own."""
    if card.kind == "roles":
        return make(card.learning_rate, leaves=LEAVES, **card.defaults)
    tx = om.for_matrices(make(card.learning_rate, **card.defaults), otherwise=optax.sgd(0.1), leaves=LEAVES)
    return with_second_gradient(tx) if "grads_at_previous_params" in card.extra_args else tx


def walk(tx, change=None):
    """Parameters after some steps; ``change`` is done to the first state."""
    params, *gradients = trees()
    state = tx.init(params)
    state = change(state) if change else state
    for grads in gradients:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def hyperparams(state):
    """The injected numbers of a state."""
    is_injected = lambda x: isinstance(x, optax.InjectStatefulHyperparamsState)  # noqa: E731
    (found,) = [x for x in jax.tree.leaves(state, is_leaf=is_injected) if is_injected(x)]
    return found.hyperparams


def numeric(card):
    """Names of the card's arguments that are numbers, structure aside."""
    given = inspect.signature(card.make).bind(card.learning_rate, **card.defaults)
    given.apply_defaults()
    return {
        name
        for name, value in given.arguments.items()
        if isinstance(value, numbers.Real) and not isinstance(value, bool) and name not in card.static_args
    }


@pytest.mark.parametrize("card", CARDS)
def test_every_number_is_in_the_state_and_acts(card):
    tx = partition(card, om.inject_hyperparams(card.make))
    jitted = optax.GradientTransformationExtraArgs(tx.init, jax.jit(tx.update))
    found = hyperparams(tx.init(trees()[0]))
    assert set(found) == numeric(card)
    injected, plain = walk(jitted), walk(partition(card, card.make))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), injected, plain)
    for name in found:

        def change(state, name=name):
            numbers = hyperparams(state)
            numbers[name] = numbers[name] * 0.7 if numbers[name] else numbers[name] + 0.1
            return state

        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), walk(jitted, change), injected)
        silent = (card.name, name) in SILENT
        assert (max(jax.tree.leaves(moved)) > 1e-7) != silent, f"{name}: {moved}"
