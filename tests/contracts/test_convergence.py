"""Every named optimizer brings its matrices to their target, on the matrix path and traced once."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import optax_muon as om
from tests.contracts.problem import CONFINED, COUNT, LEAVES, MATRICES, Probe, build, loss, nested, tree
from tests.contracts.test_optimizers import SAMPLE, TARGET, step

# Matrices of two shapes, of which one is stacked, and a bias: a third of the compilation.
FEW = ("tall/kernel", "stacked/kernel", "square/bias")
WHOLE = SAMPLE | {"optmuon"}  # whose rate falls with what it has seen: by itself the stacked kernel is too far away


def converging():
    """Every card on all kinds of leaves, the sample quickly; the others' references walk the matrix path quickly."""
    for name, card in om.registry.items():
        slow = () if name in WHOLE else pytest.mark.slow
        yield pytest.param(card, tuple(LEAVES), id=name, marks=slow)
        if name not in WHOLE:
            yield pytest.param(card, FEW, id=f"{name}-few", marks=slow)


@pytest.mark.parametrize(("card", "kinds"), [*converging()])
def test_converges_on_the_matrix_path_without_retracing(card, kinds):
    chex.clear_trace_counter()  # it counts by name, and the last card's function had the same
    steps, probe = 60, Probe()
    rate = optax.linear_schedule(0.05, 0.0, steps)
    tx = build(card, rate, placement=probe, leaves=nested({path: LEAVES[path] for path in kinds}))
    first, target = only(kinds, tree(0)), only(kinds, TARGET)
    if card.name in CONFINED:
        first = settled(tx, first)
        target = settled(tx, jax.tree.map(jnp.add, first, target))
    params = first
    state, start = tx.init(params), loss(params, target)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(params, state):
        return step(tx, params, state, target)

    for _ in range(steps):
        params, state = run(params, state)
    assert probe.seen >= (COUNT if kinds == tuple(LEAVES) else 3) or card.in_place
    matrices = [path for path in kinds if path in MATRICES]
    after, before = (loss(only(matrices, x), only(matrices, target)) for x in (params, first))
    assert after < 0.2 * before, "the matrices did not approach their target"
    assert loss(params, target) < 0.3 * start


def settled(tx, params):
    """Where an update without a gradient brings parameters: to the set that they may not leave."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return optax.apply_updates(params, tx.update(zeros, tx.init(params), params)[0])


def only(kinds, params):
    """The parameters of some paths."""
    return nested({path: params[path.split("/")[0]][path.split("/")[1]] for path in kinds})
