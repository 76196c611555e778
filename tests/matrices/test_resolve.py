"""Leaves are found once per tree, and an answer is kept only as long as everything it depends on is the same."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.matrices import _paths, _resolve
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import findings
from optax_muon.matrices.names import _read, _whole


@pytest.fixture(autouse=True)
def nothing_is_known():
    _read._read_names.cache_clear()
    _whole._wholes.clear()
    _resolve._answer.cache_clear()
    _paths._names.clear()


def model(layers=4):
    return {
        f"layer_{i}": {"up_proj": {"kernel": jnp.ones((4, 8)), "bias": jnp.ones((8,))}} for i in range(layers)
    }  # fmt: skip


def test_names_are_read_once_for_the_whole_and_its_parts():
    params = model()
    tx = om.for_matrices(om.muon(0.02), otherwise=optax.adam(1e-3))
    jax.make_jaxpr(lambda x: tx.update(x, tx.init(x), x))(params)
    assert _read._read_names.cache_info().misses == 1


def test_a_tree_is_resolved_once_for_all_stages():
    leaves = {f"layer_{i}": {"up_proj": {"kernel": om.Leaf("hidden", 0, 1)}} for i in range(4)}
    params = {name: {"up_proj": {"kernel": layer["up_proj"]["kernel"]}} for name, layer in model().items()}
    tx = om.normuon(0.02, leaves=leaves)
    jax.make_jaxpr(lambda x: tx.update(x, tx.init(x), x))(params)
    info = _resolve._answer.cache_info()
    assert info.misses == 1
    assert info.hits > 2


def test_answers_follow_what_tells():
    params = {"up": {"kernel": jnp.ones((4, 8))}}
    given = {"up": {"kernel": om.Leaf("hidden", 0, 1, why="first")}}

    def found(leaves=None, rules=(), tree=params):
        return findings(tree, leaves, rules)["up/kernel"]

    assert found().leaf.role == "hidden"
    assert found(rules=[("up/*", "head")]).leaf.role == "head"
    assert found(rules=[("up/*", om.Leaf("hidden", 1, 0))]).leaf.reduction == (1,)
    assert found(rules=[("up/*", om.Leaf("hidden", 0, 1))]).leaf.reduction == (0,)
    assert found(given).reason == "first"
    given["up"]["kernel"] = om.Leaf("hidden", 0, 1, why="equal, and told by another")
    assert found(given).reason == "equal, and told by another"
    given["up"]["kernel"] = om.Leaf("hidden", 1, 0)
    assert found(given).leaf.reduction == (1,)
    assert found(tree={"up": {"kernel": jnp.ones((4,))}}).leaf.role == "vector"


def test_a_callable_is_asked_every_time():
    asked = []

    def leaves(params):
        asked.append(jax.tree.structure(params))
        return {"up": {"kernel": om.Leaf("hidden", len(asked) % 2, 1 - len(asked) % 2)}}

    params = {"up": {"kernel": jnp.ones((4, 8))}}
    assert [findings(params, leaves)["up/kernel"].leaf.reduction for _ in range(2)] == [(1,), (0,)]


def test_errors_are_raised_every_time():
    params = {"layers": {"kernel": jnp.ones((3, 4, 8))}}
    for _ in range(2):
        with pytest.raises(om.UnknownLeafError, match="layers/kernel"):
            findings(params)
        with pytest.raises(om.UnknownLeafError, match="no such path; they have down, up"):
            findings(params, {"up": om.Leaf("vector"), "down": om.Leaf("vector")})
        with pytest.raises(ValueError, match="has no distinct axes"):
            findings(params, rules=[("layers/*", om.Leaf("hidden", 1, 3))])


def test_no_array_is_kept_alive():
    params = {"up": {"kernel": jax.device_put(np.ones((4, 8), np.float32))}}
    seen = weakref.ref(params["up"]["kernel"])
    findings(params)
    by_path(params)
    del params
    gc.collect()
    assert seen() is None


def test_what_is_kept_is_bounded():
    for i in range(_paths.KNOWN_STRUCTURES + 8):
        findings({f"up_{i}": {"kernel": jnp.ones((4, 8))}})
    assert len(_paths._names) <= _paths.KNOWN_STRUCTURES
    assert _resolve._answer.cache_info().currsize <= 32


def test_the_answer_cannot_be_changed():
    with pytest.raises(TypeError):
        findings({"up": {"kernel": jnp.ones((4, 8))}})["up/kernel"] = None


@jax.tree_util.register_pytree_with_keys_class
class Node:
    """A node with a static part."""

    def __init__(self, child, static):
        self.child, self.static = child, static

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.GetAttrKey("child"), self.child)], self.static

    @classmethod
    def tree_unflatten(cls, static, children):
        return cls(*children, static)


@pytest.mark.parametrize("static", [[2], np.arange(3)], ids=["no hash", "no truth"])
def test_structures_that_cannot_be_compared_have_names_too(static):
    for name in ("up", "down"):
        assert by_path(Node({name: 1}, static.copy())) == {f"child/{name}": 1}
    assert by_path(Node({"up": 2}, static.copy())) == {"child/up": 2}
