"""Loops, branches and calls: what is inside is read, and layers are batch axes."""

import functools

import jax
import pytest
from jax import lax

from tests.matrices.call.model import VECTOR, D, F, L, hidden, read, shape


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
