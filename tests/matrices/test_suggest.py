"""Every suggested rule, pasted, cures its error."""

import ast
import re

import flax.linen as nn
import jax.numpy as jnp
import pytest
from flax import nnx

import optax_muon as om


def rules_in(error):
    """The rules of a message, read as Python."""
    text = str(error)
    return eval(re.search(r"rules=(\[.*\])", text, re.DOTALL)[1], {"om": om})


def zeros(shapes):
    tree = {}
    for path, shape in shapes.items():
        *inner, name = path.split("/")
        node = tree
        for token in inner:
            node = node.setdefault(token, {})
        node[name] = jnp.zeros(shape)
    return tree


class Mix(nnx.Module):
    def __init__(self, rngs):
        self.w = nnx.Param(jnp.zeros((3, 8, 16)))
        self.qkv = nnx.Linear(8, 20, rngs=rngs)
        self.up = nnx.Linear(8, 8, rngs=rngs)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.zeros, (8, 8))
        return nn.Dense(8, name="up")(x @ w @ w.T)


def mix():
    return nnx.eval_shape(lambda: Mix(nnx.Rngs(0)))


X = jnp.zeros((2, 8))
ERRORS = {
    "rank 2": lambda rules: om.leaves(zeros({"linear/weight": (4, 8)}), rules),
    "rank 3": lambda rules: om.leaves(zeros({"layers/up/kernel": (3, 4, 8), "layers/up/beta": (3, 8)}), rules),
    "rank 4": lambda rules: om.leaves(zeros({"layers/query/kernel": (3, 4, 2, 8)}), rules),
    "brackets": lambda rules: om.leaves(zeros({f"h[{i}]/up/kernel": (3, 4, 8) for i in range(3)}), rules),
    "top": lambda rules: om.leaves(zeros({"kernel": (3, 4, 8), "a/kernel": (3, 4), "b/kernel": (3, 4, 3, 5)}), rules),
    "norms": lambda rules: om.leaves(
        zeros({f"layers/{i}/{m}/weight": s for i in range(3) for m, s in {"up": (4, 4), "norm": (4,)}.items()}), rules
    ),
    "deep": lambda rules: om.leaves(
        zeros({f"layers/{i}/{m}/kernel": s for i in range(9) for m, s in {"up": (2, 4, 8), "a/up": (4, 8)}.items()}),
        rules,
    ),
    "role without axes": lambda rules: om.leaves(zeros({"a/kernel": (2, 3, 4)}), [*rules, ("*", "head")]),
    "axes that do not fit": lambda rules: om.leaves(
        zeros({"a/kernel": (2, 3, 4)}), [*rules, ("*", om.Leaf("hidden", 3, 4))]
    ),
    "split that does not fit": lambda rules: om.leaves(
        zeros({"a/kernel": (2, 4)}), [*rules, ("*", om.Leaf("hidden", 0, 1, split=(1, 1)))]
    ),
    "leaves of another tree": lambda rules: om.label(
        zeros({"a/kernel": (2, 4)}), {"b": om.Leaf("hidden", 0, 1)}, rules, strict=False
    ),
    "NNX": lambda rules: om.leaves_from_flax(mix(), rules=rules),
    "NNX, fused": lambda rules: om.leaves_from_flax(mix(), attention=om.Attention(heads="each"), rules=rules),
    "Linen": lambda rules: om.leaves_from_flax(Linen(), X, rules=rules),
    "call": lambda rules: om.leaves_from_call(lambda p, x: x @ p["w"] @ p["w"].T, zeros({"w": (8, 8)}), X, rules=rules),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_the_rules_of_an_error_cure_it(name):
    with pytest.raises(ValueError, match="rules=") as raised:
        ERRORS[name]([])
    rules = rules_in(raised.value)
    assert rules
    ERRORS[name](rules)


def test_a_rule_that_matches_nothing_is_cured_by_the_nearest_path():
    tree = zeros({"lm_head/kernel": (4, 8), "up/kernel": (4, 4)})
    with pytest.raises(ValueError, match="nearest") as raised:
        om.leaves(tree, [("lm_hed/kernel", "frozen")])
    nearest = ast.literal_eval(re.search(r"nearest is ('.*')", str(raised.value))[1])
    assert om.leaves(tree, [(nearest, "frozen")])["lm_head"]["kernel"].role == "frozen"


def test_like_parameters_are_one_line():
    shapes = {"self_attn/q_proj/w": (1024, 16, 128), "self_attn/k_proj/w": (1024, 8, 128), "up/weight": (4, 8)}
    tree = zeros({f"model/layers/{i}/{path}": shape for i in range(28) for path, shape in shapes.items()})
    with pytest.raises(om.UnknownLeafError) as raised:
        om.leaves(tree)
    text = str(raised.value)
    assert len(text.splitlines()) <= 10
    assert "'model/layers/*/up/weight', om.Leaf('hidden', 1, 0)),  # 28 of (4, 8)" in text
    for help in ("om.leaves_from_call(", "om.leaves_from_flax(", "modules="):
        assert help in text


def test_names_that_recur_everywhere_are_one_line_where_there_are_many():
    tree = zeros({f"{place}/mix_w": (4, 8, 8) for place in "abcdefghijklmnopq"} | {"other/x_w": (3, 3)})
    with pytest.raises(om.UnknownLeafError) as raised:
        om.leaves(tree)
    rules = rules_in(raised.value)
    assert len(rules) == 2
    om.leaves(tree, rules)
