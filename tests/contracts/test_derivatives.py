"""The derivative of every card's updates by the gradients that made them: what a meta-gradient runs through.

Against central differences in float64, with one matrix among the others whose gradient is zero throughout.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.contracts.problem import extra_args

SAMPLE = {"muon"}
CARDS = [
    pytest.param(card, id=name, marks=() if name in SAMPLE else pytest.mark.slow) for name, card in om.registry.items()
]
LEAVES = {name: om.Leaf("hidden", 0, 1) for name in ("still", "wide", "tall")}
SHAPES = {"still": (3, 4), "wide": (3, 4), "tall": (4, 3)}
STEPS = 2


def draw(seed, still=0.0):
    """Random matrices, those of ``still`` times a factor."""
    rng = np.random.default_rng(seed)
    trees = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in SHAPES.items()}
    return trees | {"still": still * trees["still"]}


def outcome(card, grads, params):
    """A weighted sum of the entries of the last update."""
    tx = optax.with_extra_args_support(card.make(0.1, leaves=LEAVES, **card.defaults))
    state = tx.init(params)
    for g in grads:
        more = extra_args(card, g)
        updates, state = tx.update(g, state, params, value=1.0, **more)
    weights = draw(100, still=1.0)
    return sum(jnp.sum(weights[name] * updates[name]) for name in SHAPES)


@jax.disable_jit()  # compilations would take minutes
@pytest.mark.parametrize("card", CARDS)
def test_the_derivative_is_finite_and_that_of_finite_differences(card):
    with jax.enable_x64(True):
        grads, params = [draw(seed) for seed in range(STEPS)], draw(50, still=1.0)
        along = [draw(seed) for seed in range(10, 10 + STEPS)]
        slopes = jax.grad(lambda grads: outcome(card, grads, params))(grads)
        for slope in slopes:
            for name, entries in slope.items():
                assert jnp.isfinite(entries).all(), name
        h = 1e-6

        def moved(sign):
            return [jax.tree.map(lambda g, d: g + sign * h * d, *pair) for pair in zip(grads, along, strict=True)]

        difference = float(outcome(card, moved(1), params) - outcome(card, moved(-1), params)) / (2 * h)
        exact = sum(
            float(jnp.sum(slope[name] * d[name])) for slope, d in zip(slopes, along, strict=True) for name in SHAPES
        )
        np.testing.assert_allclose(exact, difference, rtol=1e-4, atol=1e-6)
