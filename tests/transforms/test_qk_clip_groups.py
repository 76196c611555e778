"""QK-clip where query heads share keys, and where it has nothing to do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.transforms import qk_clip
from tests.references import qk_clip as reference

RNG = np.random.default_rng(0)
X, QUERY, KEY = RNG.normal(size=(2, 5, 6)), RNG.normal(size=(6, 4, 3)), RNG.normal(size=(6, 2, 3))
LARGEST = reference.largest_logits(X, QUERY, np.repeat(KEY, 2, axis=1))
TAU = float(np.sort(LARGEST)[1])  # three heads of two groups are above it


def tree(query, key, **more):
    return {"attn": {"query": {"kernel": query}, "key": {"kernel": key}, **more}}


def clipped(params, leaf, logits=LARGEST, threshold=TAU):
    tx = qk_clip(threshold, leaves=jax.tree.map(lambda w: leaf(w), params))
    updates, _ = tx.update(
        optax.tree.zeros_like(params), tx.init(params), params, max_logits={"attn": jnp.asarray(logits)}
    )
    new = optax.apply_updates(params, updates)["attn"]
    return [np.asarray(new[name]["kernel"]) for name in ("query", "key")]


LAYOUTS = {
    "heads": (lambda w: w, lambda w: om.Leaf("hidden", 0, (1, 2))),
    "a matrix for each head": (lambda w: w, lambda w: om.Leaf("hidden", 0, 2)),
    "fused": (lambda w: w.reshape(6, -1), lambda w: om.Leaf("hidden", 0, 1)),
    "bias": (lambda w: w[0].reshape(-1), lambda w: om.Leaf("vector")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shared", [1, 2, 4])
def test_the_least_of_a_group_counts_for_its_queries_and_its_key(layout, shared):
    turn, leaf = LAYOUTS[layout]
    key = RNG.normal(size=(6, 4 // shared, 3))
    expected = reference.clip_groups(QUERY, key, LARGEST, TAU)
    with jax.enable_x64(True):
        found = clipped(tree(jnp.asarray(turn(QUERY)), jnp.asarray(turn(key))), leaf)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, turn(b), rtol=1e-13)


def test_one_key_for_all_without_an_axis_of_heads():
    key = RNG.normal(size=(6, 1, 3))
    expected = reference.clip_groups(QUERY, key, LARGEST, TAU)
    with jax.enable_x64(True):
        params = tree(jnp.asarray(QUERY), jnp.asarray(key[:, 0]))
        found = clipped(params, lambda w: om.Leaf("hidden", 0, tuple(range(1, w.ndim))))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-13)
    np.testing.assert_allclose(found[1], expected[1][:, 0], rtol=1e-13)


def test_no_logit_of_the_batch_is_above_the_threshold_then():
    with jax.enable_x64(True):
        query, key = clipped(tree(jnp.asarray(QUERY), jnp.asarray(KEY)), LAYOUTS["heads"][1])
    assert reference.largest_logits(X, query, np.repeat(key, 2, axis=1)).max() <= TAU * (1 + 1e-12)


@pytest.mark.parametrize("name", ["query_norm", "q_norm", "key_ln", "qk_norm", "norm_q"])
def test_an_attention_that_normalizes_is_refused(name):
    params = tree(jnp.ones((6, 4, 3)), jnp.ones((6, 2, 3)), **{name: {"scale": jnp.ones(3)}})
    leaf = lambda w: om.Leaf("hidden", 0, (1, 2)) if w.ndim == 3 else om.Leaf("vector")  # noqa: E731
    with pytest.raises(ValueError, match=f"qk_clip: attn/{name}/scale normalizes queries or keys of 'attn'"):
        clipped(params, leaf)


def test_heads_that_cannot_share_are_refused():
    with pytest.raises(ValueError, match="4 heads of 'attn' cannot share keys: 12 and 9 features"):
        clipped(tree(jnp.ones((6, 4, 3)), jnp.ones((6, 3, 3))), LAYOUTS["heads"][1])


@pytest.mark.parametrize("cut", [True, False])
def test_inside_a_map_groups_lie_together_or_raise(cut):
    """Logits of a device's own heads serve keys that are cut like the queries, and no others."""
    mesh = jax.make_mesh((2,), ("tp",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    specs = {"query": P(None, "tp"), "key": P(None, "tp") if cut else P()}
    params = tree(jnp.asarray(QUERY, jnp.float32), jnp.asarray(KEY, jnp.float32))
    leaves = {"attn": {name: {"kernel": om.Leaf("hidden", 0, (1, 2), spec=spec)} for name, spec in specs.items()}}
    placed = {"attn": {name: {"kernel": spec} for name, spec in specs.items()}}

    def clip(params, logits):
        tx = qk_clip(TAU, leaves=leaves)
        return tx.update(optax.tree.zeros_like(params), tx.init(params), params, max_logits={"attn": logits})[0]

    mapped = jax.jit(jax.shard_map(clip, mesh=mesh, in_specs=(placed, P("tp")), out_specs=placed))
    if not cut:
        with pytest.raises(ValueError, match="heads of 'attn' are cut differently"):
            mapped(params, jnp.asarray(LARGEST, jnp.float32))
        return
    updates = mapped(params, jnp.asarray(LARGEST, jnp.float32))["attn"]
    expected = reference.clip_groups(QUERY, KEY, LARGEST, TAU)
    for name, before, after in zip(("query", "key"), (QUERY, KEY), expected, strict=True):
        np.testing.assert_allclose(before + updates[name]["kernel"], after, rtol=1e-5)
