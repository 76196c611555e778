"""Cards say how large a state is, in floats; the floats are counted."""

import inspect

import jax.numpy as jnp
import pytest

import optax_muon as om
from tests.state import floats_per_parameter

INPUTS, OUTPUTS = 8, 12  # of the one matrix
OF_THE_WHOLE = 2  # numbers that one optimizer may keep for all its parameters, such as a sum of weights
FORMS = [
    pytest.param(card, arguments, size, id=f"{name} {when}".strip())
    for name, card in om.registry.items()
    for when, arguments, size in [("", {}, card.state), *((f.when, f.arguments, f.size) for f in card.state.forms)]
]

MORE = {"adanaged": 4}  # numbers of the whole tree, which its one length of a step follows from


@pytest.mark.parametrize(("card", "arguments", "size"), FORMS)
def test_state_is_as_large_as_the_card_says(card, arguments, size):
    params = {"up": {"kernel": jnp.zeros((INPUTS, OUTPUTS))}}
    leaves = {"up": {"kernel": om.Leaf("hidden", reduction=0, output=1)}}
    known = inspect.signature(card.make).parameters
    needed = {name: value for name, value in card.defaults.items() if known[name].default is inspect.Parameter.empty}
    tx = card.make(0.1, leaves=leaves, **(needed | arguments))
    found = round(floats_per_parameter(tx, params) * INPUTS * OUTPUTS)
    rank = min(arguments.get("rank", known["rank"].default if "rank" in known else 0) or 0, INPUTS, OUTPUTS)
    assert 0 <= found - size.floats(INPUTS, OUTPUTS, rank) <= MORE.get(card.name, OF_THE_WHOLE)


def test_a_state_is_said_in_words():
    size = om.StateSize(2, "2 * (inputs**2 + outputs**2)", note="none above ``max_side``")
    assert size.sentence() == (
        "State: 2 floats per parameter, and 2 * (inputs^2 + outputs^2) per matrix; none above ``max_side``."
    )
    feedback = om.registry["muon_usign"].state
    assert feedback.sentence() == "State: 1 float per parameter; 2 with error feedback."
    assert str(om.registry["limuon"].state).startswith("1; rank * (inputs + outputs + 1) per matrix with a ``rank``;")


@pytest.mark.parametrize("formula", ["__import__('os')", "inputs.real", "width", "inputs - 1", "1.5", "min()", "2 *"])
def test_a_formula_that_cannot_be_counted_raises(formula):
    with pytest.raises(ValueError, match="formula|is no sum"):
        om.StateSize(1, formula)


def test_a_formula_counts_as_python_does():
    assert om.StateSize(1, "2 * (inputs + rank) ** 2 + min(inputs, outputs, 7)").floats(3, 5, 4) == 3 * 5 + 2 * 49 + 3
