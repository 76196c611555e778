"""Products, cuts of their results, and weights made of weights: axes and pieces are exact."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tests.matrices.call.model import VECTOR, B, D, E, F, H, K, S, hidden, read, shape

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


def test_pieces_that_are_unpacked_stacked_or_repeated_keep_their_axes():
    def body(p, h):
        k, v = jnp.einsum("bsd,cndk->cbsnk", h, p["kv"])  # an unstack in newer JAX
        h = h + (k * v).reshape(B, S, D) + jnp.tile(p["token"], (B, 1, 1))
        return jnp.einsum("bsd,edf->besf", h, jnp.stack([p["a"], p["b"]])).sum(1)

    params = {"kv": shape(2, H, D, K), "token": shape(1, 1, D), "a": shape(D, D), "b": shape(D, D)}
    assert read(body, params) == {
        "kv": hidden(2, (1, 3)),
        "token": VECTOR,
        "a": hidden(0, 1),
        "b": hidden(0, 1),
    }


def test_halves_of_one_of_three_projections_leave_the_three_apart():
    def rotated(x):
        a, b = jnp.split(x.reshape(B, S, H, K), 2, axis=-1)
        return jnp.concatenate([-b, a], axis=-1)

    def body(p, h):
        q, k, v = jnp.split(h @ p["qkv"], 3, axis=-1)
        return attended(rotated(q), rotated(k), v.reshape(B, S, H, K)) @ p["out"]

    leaves = read(body, {"qkv": shape(D, 3 * D), "out": shape(D, D)})
    assert leaves["qkv"] == hidden(0, 1, (D, D, D))


def test_pieces_of_no_length_are_none():
    def body(p, h):
        empty, x, z = jnp.split(h @ p["in"], [0, D], axis=-1)
        return (x * jax.nn.silu(z)) @ p["out"]

    leaves = read(body, {"in": shape(D, 2 * D), "out": shape(D, D)})
    assert leaves["in"] == hidden(0, 1, (D, D))
