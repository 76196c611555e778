"""A model around the body that a test gives: a table before it and a head after it."""

import jax
import jax.numpy as jnp

import optax_muon as om
from optax_muon.matrices._paths import by_path

B, S, D, F, H, K, V, E, L = 2, 6, 8, 16, 2, 4, 20, 3, 5


def shape(*sides, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sides, dtype)


TOKENS = shape(B, S, dtype=jnp.int32)


def read(body, params, rules=()):
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


VECTOR = om.Leaf("vector")
