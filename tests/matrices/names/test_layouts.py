"""Which axis is which where names alone cannot tell: biases, neighbours, the model's widths decide, or nothing does."""

import jax.numpy as jnp
import optax
import pytest

import optax_muon as om
from optax_muon.matrices.names._read import read_names

D, F, V = 8, 32, 50
IO, OI = ((0,), (1,)), ((1,), (0,))


def axes(shapes, path):
    found = read_names(shapes)[path]
    if isinstance(found, om.UnknownLeafError):
        return "raises"
    return found.leaf.reduction, found.leaf.output


def block(**shapes):
    return {"wte/embedding": (V, D), "ln_f/scale": (D,)} | {
        f"h/{i}/{path.replace('__', '/')}": shape for i in range(2) for path, shape in shapes.items()
    }


GPT2 = block(
    ln_1__scale=(D,), attn__c_attn__kernel=(3 * D, D), attn__c_attn__bias=(3 * D,), attn__c_proj__kernel=(D, D),
    attn__c_proj__bias=(D,), mlp__c_fc__kernel=(F, D), mlp__c_fc__bias=(F,), mlp__c_proj__kernel=(D, F),
    mlp__c_proj__bias=(D,),
)  # fmt: skip
EQUINOX = block(
    norm__weight=(D,), norm__bias=(D,), up__weight=(F, D), up__bias=(F,), square__weight=(D, D), square__bias=(D,)
)
LLAMA = block(norm__weight=(D,), up_proj__weight=(F, D), down_proj__weight=(D, F), q_proj__weight=(D, D))
DICTS = block(norm=(D,), ln__scale=(D,), w_up=(D, F), w_down=(F, D), wq=(D, D))
CASES = {
    "Hugging Face's GPT-2, fused": (GPT2, "h/0/attn/c_attn/kernel", OI),
    "its square projection, as those beside": (GPT2, "h/0/attn/c_proj/kernel", OI),
    "its feed-forward": (GPT2, "h/1/mlp/c_fc/kernel", OI),
    "the same without biases": (
        {p: s for p, s in GPT2.items() if "bias" not in p}, "h/0/attn/c_attn/kernel", OI),
    "Equinox": (EQUINOX, "h/0/up/weight", OI),
    "Equinox, square": (EQUINOX, "h/0/square/weight", OI),
    "a weight (in, out)": ({"up/weight": (D, F), "up/bias": (F,)}, "up/weight", IO),
    "square weights alone": ({"up/weight": (D, D), "up/bias": (D,)}, "up/weight", "raises"),
    "a weight alone": ({"up/weight": (D, F)}, "up/weight", "raises"),
    "weights without biases, by the norm's width": (LLAMA, "h/0/up_proj/weight", OI),
    "and the square one as they": (LLAMA, "h/0/q_proj/weight", OI),
    "arrays called by their purpose": (DICTS, "h/0/w_up", IO),
    "an array of unknown name": ({"mix": (D, F)}, "mix", "raises"),
    "an array of unknown name with a bias": ({"mix": (D, F), "mix_bias": (F,)}, "mix", IO),
    "LSTM (out, in)": ({"cell/weight_ih": (4 * D, F), "cell/weight_hh": (4 * D, D)}, "cell/weight_ih", OI),
    "GRU (in, out)": ({"cell/weight_ih": (F, 3 * D), "cell/weight_hh": (D, 3 * D)}, "cell/weight_hh", IO),
    "weight norm's direction": ({"conv/weight_v": (D, F, 4), "conv/weight_g": (1, 1, 4)}, "conv/weight_v", "raises"),
    "Haiku's transposed convolution": (
        {"conv2_d_transpose/w": (3, 3, 16, D), "conv2_d_transpose/b": (16,)}, "conv2_d_transpose/w", ((0, 1, 3), (2,))),
    "with as many outputs as inputs": ({"conv2_d_transpose/w": (3, 3, D, D)}, "conv2_d_transpose/w", "raises"),
    "Haiku's convolution": ({"conv2_d/w": (3, 3, 16, D), "conv2_d/b": (D,)}, "conv2_d/w", ((0, 1, 2), (3,))),
    "Equinox's convolution": (
        {"conv/weight": (16, D, 3, 3), "conv/bias": (16, 1, 1)}, "conv/weight", ((1, 2, 3), (0,))),
    "stacked layers, by their bias": ({"up/kernel": (3, D, F), "up/bias": (3, F)}, "up/kernel", ((1,), (2,))),
    "heads, by their bias": ({"a/kernel": (D, 2, 4), "a/bias": (2, 4)}, "a/kernel", ((0,), (1, 2))),
    "either, by a bias that fits both": ({"a/kernel": (4, 4, 4), "a/bias": (4, 4)}, "a/kernel", "raises"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_axes(name):
    shapes, path, expected = CASES[name]
    assert axes(shapes, path) == expected


def test_fused_kernels_of_that_layout_are_cut_and_certain():
    found = read_names(GPT2)["h/0/attn/c_attn/kernel"]
    assert found.leaf.split == om.Split((D, D, D))
    assert not found.assumed


def test_a_part_of_a_tree_is_read_as_with_the_whole():
    tree = {
        "up": {"weight": jnp.ones((F, D)), "bias": jnp.ones(F)},
        "down": {"weight": jnp.ones((D, F)), "bias": jnp.ones(D)},
    }

    tx = om.for_matrices(om.muon(0.1), optax.sgd(1.0), strict=False)
    given = om.for_matrices(om.muon(0.1), optax.sgd(1.0), rules=[("weight", om.Leaf("hidden", 1, 0))])
    a, b = (t.update(tree, t.init(tree), tree)[0] for t in (tx, given))
    assert (a["up"]["weight"] == b["up"]["weight"]).all()
