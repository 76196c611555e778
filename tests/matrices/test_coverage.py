"""Rules and leaves that match nothing, and leaves at inner nodes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_muon as om
from tests.contracts.problem import MATRICES, OTHERS, RULES, nested, tree

LEAVES = nested({path: leaf for path, (_, leaf) in (MATRICES | OTHERS).items()})

SLIP = [("lm_hed/*", "frozen"), *RULES]
LOST = {**LEAVES, "squre": {"kernel": om.Leaf("hidden", 0, 1)}}


@pytest.mark.parametrize(("options", "says"), [({"rules": SLIP}, "rule 'lm_hed/.'.*'lm_head/kernel'"),
                                               ({"leaves": LOST}, "leaf 'squre/kernel'.*'square/kernel'")])  # fmt: skip
def test_what_matches_nothing_is_an_error(options, says):
    params = tree(0)

    def partition(**strict):
        return om.for_matrices(om.muon(0.02), optax.sgd(1.0), **options, **strict).init(params)

    def labels(**strict):
        return om.labels(**options, **strict)(params)

    for ask in (partition, labels, functools.partial(om.label, params, **options), functools.partial(
        om.describe, params, **options)):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            ask()
        ask(strict=False)


def test_a_rule_of_other_readings_matches_too():
    model = nnx.eval_shape(lambda: nnx.Linear(4, 8, rngs=nnx.Rngs(0)))
    kernel = {"up": {"kernel": jnp.ones((4, 8))}}
    for ask in (functools.partial(om.leaves, kernel), functools.partial(om.leaves_from_flax, model)):
        with pytest.raises(ValueError, match="rule 'kernl': the nearest is '.*kernel'"):
            ask(rules=[("kernl", "frozen")])
        ask(rules=[("kernl", "frozen")], strict=False)


def test_a_shadowed_rule_has_matched_and_a_part_of_a_tree_is_not_asked():
    rules = [("*", "other"), ("square/kernel", om.Leaf("hidden", 0, 1))]
    assert om.leaves(tree(0), rules)["square"]["kernel"].role == "other"
    tx = om.for_matrices(om.muon(0.02), optax.sgd(1.0), rules=RULES)
    optax.masked(tx, {key: key != "lm_head" for key in tree(0)}).init(tree(0))
    tx.init({})


def test_a_leaf_at_an_inner_node_holds_for_all_below():
    params = {"layers": {"up": jnp.ones((2, 3, 4)), "down": jnp.ones((2, 4, 3))}, "head": jnp.ones((3, 5))}
    leaves = {"layers": om.Leaf("hidden", 1, 2), "head": om.Leaf("head", 0, 1)}
    full = {"layers": {name: om.Leaf("hidden", 1, 2) for name in params["layers"]}, "head": om.Leaf("head", 0, 1)}
    assert om.label(params, leaves) == om.label(params, full)
    a, b = (om.for_matrices(om.muon(0.02), optax.sgd(1.0), leaves=tree) for tree in (leaves, full))
    a, b = (tx.update(params, tx.init(params), params)[0] for tx in (a, b))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    with pytest.raises(ValueError, match="layers/bias: shape"):
        om.label({**params, "layers": {**params["layers"], "bias": jnp.ones(3)}}, leaves)
    root = om.muon(0.02, leaves=om.Leaf("hidden", 1, 2))
    root.update(params["layers"], root.init(params["layers"]), params["layers"])
