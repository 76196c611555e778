"""Names and ranks give the right leaves for Flax's own modules, and an error where they cannot."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import find

H = "hidden"


def axes(tree, rules=()):
    """Path -> (role, reduction, output, assumed)."""
    return {p: (f.leaf.role, f.leaf.reduction, f.leaf.output, f.assumed) for p, f in find(tree, rules).items()}


class NNX(nnx.Module):
    """Rows of the module table whose names settle the matter."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(50, 8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.up = nnx.Linear(8, 16, rngs=rngs)
        self.conv1 = nnx.Conv(3, 8, (5,), rngs=rngs)
        self.conv2 = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.conv_depthwise = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
        self.router = nnx.Linear(8, 5, rngs=rngs)
        self.lm_head = nnx.Linear(8, 50, rngs=rngs)
        self.pos_embed = nnx.Param(jnp.zeros((1, 7, 8)))
        self.cls = nnx.Param(jnp.zeros((1, 1, 8)))
        self.blocks = nnx.List([nnx.Linear(8, 8, rngs=rngs)])


NNX_TABLE = {
    "embed/embedding": ("embedding", (0,), (1,), False),
    "attention/query/kernel": (H, (0,), (1, 2), False),
    "attention/key/kernel": (H, (0,), (1, 2), False),
    "attention/value/kernel": (H, (0,), (1, 2), False),
    "attention/out/kernel": (H, (0, 1), (2,), False),
    "attention/query/bias": ("vector", (), (), False),
    "attention/out/bias": ("vector", (), (), False),
    "norm/scale": ("vector", (), (), False),
    "norm/bias": ("vector", (), (), False),
    "up/kernel": (H, (0,), (1,), False),
    "up/bias": ("vector", (), (), False),
    "conv1/kernel": ("input", (0, 1), (2,), True),
    "conv2/kernel": ("input", (0, 1, 2), (3,), True),
    "conv_depthwise/kernel": ("vector", (), (), False),
    "router/kernel": ("router", (0,), (1,), False),
    "lm_head/kernel": ("head", (0,), (1,), False),
    "pos_embed": ("embedding", (1,), (2,), False),
    "cls": ("vector", (), (), False),
    "blocks/0/kernel": (H, (0,), (1,), True),
}


def nnx_model():
    return nnx.eval_shape(lambda: NNX(nnx.Rngs(0)))


@pytest.mark.parametrize("pure", [False, True], ids=["init", "update"])
def test_nnx_modules(pure):
    params = nnx.state(nnx_model(), nnx.Param)
    found = axes(nnx.to_pure_dict(params) if pure else params)
    assert {path: found[path] for path in NNX_TABLE} == NNX_TABLE


class Linen(nn.Module):
    """The same in Linen, with automatic names."""

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(50, 8)(ids)
        x = x + nn.MultiHeadDotProductAttention(2)(x)
        x = nn.RMSNorm()(nn.Dense(8)(x))
        x = nn.Conv(8, (3,))(x)
        x = nn.ConvTranspose(8, (3,))(x)
        return nn.Dense(50, name="lm_head")(x)


def test_linen_modules():
    shapes = jax.eval_shape(Linen().init, jax.random.key(0), jnp.zeros((2, 7), jnp.int32))["params"]
    found = axes(shapes)
    assert found["Embed_0/embedding"][0] == "embedding"
    assert found["MultiHeadDotProductAttention_0/query/kernel"] == (H, (0,), (1, 2), False)
    assert found["MultiHeadDotProductAttention_0/out/kernel"] == (H, (0, 1), (2,), False)
    assert found["Dense_0/kernel"] == (H, (0,), (1,), True)
    assert found["Conv_0/kernel"] == (H, (0, 1), (2,), False)
    assert found["ConvTranspose_0/kernel"] == (H, (0, 1), (2,), True)
    assert found["lm_head/kernel"] == ("head", (0,), (1,), False)
    assert found["RMSNorm_0/scale"][0] == "vector"


