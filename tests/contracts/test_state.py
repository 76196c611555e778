"""Cards say how large a state is, in floats per parameter; its bytes are counted."""

import jax.numpy as jnp
import pytest

import optax_muon as om
from tests.state import floats_per_parameter

M, N = 8, 12  # reduction and output of the one matrix
FACTORS_AND_BASES = 2 * (M * M + N * N)
BESIDE = {  # beside what the card's first number says of every parameter
    "asgo": 2 * M * M,
    "cosmos": M * (M + N + M),
    "dion": M * M,
    "kl_shampoo": FACTORS_AND_BASES,
    "normuon": N,
    "optmuon": 5,
    "orscale_lm": 1,
    "sf_normuon": N,
    "soap": FACTORS_AND_BASES,
    "splus": FACTORS_AND_BASES,
}
FIRST = {"muon_mvr": 1}  # the registry builds the form that takes both gradients on the same batch
OF_THE_WHOLE = 2  # numbers that one optimizer may keep for all its parameters, such as a sum of weights


@pytest.mark.parametrize("card", [pytest.param(card, id=name) for name, card in om.registry.items()])
def test_state_is_as_large_as_the_card_says(card):
    params = {"up": {"kernel": jnp.zeros((M, N))}}
    leaves = {"up": {"kernel": om.Leaf("hidden", reduction=0, output=1)}}
    found = floats_per_parameter(card.make(0.1, leaves=leaves, **card.defaults), params) * M * N
    first = FIRST.get(card.name) or int(next(c for c in card.state if c.isdigit()))
    assert 0 <= found - (first * M * N + BESIDE.get(card.name, 0)) <= OF_THE_WHOLE
