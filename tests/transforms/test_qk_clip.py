"""QK-clip against its reference, on every layout of heads, and on a run whose logits would grow."""

import functools

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

pytestmark = pytest.mark.thinned(2)

RNG = np.random.default_rng(0)
HEADS = om.Leaf("hidden", 0, (1, 2))
X, QUERY, KEY = RNG.normal(size=(2, 5, 6)), RNG.normal(size=(6, 3, 4)), RNG.normal(size=(6, 3, 4))
STEP = 0.1 * RNG.normal(size=(2, 6, 3, 4))
LARGEST = reference.largest_logits(X, QUERY, KEY)
TAU = float(np.median(LARGEST))  # one head above it, one at it, one below


def pair(query, key):
    return {"attention": {"query": {"kernel": jnp.asarray(query)}, "key": {"kernel": jnp.asarray(key)}}}


def leaves(leaf=HEADS):
    return {"attention": {name: {"kernel": leaf} for name in ("query", "key")}}


def after(params, step, logits, threshold=TAU, leaf=HEADS, **options):
    tx = qk_clip(threshold, leaves=leaves(leaf), **options)
    updates, _ = tx.update(step, tx.init(params), params, max_logits=logits)
    new = optax.apply_updates(params, updates)["attention"]
    return updates["attention"], [np.asarray(new[name]["kernel"]) for name in ("query", "key")]


def test_as_the_reference_and_untouched_heads_bit_for_bit():
    with jax.enable_x64(True):
        updates, new = after(pair(QUERY, KEY), pair(*STEP), {"attention": jnp.asarray(LARGEST)})
    expected = reference.clip(QUERY + STEP[0], KEY + STEP[1], LARGEST, TAU)
    np.testing.assert_allclose(new, expected, rtol=1e-13)
    still = LARGEST <= TAU
    assert 0 < still.sum() < 3
    for name, u in zip(("query", "key"), STEP, strict=True):
        assert (np.asarray(updates[name]["kernel"])[:, still] == u[:, still]).all()


def test_the_same_batch_then_has_its_largest_logits_at_the_threshold():
    with jax.enable_x64(True):
        zeros = pair(*np.zeros_like(STEP))
        _, new = after(pair(QUERY, KEY), zeros, {"attention": jnp.asarray(LARGEST)})
    np.testing.assert_allclose(reference.largest_logits(X, *new), np.minimum(LARGEST, TAU), rtol=1e-13)


@pytest.mark.parametrize(
    ("leaf", "turn", "stacked"),
    [
        (om.Leaf("hidden", 0, 2), lambda w: w, False),  # a matrix per head
        (om.Leaf("hidden", 0, 1), lambda w: w.reshape(*w.shape[:-2], 12), False),
        (om.Leaf("hidden", 1, (2, 3)), lambda w: w, True),
        (om.Leaf("hidden", 1, 3), lambda w: w, True),
        (om.Leaf("hidden", 1, 2), lambda w: w.reshape(*w.shape[:-2], 12), True),
        (om.Leaf("hidden", 2, (0, 1)), lambda w: np.moveaxis(w, 0, 2), False),
        (om.Leaf("vector"), lambda w: w[0], False),  # biases, (heads, width) and flat
        (om.Leaf("vector"), lambda w: w[0].reshape(12), False),
        (om.Leaf("vector"), lambda w: w[:, 0].reshape(2, 12), True),
    ],
)
def test_every_layout_of_heads(leaf, turn, stacked):
    logits, weights, step = LARGEST, (QUERY, KEY), STEP
    expected = reference.clip(*(w + u for w, u in zip(weights, step, strict=True)), logits, TAU)
    if stacked:  # the second layer has other logits
        logits = np.stack([LARGEST, 2 * LARGEST])
        weights, step = [np.stack([w, w]) for w in weights], [np.stack([u, u]) for u in step]
        other = reference.clip(QUERY + STEP[0], KEY + STEP[1], 2 * LARGEST, TAU)
        expected = [np.stack(layers) for layers in zip(expected, other, strict=True)]
    with jax.enable_x64(True):
        given = pair(*map(turn, weights)), pair(*map(turn, step)), {"attention": jnp.asarray(logits)}
        _, new = after(*given, leaf=leaf)
    np.testing.assert_allclose(new, [turn(w) for w in expected], rtol=1e-12)


def test_exponents_of_latent_attention_and_paths_that_flax_sows():
    names = {"query": 0.5, "key": 0.5, "query_rope": 1.0}
    params = {"blocks": {0: {"attention": {n: {"kernel": jnp.ones((2, 1, 2))} for n in (*names, "key_rope")}}}}
    tx = qk_clip(1.0, exponents=names, leaves=lambda p: jax.tree.map(lambda _: HEADS, p))
    sown = {"blocks": {0: {"attention": {"max_logit": (jnp.array([4.0]),)}}}}
    updates, _ = tx.update(optax.tree.zeros_like(params), tx.init(params), params, max_logits=sown)
    new = {
        k: float(v["kernel"][0, 0, 0])
        for k, v in optax.apply_updates(params, updates)["blocks"][0]["attention"].items()
    }
    assert new == {"query": 0.5, "key": 0.5, "query_rope": 0.25, "key_rope": 1.0}