def test_scanned_attention_is_told_from_scanned_dense():
    heads = {"query": {"kernel": jnp.zeros((3, 8, 2, 4))}, "out": {"kernel": jnp.zeros((3, 2, 4, 8))}}
    found = axes(heads)
    assert found["query/kernel"][1:3] == ((1,), (2, 3))
    assert found["out/kernel"][1:3] == ((1, 2), (3,))
    dense = {"query": {"kernel": jnp.zeros((3, 8, 8))}, "out": {"kernel": jnp.zeros((3, 8, 8))}}
    with pytest.raises(om.UnknownLeafError, match="query/kernel"):
        find(dense)


def test_grouped_query_attention():
    tree = {
        "query": {"kernel": jnp.zeros((8, 4, 2))},
        "key": {"kernel": jnp.zeros((8, 2, 2))},
        "out": {"kernel": jnp.zeros((4, 2, 8))},
    }
    assert axes(tree)["key/kernel"][1:3] == ((0,), (1, 2))


def test_fused_kernels_and_experts():
    experts = {"up": {"kernel": jnp.zeros((5, 4, 8))}, "down": {"kernel": jnp.zeros((5, 8, 4))}}
    found = find({"qkv": {"kernel": jnp.zeros((4, 12))}, "experts": experts})
    assert found["qkv/kernel"].leaf.split == om.Split((4, 4, 4))
    assert found["qkv/kernel"].assumed
    assert found["experts/up/kernel"].leaf == om.Leaf(H, 1, 2)


def test_unknown_leaves_are_all_named_with_a_cure():
    tree = {"scan": {"up": {"kernel": jnp.zeros((3, 4, 8))}, "down": {"kernel": jnp.zeros((3, 8, 5))}}}
    with pytest.raises(om.UnknownLeafError) as error:
        om.leaves(tree)
    text = str(error.value)
    assert "('scan/up/kernel', om.Leaf('hidden', 1, 2)),  # (3, 4, 8): " in text
    assert "scan/down/kernel" in text


def test_a_weight_is_not_guessed():
    with pytest.raises(om.UnknownLeafError, match="linear/weight.*\\(out, in\\)"):
        om.leaves({"linear": {"weight": jnp.zeros((4, 8))}})


def test_first_matching_rule_wins_and_globs_fit_tails():
    tree = {"model": {"last": {"kernel": jnp.zeros((4, 8))}, "first": {"kernel": jnp.zeros((4, 4))}}}
    found = find(tree, [("last/kernel", "head"), ("*/kernel", "frozen")])
    assert found["model/last/kernel"].leaf == om.Leaf("head", 0, 1)
    assert found["model/first/kernel"].leaf.role == "frozen"
    assert "rule 'last/kernel'" in found["model/last/kernel"].reason


def test_a_hidden_rule_on_an_embedding_makes_it_a_matrix():
    assert om.leaves({"embedding": jnp.zeros((4, 8))}, [("embedding", H)])["embedding"] == om.Leaf(H, 0, 1)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (("*", "hiden"), "'hiden' is no role"),
        (("*", "head"), "give a Leaf"),
        (("*", om.Leaf(H, 3, 4)), "a/kernel: shape \\(2, 3, 4\\)"),
        (("*", om.Leaf(H, 1, -2)), "distinct axes"),
        (("*", om.Leaf(H, 1, 2, split=(1, 1))), "split sizes \\(1, 1\\) do not add up"),
    ],
)
def test_wrong_rules_name_the_path(rule, message):
    with pytest.raises(ValueError, match=message):
        find({"a": {"kernel": jnp.zeros((2, 3, 4))}}, [rule])


@pytest.mark.parametrize(
    "arguments", [("matrix", 0, 1), ("hidden",), ("hidden", 0), ("hidden", 0, 0), ("hidden", (0, 1), (1, 2))]
)
def test_impossible_leaves_are_refused(arguments):
    with pytest.raises(ValueError, match="Leaf"):
        om.Leaf(*arguments)


def test_paths_of_boxes_and_states_are_those_of_plain_dicts():
    model = nnx_model()
    state = nnx.state(model, nnx.Param)
    assert set(by_path(state)) == set(by_path(nnx.to_pure_dict(state)))
    boxed = {"kernel": nn.Partitioned(jnp.zeros((2, 2)), ("a", "b"))}
    assert set(by_path(boxed)) == {"kernel"}
