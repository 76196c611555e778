"""A parameter has one name, whatever holds it, and globs speak of names."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path, matches


class Pair(NamedTuple):
    query: jax.Array
    value: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Projections:
    query: jax.Array
    value: jax.Array


@pytest.mark.parametrize("kind", [Pair, Projections])
def test_a_field_called_value_keeps_its_name(kind):
    tree = {"attention": kind(jnp.ones((4, 4)), jnp.ones((4, 4)))}
    assert set(by_path(tree)) == {"attention/query", "attention/value"}
    leaf = om.Leaf("hidden", 0, 1)
    tx = om.for_matrices(om.muon(0.1), optax.sgd(1.0), rules=[("attention/value", "frozen"), ("*", leaf)])
    updates, _ = tx.update(tree, tx.init(tree), tree)
    assert (updates["attention"].value == 0).all()
    assert (updates["attention"].query != 0).any()


def test_an_equinox_field_called_value_keeps_its_name():
    equinox = pytest.importorskip("equinox")

    class Critic(equinox.Module):
        value: equinox.nn.Linear

    class Bare(equinox.Module):
        value: jax.Array

    critic = Critic(equinox.nn.Linear(4, 8, key=jax.random.key(0)))
    assert set(by_path({"critic": critic, "bare": Bare(jnp.ones(2))})) == {
        "critic/value/weight", "critic/value/bias", "bare/value"}  # fmt: skip


def test_only_boxes_drop_theirs_and_those_inside_one_another_too():
    boxed = nn.Partitioned(jnp.ones((2, 2)), ("a", "b"))
    assert set(by_path(boxed)) == {""}
    assert set(by_path({"v": boxed, "w": nnx.Param(boxed)})) == {"v", "w"}
    assert set(by_path({"v": nnx.Param(Pair(jnp.ones(2), jnp.ones(2)))})) == {"v/query", "v/value"}


def test_two_parameters_of_one_path_are_an_error():
    with pytest.raises(ValueError, match=r"\['a'\]\['b'\] and \['a/b'\] have one path, 'a/b'"):
        om.for_matrices(om.muon(0.1), optax.sgd(1.0)).init({"a/b": jnp.ones((2, 2)), "a": {"b": jnp.ones((2, 2))}})


@jax.tree_util.register_pytree_with_keys_class
class Model:
    """A tree that can be called, as models of Equinox are."""

    def __init__(self, up):
        self.up = up

    def __call__(self, x):
        raise AssertionError("a tree of leaves was called")

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.GetAttrKey("up"), self.up)], None

    @classmethod
    def tree_unflatten(cls, static, children):
        return cls(*children)


def test_leaves_in_a_tree_that_can_be_called_are_not_called():
    model = Model(jnp.ones((4, 8)))
    leaves = jax.tree.map(lambda x: om.Leaf("hidden", 1, 0), model)
    assert "hidden" in om.describe(model, leaves).rows[0]
    tx = om.for_matrices(om.muon(0.02), optax.sgd(1.0), leaves=leaves)
    tx.update(model, tx.init(model), model)


@pytest.mark.parametrize(("path", "pattern", "fits"), [
    ("layer[0]/kernel", "layer[0]/kernel", True),
    ("model/layer[0]/kernel", "layer[0]/kernel", True),
    ("layer0/kernel", "layer[0]/kernel", True),  # a set of characters still, as in every glob
    ("layer[0]/kernel", "layer[[]*]/kernel", True),
    ("w", "/w", True),
    ("a/w", "/w", False),
    ("a/b/w", "/a/*/w", True),
    ("b/a/c/w", "/a/*/w", False),
])  # fmt: skip
def test_globs(path, pattern, fits):
    assert matches(path, pattern) is fits