def test_what_is_not_finite_clips_nothing_and_low_precision_stays():
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), pair(QUERY, KEY))
    zeros = optax.tree.zeros_like(params)
    updates, _ = after(params, zeros, {"attention": jnp.array([-jnp.inf, jnp.nan, jnp.inf])})
    for name in ("query", "key"):
        assert updates[name]["kernel"].dtype == jnp.bfloat16
        assert not updates[name]["kernel"].any()
    low, _ = after(params, zeros, {"attention": jnp.array([4 * TAU] * 3)})
    np.testing.assert_allclose(np.asarray(low["key"]["kernel"], np.float32), -0.5 * KEY, rtol=0.02)


def test_refusals():
    params, zeros, logits = pair(QUERY, KEY), pair(*np.zeros_like(STEP)), jnp.asarray(LARGEST)
    with pytest.raises(ValueError, match="threshold must be positive, not -1"):
        qk_clip(-1.0)
    with pytest.raises(ValueError, match="exponent of 'query' must be from 0 to 1, not 2"):
        qk_clip(1.0, exponents={"query": 2})
    tx = qk_clip(1.0, leaves=leaves())
    with pytest.raises(ValueError, match="update needs max_logits"):
        tx.update(zeros, tx.init(params), params)
    with pytest.raises(ValueError, match="no parameters of 'query' belong to the logits of 'attn'"):
        after(params, zeros, {"attn": logits})
    with pytest.raises(ValueError, match=r"attention/(query|key)/kernel of shape \(6, 3, 4\) does not hold \(2,\)"):
        after(params, zeros, {"attention": logits[:2]})


def attend(params, x):
    q, k = (jnp.einsum("btd,dhk->bhtk", x, params["attention"][n]["kernel"]) for n in ("query", "key"))
    logits = q @ k.mT / 2
    return jax.nn.softmax(logits), logits.max(axis=(0, 2, 3))


@functools.partial(jax.jit, static_argnames="clips")
def run(params, clips):
    """Muon sharpens an attention onto one target; give the largest logits of every step."""
    x, target = jnp.asarray(X, jnp.float32), jax.nn.one_hot(jnp.arange(5), 5)
    tx = om.muon(0.1, leaves=leaves())
    tx = optax.chain(tx, qk_clip(5.0, leaves=leaves())) if clips else tx

    def loss(params):
        weights, largest = attend(params, x)
        return -jnp.mean(jnp.einsum("ts,bhts->bht", target, jnp.log(weights + 1e-9))), largest

    def step(carry, _):
        params, state = carry
        grads, largest = jax.grad(loss, has_aux=True)(params)
        updates, state = tx.update(grads, state, params, max_logits={"attention": largest})
        return (optax.apply_updates(params, updates), state), largest

    return jax.lax.scan(step, (params, tx.init(params)), length=60)[1]


def test_a_run_that_would_exceed_the_threshold_does_not():
    params = jax.tree.map(lambda w: 0.3 * w.astype(jnp.float32), pair(QUERY, KEY))
    free, clipped = (np.asarray(run(params, clips)) for clips in (False, True))
    assert free[0].max() < 5 < 15 < free[-1].max()
    assert clipped.max() < 6.5  # a step may add to what the one before was clipped to
    assert (clipped[-10:].max(axis=0) > 4).any()


LOGITS = jnp.array([[1.0, 9.0, 4.0, 2.0], [3.0, 5.0, 16.0, 0.5]])  # of four heads, on either half of a batch
CUTS = {
    "heads": ((6, 4, 2), om.Leaf("hidden", 0, (1, 2), spec=P("data", "tp"))),
    "a fused axis": ((6, 8), om.Leaf("hidden", 0, 1, spec=P(None, "tp"))),
    "batch": ((4, 6, 2), om.Leaf("hidden", 1, 2, spec=P("tp"))),
    "bias": ((8,), om.Leaf("vector", spec=P(("tp",)))),
    "no head": ((6, 4, 2), om.Leaf("hidden", 0, (1, 2), spec=P("tp"))),
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("cut", CUTS)
def test_inside_a_map_a_head_is_the_whole_array_s(cut, check):
    """The logits are each device's own, of its heads and its part of the batch, where types can say so."""
    shape, leaf = CUTS[cut]
    rng = np.random.default_rng(0)
    params, step = (pair(*rng.normal(size=(2, *shape)).astype(np.float32)) for _ in range(2))
    expected, _ = after(params, step, {"attention": LOGITS.max(0)}, 2.0, leaf)
    mesh = jax.make_mesh((2, 2), ("data", "tp"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4])
    logits = P("data", "tp" if cut != "no head" else None) if check else P()
    specs = jax.tree.map(lambda _: leaf.spec, params)
    clip = functools.partial(clipped, leaf)
    mapped = jax.shard_map(clip, mesh=mesh, in_specs=(specs, specs, logits), out_specs=specs, check_vma=check)
    found = jax.jit(mapped)(params, step, LOGITS)["attention"]
    for name in ("query", "key"):
        np.testing.assert_allclose(found[name]["kernel"], expected[name]["kernel"], rtol=1e-5)


def clipped(leaf, params, step, logits):
    tx = qk_clip(2.0, leaves=leaves(leaf))
    return tx.update(step, tx.init(params), params, max_logits={"attention": logits.max(0)})[0]


def test_inside_a_map_a_shard_needs_a_spec():
    mesh = jax.make_mesh((2,), ("tp",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    spec = P(None, "tp")
    clip = functools.partial(clipped, om.Leaf("hidden", 0, 1))
    params = pair(*np.ones((2, 6, 8)))
    with pytest.raises(ValueError, match="attention/(query|key)/kernel: inside jax.shard_map this array differs"):
        jax.shard_map(clip, mesh=mesh, in_specs=(spec, spec, P()), out_specs=spec)(params, params, LOGITS)
