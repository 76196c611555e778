"""Low precision keeps its promise: what is offered points the right way and stays within its bounds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg
from tests.linalg.spectra import crowded, hard

pytestmark = pytest.mark.thinned(2)

ARITHMETICS = {"bf16": linalg.BFLOAT16, "f16": linalg.FLOAT16}
OFFERED = [(t, name) for t in linalg.TABLES for name, a in ARITHMETICS.items() if t.survives(a.significand_bits)]
IDS = [f"{table.name}-{name}" for table, name in OFFERED]


@functools.cache
def low_rank(m, n, count=24, seed=0):
    """A stack: ones, signs, outer products of normal, skewed and sign vectors, and these with a tail of noise."""
    rng, found = np.random.default_rng(seed), [np.ones((m, n))]
    for i in range(count):
        left, right = rng.normal(size=m) * 10 ** rng.uniform(-3 * (i % 2), 0, m), rng.normal(size=n)
        noise = 10 ** rng.uniform(-5, -1) * rng.normal(size=(m, n))
        found += [np.outer(left, right), np.outer(np.sign(left), np.sign(right)), np.outer(left, right) + noise]
    return np.stack([*found, np.sign(rng.normal(size=(m, n)))])


def duals(op, x):
    """``<x, y> / |x|_*`` of every matrix of a stack."""
    y = np.asarray(jax.jit(op.apply)(jnp.asarray(x, jnp.float32)), np.float64)
    return (x * y).sum((1, 2)) / np.linalg.svd(x, compute_uv=False).sum(-1)


# What accelerators run by default is bfloat16; of the tables the default, the oldest and one of many steps.
FIRST = ("POLAR_EXPRESS_NANOGPT_2025-bf16", "JORDAN_2024-bf16", "YOU_SIX_2025-bf16")
QUICK = [
    pytest.param(t, a, id=i, marks=() if i in FIRST else pytest.mark.slow)
    for (t, a), i in zip(OFFERED, IDS, strict=True)
]


@pytest.mark.parametrize(("table", "name"), QUICK)
def test_rank_one_signs_tails_and_padding_point_the_right_way(table, name):
    ops = [linalg.best(table, arithmetic=ARITHMETICS[name])]
    ops += [ops[0].plain] if ops[0].choice(4, 7) is not ops[0].plain else []
    x = low_rank(4, 7)
    for op in ops:
        for given in (x, x.swapaxes(1, 2), np.pad(x, ((0, 0), (0, 2), (0, 9)))):
            assert duals(op, given).min() >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("table", "name"), OFFERED, ids=IDS)
def test_no_spectrum_drives_it_out_of_its_bounds(table, name):
    op = linalg.GramNewtonSchulz(table, arithmetic=ARITHMETICS[name])
    for x in (crowded(32, 64), np.stack(list(hard(96, 200).values())), low_rank(16, 40), low_rank(24, 100)):
        y = np.asarray(jax.jit(op.apply)(jnp.asarray(x, jnp.float32)), np.float64)
        assert np.linalg.svd(y, compute_uv=False).max() <= 1.06 * table.reach()[0]
        assert duals(op, x).min() >= 0.5
