"""Every primitive that the reading knows, on a call that has it: roles and axes are exact."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import optax_muon as om
from optax_muon.matrices._paths import by_path

B, S, D, F, H, K, V, E, L = 2, 6, 8, 16, 2, 4, 20, 3, 5


def shape(*sides, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sides, dtype)


TOKENS = shape(B, S, dtype=jnp.int32)


def read(body, params, x=None, rules=()):
    """Leaves of ``body(params, h)`` between a table and a head, where no matrix is first or last."""

    def model(p, tokens):
        return body(p["body"], p["table"][tokens]) @ p["head"]

    tree = {"body": params, "table": shape(V, D), "head": shape(D, V)}
    leaves = by_path(om.leaves_from_call(model, tree, TOKENS, rules=rules), is_leaf=lambda x: isinstance(x, om.Leaf))
    assert (leaves["table"].role, leaves["head"].role) == ("embedding", "head")
    assert leaves["head"].reduction == (0,)
    return {path.removeprefix("body/"): leaf for path, leaf in leaves.items() if path.startswith("body")}


def hidden(reduction, output, split=None):
    return om.Leaf("hidden", reduction, output, split)


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield


VECTOR = om.Leaf("vector")
PRODUCTS = {
    "in_out": (lambda p, h: h @ p["w"], {"w": shape(D, D)}, {"w": hidden(0, 1)}),
    "out_in": (lambda p, h: h @ p["w"].T, {"w": shape(D, D)}, {"w": hidden(1, 0)}),
    "weight first": (lambda p, h: (p["w"] @ h.mT).mT, {"w": shape(D, D)}, {"w": hidden(1, 0)}),
    "heads": (
        lambda p, h: jnp.einsum("bshk,hkd->bsd", jnp.einsum("bsd,dhk->bshk", h, p["q"]), p["o"]),
        {"q": shape(D, H, K), "o": shape(H, K, D)},
        {"q": hidden(0, (1, 2)), "o": hidden((0, 1), 2)},
    ),
    "reshaped": (
        lambda p, h: h @ p["w"].reshape(D, D),
        {"w": shape(D, H, K)},
        {"w": hidden(0, (1, 2))},
    ),
    "experts": (
        lambda p, h: jnp.einsum("ebsf,efd->bsd", jax.nn.relu(jnp.einsum("bsd,edf->ebsf", h, p["up"])), p["down"]),
        {"up": shape(E, D, F), "down": shape(E, F, D)},
        {"up": hidden(1, (0, 2)), "down": hidden((0, 1), 2)},  # summed over experts: one matrix, as the product says
    ),
    "vmapped experts": (
        lambda p, h: jax.vmap(lambda up, down: jax.nn.gelu(h @ up) @ down)(p["up"], p["down"]).mean(0),
        {"up": shape(E, D, F), "down": shape(E, F, D)},
        {"up": hidden(1, 2), "down": hidden(1, 2)},
    ),
    "ragged": (
        lambda p, h: lax.ragged_dot(h.reshape(-1, D), p["w"], jnp.array([4, 4, 4])).reshape(B, S, D),
        {"w": shape(E, D, D)},
        {"w": hidden(1, 2)},
    ),
    "convolution": (
        lambda p, h: lax.conv_general_dilated(h, p["w"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")),
        {"w": shape(3, D, D)},
        {"w": hidden((0, 1), 2)},
    ),
    "convolution (out, in, width)": (
        lambda p, h: lax.conv_general_dilated(h, p["w"], (1,), "SAME", dimension_numbers=("NWC", "OIW", "NWC")),
        {"w": shape(D, D, 3)},
        {"w": hidden((1, 2), 0)},
    ),
    "grouped convolution": (
        lambda p, h: lax.conv_general_dilated(
            h, p["w"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=2
        ),
        {"w": shape(3, D // 2, D)},
        {"w": hidden((0, 1), 2, (D // 2, D // 2))},
    ),
    "depthwise": (
        lambda p, h: lax.conv_general_dilated(
            h, p["w"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=D
        ),
        {"w": shape(3, 1, D)},
        {"w": VECTOR},
    ),
    "a sum of entrywise products": (
        lambda p, h: (h[..., None] * p["w"]).sum(-2),
        {"w": shape(D, D)},
        {"w": hidden(0, 1)},
    ),
    "weight norm": (
        lambda p, h: h @ (p["g"] * p["v"] / jnp.linalg.norm(p["v"], axis=0)),
        {"v": shape(D, D), "g": shape(D)},
        {"v": hidden(0, 1), "g": VECTOR},
    ),
    "adapter beside": (
        lambda p, h: h @ p["w"] + (h @ p["a"]) @ p["b"],
        {"w": shape(D, D), "a": shape(D, 2), "b": shape(2, D)},
        {"w": hidden(0, 1), "a": hidden(0, 1), "b": hidden(0, 1)},
    ),
    "adapter inside": (
        lambda p, h: h @ (p["w"] + 0.1 * p["a"] @ p["b"]),
        {"w": shape(D, D), "a": shape(D, 2), "b": shape(2, D)},
        {"w": hidden(0, 1), "a": hidden(0, 1), "b": hidden(0, 1)},
    ),
    "bfloat16": (
        lambda p, h: (h.astype(jnp.bfloat16) @ p["w"].astype(jnp.bfloat16)).astype(h.dtype),
        {"w": shape(D, D)},
        {"w": hidden(0, 1)},
    ),
    "an axis summed first": (
        lambda p, h: h @ p["w"].sum(1),
        {"w": shape(D, 3, D)},
        {"w": hidden((0, 1), 2)},
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    body, params, wanted = PRODUCTS[name]
    assert read(body, params) == wanted


def layer(p, h):
    return h + jax.nn.silu(h * p["scale"] @ p["up"] + p["bias"]) @ p["down"]


LAYER = {"scale": shape(D), "up": shape(D, F), "bias": shape(F), "down": shape(F, D)}
LEAVES = {"scale": VECTOR, "up": hidden(0, 1), "bias": VECTOR, "down": hidden(0, 1)}


def stacked(tree, n=L):
    return jax.tree.map(lambda x: shape(n, *x.shape), tree)


STACKED = {"scale": VECTOR, "up": hidden(1, 2), "bias": VECTOR, "down": hidden(1, 2)}


def looped(p, h, wrap=lambda f: f):
    return lax.scan(wrap(lambda h, p: (layer(p, h), None)), h, p)[0]


CONTROL = {
    "scan": (looped, stacked(LAYER), STACKED),
    "scan under remat": (functools.partial(looped, wrap=jax.checkpoint), stacked(LAYER), STACKED),
    "one layer many times": (lambda p, h: lax.fori_loop(0, 3, lambda i, h: layer(p, h), h), LAYER, LEAVES),
    "while": (
        lambda p, h: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, layer(p, c[1])), (0, h))[1],
        LAYER,
        LEAVES,
    ),
    "indexed layers": (
        lambda p, h: lax.fori_loop(0, L, lambda i, h: layer(jax.tree.map(lambda x: x[i], p), h), h),
        stacked(LAYER),
        STACKED,
    ),
    "unrolled layers": (
        lambda p, h: functools.reduce(lambda h, i: layer(jax.tree.map(lambda x: x[i], p), h), range(L), h),
        stacked(LAYER),
        STACKED,
    ),
    "cond": (lambda p, h: lax.cond(h.sum() > 0, layer, lambda p, h: h, p, h), LAYER, LEAVES),
    "jit": (lambda p, h: jax.jit(layer)(p, jax.jit(layer)(p, h)), LAYER, LEAVES),
    "custom derivative": (
        lambda p, h: jax.nn.relu6(jax.nn.gelu(layer(p, h))) * jax.nn.log_sigmoid(h),
        LAYER,
        LEAVES,
    ),
}


@pytest.mark.parametrize("name", CONTROL)
def test_control_flow(name):
    body, params, wanted = CONTROL[name]
    assert read(body, params) == wanted


def attended(q, k, v):
    scores = jnp.einsum("bshk,bthk->bhst", q, k)
    return jnp.einsum("bhst,bthk->bshk", jax.nn.softmax(scores), v).reshape(B, S, D)


def fused(p, h):
    q, k, v = (x.reshape(B, S, H, K) for x in jnp.split(h @ p["qkv"], 3, axis=-1))
    return attended(q, k, v) @ p["out"]


def rotary(p, h):
    x = h @ p["w"]
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([-b, a], axis=-1) * jnp.cos(h) + x


def gated(p, h):
    both = jnp.einsum("bsd,gdf->gbsf", h, p["gate_up"])
    return (jax.nn.silu(both[0]) * both[1]) @ p["down"]


def selective(p, h):
    z, x, dt = jnp.split(h @ p["in"], [D, 2 * D], axis=-1)
    return (jax.nn.silu(z) * x * dt.sum(-1, keepdims=True)) @ p["out"]


CUTS = {
    "fused query, key, value": (
        fused,
        {"qkv": shape(D, 3 * D), "out": shape(D, D)},
        {"qkv": hidden(0, 1, (D, D, D)), "out": hidden(0, 1)},
    ),
    "rotary halves are one matrix": (rotary, {"w": shape(D, D)}, {"w": hidden(0, 1)}),
    "gate and value side by side": (
        gated,
        {"gate_up": shape(2, D, F), "down": shape(F, D)},
        {"gate_up": hidden(1, 2), "down": hidden(0, 1)},
    ),
    "unequal pieces": (
        selective,
        {"in": shape(D, 2 * D + 3), "out": shape(D, D)},
        {"in": hidden(0, 1, (D, D, 3)), "out": hidden(0, 1)},
    ),
}


@pytest.mark.parametrize("name", CUTS)
def test_cuts(name):
    body, params, wanted = CUTS[name]
    assert read(body, params) == wanted


def routed(p, h):
    weights, chosen = lax.top_k(jax.nn.softmax(h @ p["router"]), 2)
    mixed = jnp.einsum("bsk,bske->bse", weights, jax.nn.one_hot(chosen, E))
    out = jnp.einsum("bsd,edf->bsef", h, p["up"])
    return jnp.einsum("bse,bsef,efd->bsd", mixed, jax.nn.relu(out), p["down"])


def test_a_router_is_ranked_and_its_experts_are_apart():
    params = {"router": shape(D, E), "up": shape(E, D, F), "down": shape(E, F, D)}
    leaves = read(routed, params)
    assert leaves["router"].role == "router"
    assert leaves["up"].reduction == (1,)


def test_a_dropped_ranking_makes_no_router():
    def body(p, h):
        lax.top_k(h @ p["w"], 2)
        return jax.nn.relu(h @ p["w"])

    assert read(body, {"w": shape(D, D)}) == {"w": hidden(0, 1)}


def test_tables():
    def model(p, tokens):
        h = jax.nn.one_hot(tokens, V) @ p["table"] + p["places"][jnp.arange(S)] + p["added"]
        return jax.nn.relu(h @ p["w"]) @ p["table"].T

    tree = {"table": shape(V, D), "places": shape(S, D), "added": shape(S, D), "w": shape(D, D)}
    leaves = om.leaves_from_call(model, tree, TOKENS)
    assert {name: leaf.role for name, leaf in leaves.items()} == {
        "table": "embedding",
        "places": "embedding",
        "added": "vector",
        "w": "hidden",
    }


def test_the_first_matrix_is_an_input_layer_and_every_last_one_a_head():
    def model(p, image):
        h = jax.nn.relu(image @ p["stem"])
        h = jax.nn.relu(h @ p["w"])
        return h @ p["classes"], jnp.tanh(h @ p["value"])

    tree = {"stem": shape(3, D), "w": shape(D, D), "classes": shape(D, 10), "value": shape(D, 1)}
    leaves = om.leaves_from_call(model, tree, shape(B, 3))
    assert {name: leaf.role for name, leaf in leaves.items()} == {
        "stem": "input",
        "w": "hidden",
        "classes": "head",
        "value": "head",
    }


def test_the_last_matrix_of_a_bare_block_is_hidden_and_said_to_be_assumed():
    leaves = om.leaves_from_call(
        lambda p, h: layer(p, h @ p["first"]) + h, {**LAYER, "first": shape(D, D)}, shape(B, S, D)
    )
    assert (leaves["down"].role, leaves["down"].assumed) == ("hidden", True)
    assert (leaves["up"].role, leaves["up"].assumed) == ("hidden", False)


def test_learned_tokens_are_no_matrices():
    def body(p, h):
        queries = jnp.broadcast_to(p["latents"], (B, 4, D)) @ p["q"]
        return jax.nn.softmax(queries @ h.mT) @ h @ p["out"] + p["bias"]

    params = {"latents": shape(4, D), "q": shape(D, D), "out": shape(D, D), "bias": shape(D)}
    leaves = read(body, params)
    assert leaves["latents"] == VECTOR
    assert leaves["q"].reduction == (0,)
    assert leaves["out"] == hidden(0, 1)


def test_a_gradient_taken_inside_is_passed_over():
    def body(p, h):
        return h - 0.1 * jax.grad(lambda h: jnp.square(h @ p["w"]).sum())(h) + h @ p["w"]

    assert read(body, {"w": shape(D, D)}) == {"w": hidden(0, 1)}


def test_it_says_where():
    leaves = read(PRODUCTS["in_out"][0], PRODUCTS["in_out"][1])
    assert leaves["w"].why.startswith("contracted in dot_general at test_primitives.py:")


WRONG = {
    "two ways": (lambda p, h: (h @ p["w"]) @ p["w"].T @ p["w"].T, {"w": shape(D, D)}, "used in two ways: axis 0 is"),
    "bilinear": (
        lambda p, h: jnp.einsum("bsoj,bsj->bso", jnp.einsum("bsi,oij->bsoj", h, p["w"]), h),
        {"w": shape(D, D, D)},
        "a bilinear form",
    ),
    "no rule": (lambda p, h: h @ jnp.linalg.inv(p["w"]), {"w": shape(D, D)}, "has no rule"),
    "unused": (lambda p, h: h, {"mystery": shape(D, D, D)}, "the call does not use it"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_told_raises(name):
    body, params, message = WRONG[name]
    with pytest.raises(om.UnknownLeafError, match=message):
        read(body, params)
    path = f"body/{next(iter(params))}"
    assert read(body, params, rules=[(path, "other")])  # and the suggested cure cures


def test_what_the_call_does_not_use_is_told_by_a_name_that_leaves_no_doubt():
    leaves = read(lambda p, h: h, {"kernel": shape(D, D), "bias": shape(D)}, rules=[("body/kernel", "other")])
    assert leaves["bias"] == VECTOR
