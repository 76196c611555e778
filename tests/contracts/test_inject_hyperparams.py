"""Every number of every named optimizer can be kept in the state and changed there, as a user writes it."""

import functools
import inspect
import numbers

import jax
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.contracts.problem import MATRICES, OTHERS, PAIRED, nested, pair, with_extra_args

CARDS = [pytest.param(card, id=name) for name, card in om.registry.items()]
SAMPLE = {"muon", "scion", "soap"}
sampled = pytest.mark.parametrize(
    "card", [pytest.param(*c.values, id=c.id, marks=() if c.id in SAMPLE else pytest.mark.slow) for c in CARDS]
)
SMALL = ("tall/kernel", "wide/kernel", "lm_head/kernel", "square/bias")
LEAVES = nested({path: leaf for path, (_, leaf) in (MATRICES | OTHERS).items() if path in SMALL})
STEPS = 3
# Settings in which a number that acts late acts within the steps.
SETTINGS = {
    "soft_muon": {"steps": STEPS, "hard_fraction": 0.0},
    "soft_signum": {"steps": STEPS, "hard_fraction": 0.0},
    "limuon": {"rank": 2},
    **PAIRED,
    "riemannion": {"pairs": pair},
    "orscale": {"max_ratio": 1e3},
    "amuse": {"warmup_steps": 2},
    "diloco": {"period": 2},
    "muloco": {"period": 2},
    "proximal_muon": {"eps": 1.0},
    "mousse": {"refresh_every": 1},
    "newton_muon": {"refresh_every": 1},
    "shampoo": {"refresh_every": 1},
    # Signs along bases of null spaces are arbitrary: only sides of full rank, which have 6, are rotated.
    "splus": {"max_side": 7, "refresh_every": 1},
}
# What a number is changed to where multiples of it would not show: eps must be as large as its neighbour.
CHANGES = {
    ("adago", "clip"): 1.0,
    ("adago", "floor"): 1.0,
    ("adago", "start"): 10.0,
    ("soft_signum", "eps"): 0.5,
    "floor": 100.0,  # above what Gram matrices of the problem have
    "eps": 10.0,
    "seed": 1,
    "maximum_temperature": 1.0,
    "clip": 100.0,
    # The ratio has to meet its bounds.
    "min_ratio": 50.0,
    "max_ratio": 1e-3,
    "maximum": 0.1,
}
# Numbers whose change no update can show, and why.
SILENT: dict[tuple[str, str], str] = {
    ("adaptive_muon", "start"): "the factor at init, which the changed state has already",
    ("splus", "average_decay"): "the parameters' average is for evaluation; no update sees it",
}


def trees():
    """Random parameters, and gradients of every step."""
    rng = np.random.default_rng(0)
    shapes = {path: shape for path, (shape, _) in (MATRICES | OTHERS).items() if path in SMALL}
    return [nested({path: rng.normal(size=shape) for path, shape in shapes.items()}) for _ in range(STEPS + 1)]


def partition(card, make):
    """Build a card's optimizer for the whole tree, with ``make`` in the place of the card's own."""
    options = card.defaults | SETTINGS.get(card.name, {})
    if card.kind in ("roles", "any"):
        return make(card.learning_rate, leaves=LEAVES, **options)
    tx = om.for_matrices(make(card.learning_rate, **options), otherwise=optax.sgd(0.1), leaves=LEAVES)
    return with_extra_args(card, tx)


def walk(tx, change=None):
    """Parameters after some steps; ``change`` is done to the first state."""
    params, *gradients = trees()
    state = tx.init(params)
    state, update = change(state) if change else state, tx.update
    for grads in gradients:
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def hyperparams(state):
    """The injected numbers of a state."""
    is_injected = lambda x: isinstance(x, optax.InjectStatefulHyperparamsState)  # noqa: E731
    (found,) = [x for x in jax.tree.leaves(state, is_leaf=is_injected) if is_injected(x)]
    return found.hyperparams


def numeric(card):
    """Names of the card's arguments that are numbers, structure aside."""
    given = inspect.signature(card.make).bind(card.learning_rate, **card.defaults | SETTINGS.get(card.name, {}))
    given.apply_defaults()
    return {
        name
        for name, value in given.arguments.items()
        if isinstance(value, numbers.Real) and not isinstance(value, bool) and name not in card.static_args
    }


@pytest.fixture(autouse=True)
def x64():
    """Rounding of numbers to float32 is optax's doing, and signs and inverse roots make much of it."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("card", CARDS)
def test_every_number_is_in_the_state(card):
    tx = partition(card, om.inject_hyperparams(card.make))
    assert set(hyperparams(jax.eval_shape(tx.init, trees()[0]))) == numeric(card)


@sampled
def test_every_number_acts(card):
    jitted, plain = (
        optax.GradientTransformationExtraArgs(tx.init, jax.jit(tx.update))
        for tx in (partition(card, om.inject_hyperparams(card.make)), partition(card, card.make))
    )
    found = hyperparams(jitted.init(trees()[0]))
    injected, plain = walk(jitted), walk(plain)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6, rtol=0), injected, plain)
    for name in found:
        silent = (card.name, name) in SILENT
        assert any(acts(jitted, name, value, injected) for value in others(card, name, found[name])) != silent, name


def others(card, name, value):
    """What a number is changed to, further and further where nothing shows: a bound may be far from what it bounds."""
    chosen = CHANGES.get((card.name, name)) or CHANGES.get(name)
    return (chosen,) if chosen else (0.7 * value, 3 * value, 10 * value) if value else (0.1, 10.0)


def acts(jitted, name, value, before):
    """Whether parameters come out otherwise when a number in the first state is changed."""

    def change(state):
        values = hyperparams(state)
        values[name] = jax.numpy.asarray(value, values[name].dtype)
        return state

    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), walk(jitted, change), before)
    return max(jax.tree.leaves(moved)) > 1e-7
