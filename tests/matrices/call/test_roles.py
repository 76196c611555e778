"""Heads, tables, routers, input layers; what cannot be told raises, and says why."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import optax_muon as om
from tests.matrices.call.model import TOKENS, VECTOR, B, D, E, F, S, V, hidden, read, shape
from tests.matrices.call.test_control_flow import LAYER, layer


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


def test_what_no_result_needs_says_nothing():
    def body(p, h):
        lax.top_k(h @ p["w"].T, 2)  # the other way round, and a ranking
        return jax.nn.relu(h @ p["w"])

    assert read(body, {"w": shape(D, D)}) == {"w": hidden(0, 1)}


def test_hidden_states_that_are_returned_too_make_no_head():
    def model(p, tokens):
        h = jax.nn.relu(p["table"][tokens] @ p["w"])
        return h @ p["out"], h

    leaves = om.leaves_from_call(model, {"table": shape(V, D), "w": shape(D, D), "out": shape(D, V)}, TOKENS)
    assert (leaves["w"].role, leaves["out"].role) == ("hidden", "head")


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
    leaves = read(lambda p, h: h @ p["w"], {"w": shape(D, D)})
    assert leaves["w"].why.startswith("contracted in dot_general at test_roles.py:")


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
