"""A small network with stacked layers and a split matrix, its rules, and its dense Hessian."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_muon as om

RULES = [("layers/*", om.Leaf("hidden", 1, 2)), ("mlp/*", om.Leaf("hidden", 0, 1, split=(2, 3)))]


def loss(params, x, y):
    h = jnp.tanh(x @ params["up"]["kernel"])
    for kernel in params["layers"]["kernel"]:
        h = jnp.tanh(h @ kernel) + h
    logits = jnp.tanh(h @ params["mlp"]["kernel"]) @ params["head"]["kernel"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def problem():
    rng = np.random.default_rng(1)
    params = {
        "up": {"kernel": 0.4 * rng.normal(size=(7, 6))},
        "layers": {"kernel": 0.4 * rng.normal(size=(2, 6, 6))},
        "mlp": {"kernel": 0.5 * rng.normal(size=(6, 5))},
        "head": {"kernel": rng.normal(size=(5, 4))},
    }
    x, y = rng.normal(size=(20, 7)), rng.integers(0, 4, 20)
    return jax.tree.map(jnp.asarray, params), jnp.asarray(x), jnp.asarray(y)


def pieces(tree):
    """Cut a gradient, or two sides of a Hessian, into the matrices of the hidden parameters, in float64."""
    up, layers, mlp = (np.asarray(tree[name]["kernel"], np.float64) for name in ("up", "layers", "mlp"))
    return {"up/kernel": [up], "layers/kernel": list(layers), "mlp/kernel": [mlp[:, :2], mlp[:, 2:]]}


@functools.cache
def dense():
    """Path -> (gradient, Hessian as a square matrix) of every matrix."""
    with jax.enable_x64(True):
        grads, hessian = jax.jit(lambda *args: (jax.grad(loss)(*args), jax.hessian(loss)(*args)))(*problem())
    grads = pieces(grads)
    up, layers, mlp = (np.asarray(hessian[k]["kernel"][k]["kernel"]) for k in ("up", "layers", "mlp"))
    blocks = {
        "up/kernel": [up],
        "layers/kernel": [layers[i, :, :, i] for i in range(2)],
        "mlp/kernel": [mlp[:, :2, :, :2], mlp[:, 2:, :, 2:]],
    }
    return {
        path: [(g, h.reshape(g.size, g.size)) for g, h in zip(grads[path], blocks[path], strict=True)] for path in grads
    }
