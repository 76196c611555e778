"""Every named optimizer on random trees: the same updates compiled or not, scanned or looped, in any container."""

import random
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

import optax_muon as om
from optax_muon.matrices._paths import by_path
from tests.contracts.problem import AHEAD, SHARDED, with_extra_args
from tests.fuzz import names, spectra
from tests.fuzz.kind import Kind

MATRICES = (
    ((3, 4), om.Leaf("hidden", 0, 1)),
    ((4, 3), om.Leaf("hidden", 1, 0)),
    ((4, 4), om.Leaf("hidden", 0, 1)),
    ((1, 4), om.Leaf("hidden", 0, 1)),
    ((2, 3, 4), om.Leaf("hidden", 1, 2)),
    ((2, 2, 3), om.Leaf("hidden", (0, 1), 2)),
    ((3, 8), om.Leaf("hidden", 0, 1, split=(4, 4))),
    ((3, 6), om.Leaf("hidden", 0, 1, split=(4, 2))),
)
OTHERS = (((4,), om.Leaf("vector")), ((2, 4), om.Leaf("vector")), ((5, 4), om.Leaf("embedding", 0, 1)))
WAYS = ("eager", "scan", "renamed", "within", *names.FORMS)
RANDOM = ("limuon", "low_rank_muon", "spectra", "cosmos", "dion")  # whose random keys follow from a parameter's path
STEPS = 3
ENTRIES = tuple(kind for kind in spectra.SPECTRA if kind not in ("nan", "ones"))


class Run(NamedTuple):
    """An optimizer, a model as path -> number of its shape, the other way to run it, and the gradients' words."""

    card: str
    model: tuple[tuple[str, int], ...]
    way: str
    gradients: tuple[spectra.Matrix, ...]


def run_of(seed: int) -> Run:
    """Make a model of two or three matrices and an array of another kind, from one number."""
    rng = random.Random(seed)
    places = rng.sample([f"{layer}{module}/kernel" for layer in ("", "layers/0/") for module in names.MODULES], 4)
    model = [(path, rng.randrange(len(MATRICES))) for path in places[: rng.choice((2, 3))]]
    model.append((places[3], len(MATRICES) + rng.randrange(len(OTHERS))))
    # Sizes far apart are the rule of `maps`; here they are ordinary.
    words = (spectra.Matrix(rng.choice(ENTRIES), rng.choice((1.0, 1e-3, 1e3)), rng.randrange(2**32)) for _ in model)
    return Run(rng.choice(sorted(om.registry)), tuple(sorted(model)), rng.choice(WAYS), tuple(words))


def optimizer(card: om.Card, leaves: Any) -> optax.GradientTransformationExtraArgs:
    """Build a card's optimizer for a whole tree, with options under which rounding stays small."""
    options = card.defaults | {k: v for k, v in SHARDED.get(card.name, {}).items() if k != "leaves"}

    def make(leaves):
        return card.make(0.05, leaves=leaves, **options)

    if card.kind in ("roles", "any"):
        return optax.with_extra_args_support(make(leaves))
    tx = om.for_matrices(make, otherwise=optax.sgd(0.05), leaves=leaves)
    return with_extra_args(card, tx)


def model(run: Run) -> tuple[dict, dict, list[dict]]:
    """Give leaves, parameters and the gradients of every step, by path."""
    known = MATRICES + OTHERS
    leaves = {path: known[i][1] for path, i in run.model}
    shapes = {path: known[i][0] for path, i in run.model}
    rng = np.random.default_rng(run.gradients[0].seed)
    params = {path: jnp.asarray(rng.normal(size=shape), jnp.float32) for path, shape in shapes.items()}

    def gradient(word: spectra.Matrix, shape: tuple[int, ...], step: int) -> jax.Array:
        flat = (int(np.prod(shape[:-1])), shape[-1])
        x = spectra.SPECTRA[word.spectrum](np.random.default_rng([word.seed, step]), *flat)
        return jnp.asarray(x.reshape(shape) * word.scale, jnp.float32)

    grads = [
        {path: gradient(word, shape, step) for word, (path, shape) in zip(run.gradients, shapes.items(), strict=True)}
        for step in range(STEPS)
    ]
    return leaves, params, grads


def walk(tx, params, grads, jit=True):
    """Give the parameters after every gradient, updates being applied."""
    state, update = tx.init(params), jax.jit(tx.update) if jit else tx.update
    for one in grads:
        updates, new = update(one, state, params, value=jnp.float32(1.0))
        jax.tree.map(same_kind, (updates, new), (params, state))
        params, state = optax.apply_updates(params, updates), new
    return params


def same_kind(a, b):
    """An update keeps shapes and dtypes."""
    assert (a.shape, a.dtype) == (b.shape, b.dtype)


def scanned(tx, params, grads):
    """The same, in one `jax.lax.scan`."""

    def body(carry, one):
        params, state = carry
        updates, state = tx.update(one, state, params, value=jnp.float32(1.0))
        return (optax.apply_updates(params, updates), state), None

    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *grads)
    return jax.jit(lambda params, xs: jax.lax.scan(body, (params, tx.init(params)), xs)[0][0])(params, stacked)


def other_way(run: Run, leaves: dict, params: dict, grads: list[dict]) -> dict[str, Any]:
    """Run another way, and give the parameters by the paths they had."""
    card = om.registry[run.card]
    to, back = {path: path for path in params}, names.nested
    form = names.FORMS.get(run.way, lambda tree: tree)
    if run.way == "renamed":  # so that the parameters come in the opposite order
        to = {path: f"{'zyxw'[i]}_{i}/kernel" for i, path in enumerate(sorted(params))}
    if run.way == "within":
        to = {path: f"model/{path}" for path in params}
    there = [form(back({to[path]: x for path, x in tree.items()})) for tree in (params, *grads)]
    tx = optimizer(card, back({to[path]: leaf for path, leaf in leaves.items()}))
    last = scanned(tx, there[0], there[1:]) if run.way == "scan" else walk(tx, there[0], there[1:], run.way != "eager")
    found = by_path(last)
    return {path: found[to[path]] for path in params}


def check(run: Run):
    """Compare the two ways, after some steps."""
    leaves, params, grads = model(run)
    tree = names.nested
    expected = by_path(walk(optimizer(om.registry[run.card], tree(leaves)), tree(params), [tree(g) for g in grads]))
    found = other_way(run, leaves, params, grads)
    for path, x in expected.items():
        assert np.isfinite(x).all(), f"{run.card}: {path} is not finite"
        if run.card not in RANDOM or run.way not in ("renamed", "within"):
            error = float(np.abs(found[path] - x).max())
            assert error <= 2e-5 * AHEAD.get(run.card, 1), f"{run.card}, {run.way}: {path} is {error:.1e} away"
    return [run]


KIND = Kind("cards", st.integers(0, 2**62).map(run_of), check, quick=2, share=0.01, minutes=10)
