"""Adam-mini against its reference with every kind of block, and beside Adam."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.adam_mini import adam_mini as reference
from tests.state import floats_per_parameter

OPTIONS = {"learning_rate": 0.1, "momentum": 0.8, "second_moment_decay": 0.9, "eps": 0.1, "weight_decay": 0.05}


FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}  # other kinds are the contracts'


@pytest.mark.parametrize(
    "block", ["output", *(pytest.param(x, marks=pytest.mark.slow) for x in ("reduction", "both", "entry"))]
)
def test_reference_in_x64(block):
    with jax.enable_x64(True):
        tx = om.adam_mini(blocks={"hidden": block}, leaves=harness.LEAVES, **OPTIONS)
        harness.assert_matches(tx, functools.partial(reference, block=block, **OPTIONS), cases=FEW)


def test_entries_alone_are_adam():
    params = {"w": jax.random.normal(jax.random.key(0), (4, 6))}
    tx, adam = om.adam_mini(0.1, blocks={"hidden": "entry"}), optax.adam(0.1, b2=0.95)
    pair = [(tx, tx.init(params)), (adam, adam.init(params))]
    for seed in (1, 2):
        grads = {"w": jax.random.normal(jax.random.key(seed), (4, 6))}
        taken = [t.update(grads, state, params) for t, state in pair]
        pair = [(t, state) for (t, _), (_, state) in zip(pair, taken, strict=True)]
    np.testing.assert_allclose(taken[0][0]["w"], taken[1][0]["w"], rtol=1e-5)


def test_a_token_has_one_number_a_head_one_by_a_glob_and_a_vector_one_each():
    leaves = {
        "embed": om.Leaf("embedding", 0, 1),
        "query": om.Leaf("hidden", 0, 2),
        "up": om.Leaf("hidden", 0, 1),
        "bias": om.Leaf("vector"),
    }
    params = {"embed": jnp.ones((10, 4)), "query": jnp.ones((4, 2, 3)), "up": jnp.ones((4, 6)), "bias": jnp.ones(5)}
    tx = om.adam_mini(0.1, blocks={**om.transforms.BLOCKS, "query": "both"}, leaves=leaves)
    (found,) = [x for x in jax.tree.leaves(tx.init(params), is_leaf=is_blocks) if is_blocks(x)]
    assert jax.tree.map(jnp.size, found.mean_square) == {"embed": 10, "query": 2, "up": 6, "bias": 5}
    # Beside a matrix optimizer: one float a parameter, and few more.
    whole = om.for_matrices(om.muon(0.02), otherwise=om.adam_mini(3e-4), leaves=leaves)
    assert floats_per_parameter(whole, params) < 1.25


def is_blocks(x):
    return isinstance(x, om.transforms.BlockRmsState)


def test_refusals():
    with pytest.raises(ValueError, match="adam_mini: momentum"):
        om.adam_mini(0.02, momentum=1.0)
    with pytest.raises(ValueError, match="'hidden' has blocks 'row'"):
        om.adam_mini(0.02, blocks={"hidden": "row"})
    with pytest.raises(ValueError, match="bias: a vector, and there is nothing for it"):
        om.adam_mini(0.02, blocks={"hidden": "both"}).init({"bias": jnp.ones(3)})
