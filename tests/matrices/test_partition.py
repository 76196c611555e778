"""Partitions: what goes where, under every way to hold parameters."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_muon as om
from tests.contracts.problem import MATRICES, OTHERS, RULES, Probe, nested, tree

pytestmark = pytest.mark.thinned(2)

LEAVES = nested({path: leaf for path, (_, leaf) in (MATRICES | OTHERS).items()})


def test_labels_are_roles():
    roles = om.label(tree(0), rules=RULES)
    assert roles["stacked"] == {"kernel": "hidden", "bias": "vector"}
    assert roles["embed"]["embedding"] == "embedding"
    assert roles["lm_head"]["kernel"] == "head"
    assert om.labels(LEAVES)(tree(0)) == roles


def test_every_role_its_own_optimizer():
    make = functools.partial(om.muon, 0.02, leaves=LEAVES)
    groups = {"hidden": make(), "embedding": optax.sgd(1.0), "head": optax.sgd(10.0), "vector": optax.set_to_zero()}
    tx = optax.multi_transform(groups, om.labels(LEAVES))
    params = tree(0)
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(updates["lm_head"]["kernel"], -10 * params["lm_head"]["kernel"], rtol=1e-6)
    assert (updates["square"]["bias"] == 0).all()
    assert jnp.linalg.norm(updates["square"]["kernel"], 2) < 0.03


def test_for_matrices_sends_matrices_one_way_and_the_rest_another():
    probe = Probe()
    tx = om.for_matrices(functools.partial(om.muon, 0.02, placement=probe), optax.sgd(1.0), rules=RULES)
    params = tree(0)
    updates, _ = tx.update(params, tx.init(params), params)
    assert probe.seen == 10
    for path in OTHERS:
        module, name = path.split("/")
        np.testing.assert_array_equal(updates[module][name], -params[module][name])


def test_for_matrices_freezes():
    rules = [("square/*", "frozen"), *RULES]
    tx = om.for_matrices(functools.partial(om.muon, 0.02), optax.sgd(1.0), rules=rules)
    params = tree(0)
    updates, state = tx.update(params, tx.init(params), params)
    assert all((x == 0).all() for x in updates["square"].values())
    assert not any("square" in str(path) for path, _ in jax.tree_util.tree_flatten_with_path(state)[0])


def test_leaves_are_said_once():
    given = om.for_matrices(functools.partial(om.muon, 0.02), optax.sgd(1.0), leaves=LEAVES)
    ruled = om.for_matrices(functools.partial(om.muon, 0.02), optax.sgd(1.0), rules=RULES)
    params = tree(0)
    a, b = (tx.update(params, tx.init(params), params)[0] for tx in (given, ruled))
    jax.tree.map(np.testing.assert_array_equal, a, b)


SAID = pytest.mark.parametrize("options", [{"leaves": LEAVES}, {"rules": RULES}], ids=["leaves", "rules"])


@SAID
@pytest.mark.parametrize(
    "make",
    [
        lambda: om.muon(0.02),
        lambda: om.inject_hyperparams(om.muon)(0.02),
        lambda: functools.partial(om.inject_hyperparams(om.muon), 0.02),
        lambda: optax.inject_hyperparams(om.muon)(learning_rate=0.02),
        lambda: optax.inject_hyperparams(lambda rate: optax.chain(om.muon(rate), optax.identity()))(rate=0.02),
    ],
    ids=["named", "om injected", "om injected partial", "optax injected", "optax injected chain"],
)
def test_what_remembers_its_making_hears_the_axes(make, options):
    params = tree(0)
    plain = om.for_matrices(functools.partial(om.muon, 0.02), optax.sgd(1.0), **options)
    tx = om.for_matrices(make(), optax.sgd(1.0), **options)
    expected, _ = plain.update(params, plain.init(params), params)
    updates, state = jax.jit(tx.update)(params, tx.init(params), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), updates, expected)
    tx.update(params, state, params)


@SAID
def test_axes_with_a_chain_are_an_error(options):
    with pytest.raises(ValueError, match="already built and cannot hear.*lambda leaves"):
        om.for_matrices(optax.chain(om.muon(0.02), optax.clip(1.0)), optax.sgd(1.0), **options)
    with pytest.raises(ValueError, match="takes none"):
        om.for_matrices(optax.inject_hyperparams(optax.sgd)(0.1), optax.sgd(1.0), **options).init(tree(0))


@SAID
@pytest.mark.parametrize("make", [lambda **own: om.muon(0.02, **own), lambda **own: functools.partial(om.muon, **own)])
def test_axes_said_twice_are_an_error(make, options):
    with pytest.raises(ValueError, match="leaves of its own"):
        om.for_matrices(make(leaves=LEAVES), optax.sgd(1.0), **options)


def test_an_optimizers_own_leaves_are_kept():
    params = {"up": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(2, 8)), jnp.float32)}}
    own = {"up": {"kernel": om.Leaf("hidden", 1, 0)}}
    expected, _ = (alone := om.muon(0.02, leaves=own)).update(params, alone.init(params), params)
    for make in (om.muon(0.02, leaves=own), functools.partial(om.muon, 0.02, leaves=own)):
        tx = om.for_matrices(make, optax.sgd(1.0))
        updates, _ = tx.update(params, tx.init(params), params)
        np.testing.assert_array_equal(updates["up"]["kernel"], expected["up"]["kernel"])


def test_a_changed_copy_is_not_made_again():
    copy = om.muon(0.02)._replace(update=optax.identity().update)
    with pytest.raises(ValueError, match="cannot hear"):
        om.for_matrices(copy, optax.sgd(1.0), rules=RULES)


def test_model_without_matrices_is_an_error_and_an_empty_tree_is_not():
    tx = om.for_matrices(om.muon(0.02), optax.sgd(1.0))
    with pytest.raises(ValueError, match="no hidden matrix among 1 parameters"):
        tx.init({"bias": jnp.ones(3)})
    nothing = om.describe({"bias": jnp.ones(3)})
    assert [row[:3] for row in nothing.rows] == [("bias", "3", "vector")]
    assert nothing.summary.startswith("no hidden matrix among 1 parameters")
    tx.init({})


def test_missing_leaf_is_named():
    with pytest.raises(om.UnknownLeafError, match="square/kernel"):
        om.label(tree(0), {"square": {"bias": om.Leaf("vector")}})


def test_describe_tells_path_axes_reason_and_guesses():
    text = str(
        om.describe(
            {"Dense_0": {"kernel": jnp.ones((4, 8)), "bias": jnp.ones(8)}, "lm_head": {"kernel": jnp.ones((4, 9))}}
        )
    )
    row = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in text.splitlines()
        if "│" in line
    }
    assert row["Dense_0/kernel"] == ["4x8", "hidden", "0", "1", "-", row["Dense_0/kernel"][5]]
    assert "the model has no other matrix (assumed)" in row["Dense_0/kernel"][5]
    assert row["Dense_0/bias"][1] == "vector"
    assert row["lm_head/kernel"][1] == "head"
    assert "1 of 3 parameters are hidden matrices; 1 assumed" in text


def test_describe_shows_split_and_batch_axes():
    rows = {row[0]: row for row in om.describe(tree(0), rules=RULES).rows}
    assert rows["stacked/kernel"][2:6] == ("hidden", "1", "2", "0")
    assert "split (6, 6, 6) of output" in rows["fused/kernel"][-1]


def test_dimension_numbers():
    numbers = om.dimension_numbers({"a": om.Leaf("hidden", 1, 2), "b": om.Leaf("vector")})
    assert numbers["a"] == optax.contrib.MuonDimensionNumbers((1,), (2,))
    assert numbers["b"] is None
    with pytest.raises(ValueError, match="a: .*split"):
        om.dimension_numbers({"a": om.Leaf("hidden", 0, 1, (2, 2))})


class Model(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(5, 4, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)
        self.up = nnx.Linear(4, 8, rngs=rngs)

    def __call__(self, ids):
        return self.up(self.attention(self.embed(ids)))


def test_nnx_optimizer_labels_alike_at_init_and_update():
    probe = Probe()
    model = Model(nnx.Rngs(0))
    tx = om.for_matrices(om.muon(0.02, placement=probe), otherwise=optax.adam(1e-2))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    before = jax.tree.map(jnp.copy, before)

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda model: jnp.mean(model(jnp.arange(3)[None]) ** 2))(model)
        optimizer.update(model, grads)

    step(model, optimizer)
    assert probe.seen == 5
    moved = jax.tree.map(lambda a, b: a - b, nnx.to_pure_dict(nnx.state(model, nnx.Param)), before)
    size = jnp.linalg.norm(moved["up"]["kernel"], 2) / (0.02 * 2**0.5)
    assert 0.8 < size < 1.2, "the update of up has spectral norm 0.02 sqrt(out/in)"


def test_extra_arguments_pass_the_partition():
    seen = {}

    def update(updates, state, params=None, *, value, **extra):
        seen["value"] = value
        return updates, state

    spy = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    tx = om.for_matrices(optax.chain(spy, om.muon(0.02)), optax.sgd(1.0))
    params = {"up": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    tx.update(params, tx.init(params), params, value=3.0)
    assert seen == {"value": 3.0}


BROKEN = {
    "down/kernel: a parameter .8, 4. without a gradient": {"up": {"kernel": jnp.ones((4, 8))}},
    "down/kernel: gradient .4, 8., parameter .8, 4.": {
        "up": {"kernel": jnp.ones((4, 8))},
        "down": {"kernel": jnp.ones((4, 8))},
    },
    "more/kernel: a gradient .2, 2. without a parameter": {"more": {"kernel": jnp.ones((2, 2))}},
}


@pytest.mark.parametrize("message", BROKEN)
def test_gradients_of_other_parameters_are_named(message):
    params = {"up": {"kernel": jnp.ones((4, 8))}, "down": {"kernel": jnp.ones((8, 4))}}
    tx = om.for_matrices(om.muon(0.02), otherwise=optax.sgd(1.0))
    with pytest.raises(ValueError, match=message + "(.|\n)*by a rule"):
        tx.update(BROKEN[message], tx.init(params), params)


def test_input_layers_go_to_the_other_optimizer_and_are_labelled_on_request():
    params = {"stem": {"kernel": jnp.ones((4, 4))}, "up": {"kernel": jnp.ones((4, 4))}}
    leaves = {"stem": {"kernel": om.Leaf("input", 0, 1)}, "up": {"kernel": om.Leaf("hidden", 0, 1)}}
    assert om.label(params, leaves)["stem"]["kernel"] == "hidden"
    assert om.label(params, leaves, input=True)["stem"]["kernel"] == "input"
    tx = om.for_matrices(om.muon(1.0), optax.sgd(0.5), leaves=leaves)
    updates, _ = tx.update(params, tx.init(params), params)
    assert (updates["stem"]["kernel"] == -0.5).all()
    brought_back = om.for_matrices(om.muon(1.0), optax.sgd(0.5), leaves=leaves, rules=[("stem/*", "hidden")])
    both, _ = brought_back.update(params, brought_back.init(params), params)
    chex.assert_trees_all_equal(both["stem"], both["up"])
    alone = om.muon(1.0, leaves=leaves)  # as multi_transform sends it by today's labels
    chex.assert_trees_all_equal(alone.update(params, alone.init(params), params)[0], both)
