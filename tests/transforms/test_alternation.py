"""Two transformations by turns."""

import jax
import jax.numpy as jnp
import optax
import pytest

from optax_muon.transforms import alternate


def test_turns_and_their_states():
    tx = alternate(3, optax.scale_by_schedule(lambda t: 10.0 + t), otherwise=optax.trace(0.5))
    update, state, out = jax.jit(tx.update), tx.init(jnp.zeros([])), []
    for _ in range(7):
        u, state = update(jnp.ones([]), state)
        out.append(float(u))
    # each counts its own turns
    assert out == [10.0, 1.0, 1.5, 11.0, 1.75, 1.875, 12.0]


def test_the_first_turn_can_come_later():
    tx = alternate(3, optax.scale(2.0), otherwise=optax.scale(1.0), first=3)
    update, state, out = jax.jit(tx.update), tx.init(jnp.zeros([])), []
    for _ in range(7):
        u, state = update(jnp.ones([]), state)
        out.append(float(u))
    assert out == [1, 1, 2, 1, 1, 2, 1]


def test_period_one_and_refusals():
    tx = alternate(1, optax.scale(2.0), otherwise=optax.scale(3.0))
    state = tx.init(jnp.zeros([], jnp.bfloat16))
    for _ in range(3):
        u, state = tx.update(jnp.ones([], jnp.bfloat16), state)
        assert u == 2
        assert u.dtype == jnp.bfloat16
    for period in (0, 2.0):
        with pytest.raises(ValueError, match="period"):
            alternate(period, optax.identity(), otherwise=optax.identity())
    for first in (0, 4, 1.0):
        with pytest.raises(ValueError, match="first"):
            alternate(3, optax.identity(), otherwise=optax.identity(), first=first)
