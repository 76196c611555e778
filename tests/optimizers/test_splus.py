"""SPlus against its reference, and its sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.splus import splus as reference
from tests.state import floats_per_parameter

# A basis of a factor's null space is arbitrary: only cases whose first factor has full rank can be compared.
FULL_RANK = {100: ["square", "fused"], 9: ["square", "wide", "tall", "stacked", "convolution", "heads", "fused"]}
FULL_RANK[8] = FULL_RANK[9]  # no side of 8 is rotated there


@pytest.mark.parametrize(("max_side", "final"), [(100, "params"), (100, "average"), (9, "params"), (8, "params")])
def test_matches_its_reference(max_side, final):
    cases = {name: harness.CASES[name] for name in FULL_RANK[max_side]}
    common = {
        "momentum": 0.9,
        "second_moment_decay": 0.95,
        "refresh_every": 4,
        "average_decay": 0.9,
        "weight_decay": 0.1,
    }
    common |= {"max_side": max_side, "learning_rate": 0.5 if max_side == 100 else 20.0}
    finish = om.eval_params if final == "average" else lambda state, params: params
    with jax.enable_x64(True):
        tx = om.splus(leaves={name: case.leaf for name, case in cases.items()}, **common)
        harness.assert_matches(tx, functools.partial(reference, final=final, **common), cases=cases, finish=finish)


def test_updates_have_unit_root_mean_square_and_vectors_take_signs():
    params = {
        "up": {"kernel": jnp.ones((6, 4)), "bias": jnp.ones(4)},
        "embed": {"embedding": jnp.ones((5, 3))},
    }
    rng = np.random.default_rng(0)
    tx = om.splus(1.0, weight_decay=0.0)
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(3):
        grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params)
        updates, state = update(grads, state, params)
        np.testing.assert_allclose(jnp.linalg.norm(updates["up"]["kernel"]), np.sqrt(24) * 2 / 10, rtol=1e-5)
        np.testing.assert_allclose(jnp.linalg.norm(updates["embed"]["embedding"]), np.sqrt(15) * 1e-3, rtol=1e-5)
        np.testing.assert_allclose(jnp.abs(updates["up"]["bias"]), 1e-3, rtol=1e-6)
    np.testing.assert_allclose(om.eval_params(state, params)["up"]["bias"], 1.0, rtol=1e-5)


def test_state_size_and_options():
    params = {"up": {"kernel": jnp.zeros((40, 30))}}
    assert round(floats_per_parameter(om.splus(0.1), params) * 1200) == 2 * 1200 + 2 * (40**2 + 30**2) + 1
    for options in ({"momentum": 1.0}, {"average_decay": 1.0}, {"refresh_every": 0}):
        with pytest.raises(ValueError, match="decay" if "average_decay" in options else next(iter(options))):
            om.splus(0.1, **options)
