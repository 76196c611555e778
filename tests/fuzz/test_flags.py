"""JAX's switches that turn carelessness into errors, each over the whole registry once."""

import traceback

import jax
import jax.numpy as jnp
import optax
import pytest

import optax_muon as om
from tests.contracts.problem import LEAVES, nested, tree, with_extra_args

SWITCHES = {
    "debug_nans": lambda: jax.debug_nans(True),
    "rank_promotion": lambda: jax.numpy_rank_promotion("raise"),
    "strict dtypes": lambda: jax.numpy_dtype_promotion("strict"),
    "no transfers": lambda: jax.transfer_guard("disallow_explicit"),
    "no leaks": jax.checking_leaks,
    "disable_jit": jax.disable_jit,
}
CARDS = [pytest.param(c, id=n, marks=() if n == "muon" else pytest.mark.slow) for n, c in om.registry.items()]


def optimizer(card):
    """Build a card's optimizer for the whole tree, with nothing of Optax's beside that a switch would stop."""
    leaves = nested(LEAVES)
    if card.kind in ("roles", "any"):
        return card.make(0.05, leaves=leaves, **card.defaults)
    tx = om.for_matrices(card.make(0.05, **card.defaults), otherwise=optax.sgd(0.05), leaves=leaves)
    return with_extra_args(card, tx)


def is_of_optax(error):
    """Whether the last line outside of JAX that led to an error is Optax's: its bias corrections mix dtypes."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__) if "/jax/" not in frame.filename]
    return "/optax/" in files[-1]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("switch", SWITCHES)
def test_two_updates_under_a_switch(card, switch):
    tx, params, grads = optimizer(card), tree(0), tree(1)
    state, step = tx.init(params), jax.jit(tx.update)
    if switch == "no transfers":  # a program's constants are put into place when it is compiled
        step = step.lower(grads, state, params).compile()
    with SWITCHES[switch]():
        try:
            for _ in range(2):
                updates, state = step(grads, state, params)
        except jax.dtypes.TypePromotionError as error:
            if not is_of_optax(error):
                raise
            pytest.skip("Optax itself mixes dtypes here")
    assert all(jnp.isfinite(u).all() for u in jax.tree.leaves(updates))
