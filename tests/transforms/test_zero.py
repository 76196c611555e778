"""Without an epsilon nothing divides zero by zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon import transforms

pytestmark = pytest.mark.thinned(2)

ZERO = {"up": {"kernel": jnp.zeros((3, 4))}}
METRICS = {
    "divide_by_gradient_rms": lambda: transforms.divide_by_gradient_rms(0.9, eps=0.0),
    "in_diagonal_metric": lambda: transforms.in_diagonal_metric(optax.identity(), 0.9, eps=0.0),
    "in_diagonal_metric, sania": lambda: transforms.in_diagonal_metric(optax.identity(), 0.9, eps=0.0, form="sania"),
    "low_rank_momentum": lambda: transforms.low_rank_momentum(0.9, 2, eps=0.0),
    "equilibrate": lambda: transforms.equilibrate("both", eps=0.0),
    "LeadingSubspace": lambda: transforms.apply_with_gradients(om.linalg.LeadingSubspace(2, eps=0.0)),
    "dion": lambda: om.dion(0.1, rank=2, eps=0.0),
    "muadam": lambda: om.muadam(0.1, eps=0.0),
    "kl_shampoo": lambda: om.kl_shampoo(0.1, eps=0.0),
    "orscale": lambda: om.orscale(0.1, eps=0.0),
}


@pytest.mark.parametrize("name", METRICS)
def test_zero_gradients_stay_zero_without_an_epsilon(name):
    tx = METRICS[name]()
    state, update = tx.init(ZERO), jax.jit(tx.update)
    for _ in range(2):
        updates, state = update(ZERO, state, ZERO)
        np.testing.assert_array_equal(updates["up"]["kernel"], 0)
