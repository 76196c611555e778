"""Where data comes from and goes to: residual streams, conditions, shares, measures of a weight, positions."""

import jax
import jax.numpy as jnp
from jax import lax

import optax_muon as om
from tests.matrices.call.model import TOKENS, B, D, E, F, H, K, L, S, V, hidden, read, shape
from tests.matrices.call.test_control_flow import LAYER, layer


def test_an_input_that_joins_a_residual_stream_is_no_raw_one():
    def stack(p, h):
        for block in p["blocks"]:
            h = layer(block, h)
        return h @ p["out"]

    leaves = om.leaves_from_call(stack, {"blocks": [LAYER, LAYER], "out": shape(D, V)}, shape(B, S, D))
    assert (leaves["blocks"][0]["up"].role, leaves["blocks"][0]["up"].assumed) == ("hidden", True)
    assert (leaves["blocks"][1]["up"].role, leaves["blocks"][1]["up"].assumed) == ("hidden", False)


def test_an_input_that_is_added_to_the_result_is_raw_all_the_same():
    def denoised(p, x):
        return x + jax.nn.relu(jax.nn.relu(x @ p["first"]) @ p["w"]) @ p["last"]

    leaves = om.leaves_from_call(
        denoised, {"first": shape(3, D), "w": shape(D, D), "last": shape(D, 3)}, shape(B, 3)
    )  # fmt: skip
    assert [leaves[name].role for name in ("first", "w", "last")] == ["input", "hidden", "head"]


def test_a_condition_that_every_layer_of_a_loop_takes():
    def model(p, tokens, condition):
        def body(h, w):
            return jax.nn.relu(h @ w["w"] + condition @ w["scale"]), None

        return lax.scan(body, p["table"][tokens], p["layers"])[0] @ p["out"]

    layers = {"w": shape(L, D, D), "scale": shape(L, 3, D)}
    leaves = om.leaves_from_call(model, {"table": shape(V, D), "layers": layers, "out": shape(D, V)}, TOKENS, shape(3))
    assert (leaves["layers"]["scale"].role, leaves["layers"]["scale"].assumed) == ("hidden", True)


def mixed(weights):
    def body(p, h):
        up = jax.nn.relu(jnp.einsum("bsd,edf->bsef", h, p["up"]))
        return jnp.einsum("bse,bsed->bsd", weights(h @ p["gate"]), jnp.einsum("bsef,efd->bsed", up, p["down"]))

    return read(body, {"gate": shape(D, E), "up": shape(E, D, F), "down": shape(E, F, D)})


def test_shares_that_weigh_experts_come_from_a_router():
    leaves = mixed(jax.nn.softmax)
    assert [leaves[name].role for name in ("gate", "up", "down")] == ["router", "hidden", "hidden"]
    assert leaves["down"].reduction == (1,)
    assert mixed(jax.nn.sigmoid)["gate"].role == "hidden", "gates are no shares"


def test_a_router_that_only_its_name_tells():
    def body(p, h):
        return jax.nn.sigmoid(h @ p["router"]["kernel"]) * (h @ p["w"])

    assert read(body, {"router": {"kernel": shape(D, 1)}, "w": shape(D, D)})["router/kernel"].role == "router"


def test_a_number_that_measures_a_weight_says_nothing_of_its_axes():
    def body(p, h, u):
        v = lax.stop_gradient(u @ p["w"].T)
        u = lax.stop_gradient(v @ p["w"])
        return h @ (p["w"] / (v @ p["w"] @ u))

    def model(p, tokens, u):
        return body(p, p["table"][tokens], u) @ p["out"]

    params = {"w": shape(D, F), "table": shape(V, D), "out": shape(F, V)}
    assert om.leaves_from_call(model, params, TOKENS, shape(F))["w"] == hidden(0, 1)


def test_positions_that_are_made_in_the_call_look_a_table_up():
    def body(p, h):
        apart = jnp.abs(jnp.arange(S)[:, None] - jnp.arange(S)[None, :])
        rows = (apart[None] == jnp.arange(L)[:, None, None]).astype(h.dtype)
        scores = jnp.einsum("bsd,btd->bst", h @ p["q"], h) + jnp.einsum("hr,rst->hst", p["bias"], rows).sum(0)
        return jax.nn.softmax(scores) @ h

    leaf = read(body, {"bias": shape(H, L), "q": shape(D, D)})["bias"]
    assert (leaf.role, leaf.reduction, leaf.output) == ("embedding", (1,), (0,))
    assert read(lambda p, h: h @ (p["w"] @ jnp.eye(D)), {"w": shape(D, D)})["w"] == hidden(0, 1)


def test_a_norm_that_is_written_as_an_einsum_numbers_no_heads():
    def body(p, h):
        q = jnp.einsum("bsd,dhk->bshk", h, p["q"])
        q = jnp.einsum("bshk,k->bshk", q, p["scale"])
        return jnp.einsum("bshk,hkd->bsd", jax.nn.relu(q), p["out"])

    leaves = read(body, {"q": shape(D, H, K), "scale": shape(K), "out": shape(H, K, D)})
    assert leaves["q"] == hidden(0, (1, 2))


def test_products_of_quantized_numbers_are_products():
    def rounded(x):
        scale = jnp.abs(x).max() / 127
        return jnp.round(x / scale).astype(jnp.int8), scale

    def product(x, w):
        (x, a), (w, b) = rounded(x), rounded(w)
        return jnp.dot(x, w, preferred_element_type=jnp.int32).astype(jnp.float32) * a * b

    def model(p, tokens):
        h = jax.nn.relu(product(p["table"][tokens], p["up"]))
        return product(product(h, p["down"]), p["out"])

    tree = {"table": shape(V, D), "up": shape(D, F), "down": shape(F, D), "out": shape(D, V)}
    leaves = om.leaves_from_call(model, tree, TOKENS)
    assert [leaves[name].role for name in ("up", "down", "out")] == ["hidden", "hidden", "head"]
    assert (leaves["down"].reduction, leaves["down"].output) == ((0,), (1,))
