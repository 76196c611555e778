"""Every state that a version of the package has kept goes on: restored or migrated, it makes the same next update."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.matrices._check_state import state_differences
from optax_muon.matrices._paths import by_path
from tests.golden import states

VERSIONS = {file.stem: states.read(file) for file in sorted(states.FOLDER.glob("*.npz"))}
QUICK = {"muon", "lion_muon", "muon_sign"}  # the slow run takes every card
ROWS = [
    pytest.param(version, name, id=f"{version} {name}", marks=() if name in QUICK else pytest.mark.slow)
    for version, cards in VERSIONS.items()
    for name in cards
]
CLOSE = 1e-5  # relative to the update's largest entry
# Bases are eigenvectors, which another release of LAPACK may turn within a space of one eigenvalue.
LOOSE = {"soap": 1e-3, "splus": 1e-3, "kl_shampoo": 1e-4, "cosmos": 1e-3, "muadam": 1e-3}
# A projection's update is a difference of weights, forty times as large here, and is rounded as they are.
LOOSE |= {"proximal_muon": 1e-4}
# Whose rule was another on purpose, with the changelog's reason; the state is still read.
OTHER_RULE = {
    ("0.1.0.dev0", "spectra"): "the factor sqrt(max(1, out / in)) of its authors",
}
# What stood elsewhere: check_state names it, migrate moves it.
MOVED = {
    ("0.1.0.dev0", "lion_muon"): r"\(no parameter\): nothing -> hidden/3/count",
    ("0.1.0.dev0", "muon_sign"): "down/kernel: hidden/0/0/average -> hidden/0/average",
}


@pytest.fixture(autouse=True)
def _compiled_as_users_do():
    """Fewer optimizations round otherwise, by about what has to be seen here."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def restored(version, name):
    """The optimizer, its parameters, and the state as a checkpoint holds it: plain dicts."""
    card, trees = om.registry[name], VERSIONS[version][name]
    return states.optimizer(card), states.as_tree(trees["params"], states.arrays(0)), plain(trees["state"])


def plain(table):
    """Nest arrays in dicts by their paths, as checkpoints that know no types do."""
    tree = {}
    for path, x in table.items():
        *above, last = path.split("/")
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[last] = jnp.asarray(x)
    return tree


@pytest.mark.parametrize(("version", "name"), ROWS)
def test_the_next_update_is_the_one_it_was(version, name):
    tx, params, found = restored(version, name)
    if (version, name) in MOVED:
        with pytest.raises(ValueError, match=MOVED[version, name]):
            om.check_state(tx, params, found)
    else:
        om.check_state(tx, params, found)
    state = om.migrate(found, params, tx)
    assert not state_differences(jax.eval_shape(tx.init, params), params, state)
    updates, _ = jax.jit(tx.update)(states.arrays(9), state, params, value=jnp.float32(1.0))
    assert differs(by_path(updates), VERSIONS[version][name]["updates"], LOOSE.get(name, CLOSE)) == (
        (version, name) in OTHER_RULE
    )


def differs(found, expected, tolerance):
    """Whether an update is another, relative to its largest entry."""
    largest = max(float(np.abs(x).max()) for x in expected.values())
    return max(float(np.abs(found[path] - x).max()) for path, x in expected.items()) > tolerance * largest


def test_this_version_has_its_states():
    assert om.__version__ in VERSIONS
    assert set(VERSIONS[om.__version__]) == set(om.registry), "write them: python -m tests.golden.states"


def test_an_update_from_another_state_is_seen():
    tx, params, found = restored(om.__version__, "muon")
    state = jax.tree.map(lambda x: x * 1.01 if x.ndim else x, om.migrate(found, params, tx))
    updates, _ = tx.update(states.arrays(9), state, params)
    assert differs(by_path(updates), VERSIONS[om.__version__]["muon"]["updates"], CLOSE)


def test_what_cannot_be_carried_over_is_named():
    tx, params, found = restored(om.__version__, "muon")
    other = states.optimizer(om.registry["normuon"])
    with pytest.raises(ValueError, match=r"mean_square/down/kernel.*: the old state has no counterpart"):
        om.migrate(found, params, other)
    with pytest.raises(ValueError, match="mean_square/down/kernel.*: the new state has no place for it"):
        om.migrate(restored(om.__version__, "normuon")[2], params, tx)


def test_a_narrower_average_is_widened():
    tx, params, found = restored(om.__version__, "muon")
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, found)
    state = om.migrate(narrow, params, tx)
    assert not state_differences(jax.eval_shape(tx.init, params), params, state)
