"""The table of Flax's modules: how each is made, and what every parameter of it is.

D width, H heads, K head width, F feed-forward width, V vocabulary, L layers, E experts.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

import optax_muon as om

D, H, K, F, V, L, E = 8, 2, 4, 16, 50, 3, 5

VECTOR = om.Leaf("vector")


def hidden(reduction, output, split=None):
    return om.Leaf("hidden", reduction, output, split)


DENSE = {"layer/kernel": hidden(0, 1), "layer/bias": VECTOR}


@dataclasses.dataclass(frozen=True)
class Row:
    """A module of NNX (made from rngs) and of Linen (called under a name), and the leaf of every parameter."""

    leaves: dict[str, om.Leaf]
    nnx: Callable[..., Any] | None = None
    linen: Callable[..., Any] | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return next(iter(self.leaves)).split("/")[0]


def x(*shape):
    return jnp.zeros(shape)


def named(name, leaf, *, nnx, linen):
    """A row whose module's name tells its role."""
    return Row({f"{name}/kernel": leaf, f"{name}/bias": VECTOR}, nnx, linen)


def cell(kernels, biases):
    return {f"layer/{k}/kernel": leaf for k, leaf in kernels.items()} | {f"layer/{k}/bias": VECTOR for k in biases}


def lstm(names):
    kernels = dict.fromkeys(names, hidden(0, 1))
    return cell(kernels, [name for name in names if name.startswith("h")])


def linear_cell(make):
    """A recurrent cell of Linen, called once."""

    def call(name):
        module = make(name)
        return module(module.initialize_carry(jax.random.key(0), (1, D)), x(1, D))

    return call


def conv_lstm(name):
    module = nn.ConvLSTMCell(4, (3,), name=name)
    return module(module.initialize_carry(jax.random.key(0), (1, 6, D)), x(1, 6, D))


def nnx_experts(rngs):
    make = nnx.vmap(lambda rngs: nnx.Linear(D, F, rngs=rngs))
    return make(rngs.split(E))


def linen_experts(name):
    options: dict[str, Any] = {"in_axes": None, "variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    stacked = nn.vmap(nn.Dense, axis_size=E, **options)
    return stacked(F, name=name)(x(1, D))


def attention(whole: bool):
    project, out = (hidden(0, (1, 2)), hidden((0, 1), 2)) if whole else (hidden(0, 2), hidden(1, 2))
    kernels = {f"layer/{part}/kernel": project for part in ("query", "key", "value")}
    biases = {f"layer/{part}/bias": VECTOR for part in ("query", "key", "value", "out")}
    return Row(
        kernels | {"layer/out/kernel": out} | biases,
        lambda rngs: nnx.MultiHeadAttention(H, D, decode=False, rngs=rngs),
        lambda name: nn.MultiHeadDotProductAttention(H, name=name)(x(1, 3, D)),
        {} if whole else {"attention": om.Attention(heads="each")},
    )


def conv(leaf, window=(3, 3), **options):
    return Row(
        {"layer/kernel": leaf, "layer/bias": VECTOR},
        lambda rngs: nnx.Conv(D, F, window, rngs=rngs, **options),
        lambda name: nn.Conv(F, window, name=name, **options)(x(1, *[6 for _ in window], D)),
    )


def conv_transpose(leaf, **options):
    return Row(
        {"layer/kernel": leaf, "layer/bias": VECTOR},
        lambda rngs: nnx.ConvTranspose(D, F, (3, 3), rngs=rngs, **options),
        lambda name: nn.ConvTranspose(F, (3, 3), name=name, **options)(x(1, 6, 6, D)),
    )


def flat_attention(name, leaf, **options):
    return Row(
        {f"{name}/kernel": leaf, f"{name}/bias": VECTOR},
        lambda rngs: nnx.Linear(D, F, rngs=rngs),
        lambda name: nn.Dense(F, name=name)(x(1, D)),
        {"attention": om.Attention(**options)},
    )


def fused_qkv(leaf, **options):
    return Row(
        {"qkv/kernel": leaf, "qkv/bias": VECTOR},
        lambda rngs: nnx.Linear(D, 3 * D, rngs=rngs),
        lambda name: nn.Dense(3 * D, name=name)(x(1, D)),
        {"attention": om.Attention(**options)},
    )


class RawNNX(nnx.Module):
    def __init__(self, rngs):
        self.pos_embed = nnx.Param(x(7, D))


class RawLinen(nn.Module):
    @nn.compact
    def __call__(self):
        return self.param("pos_embed", nn.initializers.zeros, (7, D))


LINEAR = {"nnx": lambda rngs: nnx.Linear(D, V, rngs=rngs), "linen": lambda name: nn.Dense(V, name=name)(x(1, D))}
GENERAL = {"nnx": lambda rngs: nnx.LinearGeneral(D, (H, K), rngs=rngs),
           "linen": lambda name: nn.DenseGeneral((H, K), name=name)(x(1, D))}  # fmt: skip
MERGE = {"nnx": lambda rngs: nnx.LinearGeneral((H, K), D, axis=(-2, -1), rngs=rngs),
         "linen": lambda name: nn.DenseGeneral(D, axis=(-2, -1), name=name)(x(1, H, K))}  # fmt: skip


def einsum(equation, kernel, bias, leaf, shape):
    return Row(
        {"layer/kernel": leaf} | ({"layer/bias": VECTOR} if bias else {}),
        lambda rngs: nnx.Einsum(equation, kernel, bias, rngs=rngs),
        lambda name: nn.Einsum(kernel, equation, use_bias=bias is not None, name=name)(x(*shape)),
    )


def norm(make_nnx, make_linen, *names):
    return Row({f"layer/{name}": VECTOR for name in names}, make_nnx, make_linen)


ROWS = {
    "Linear, Dense": Row(DENSE, lambda rngs: nnx.Linear(D, F, rngs=rngs), lambda name: nn.Dense(F, name=name)(x(1, D))),
    "the same, named lm_head": named("lm_head", om.Leaf("head", 0, 1), **LINEAR),
    "the same, named router": named("router", om.Leaf("router", 0, 1), **LINEAR),
    "the same, named up": named("up", hidden(0, 1), **LINEAR),
    "Embed": Row({"layer/embedding": om.Leaf("embedding", 0, 1)}, lambda rngs: nnx.Embed(V, D, rngs=rngs),
                 lambda name: nn.Embed(V, D, name=name)(jnp.zeros(3, int))),
    "a table called pos_embed": Row({"layer/pos_embed": om.Leaf("embedding", 0, 1)}, RawNNX,
                                    lambda name: RawLinen(name=name)()),
    "LayerNorm": norm(lambda rngs: nnx.LayerNorm(D, rngs=rngs), lambda name: nn.LayerNorm(name=name)(x(1, D)),
                       "scale", "bias"),
    "RMSNorm": norm(lambda rngs: nnx.RMSNorm(D, rngs=rngs), lambda name: nn.RMSNorm(name=name)(x(1, D)), "scale"),
    "BatchNorm": norm(lambda rngs: nnx.BatchNorm(D, rngs=rngs),
                       lambda name: nn.BatchNorm(name=name, use_running_average=False)(x(1, D)), "scale", "bias"),
    "GroupNorm": norm(lambda rngs: nnx.GroupNorm(D, 2, rngs=rngs), lambda name: nn.GroupNorm(2, name=name)(x(1, D)),
                       "scale", "bias"),
    "PReLU": norm(lambda rngs: nnx.PReLU(), lambda name: nn.PReLU(name=name)(x(1, D)), "negative_slope"),
    "MultiHeadAttention": attention(whole=True),
    "MultiHeadAttention, heads='each'": attention(whole=False),
    "Linear, Dense named query, heads='each'": flat_attention("query", hidden(0, 1, (K,) * 4), heads="each",
                                                              head_width=K),
    "Linear, Dense named qkv": fused_qkv(hidden(0, 1, (D, D, D))),
    "the same, fused='whole'": fused_qkv(hidden(0, 1), fused="whole"),
    "the same, heads='each'": fused_qkv(hidden(0, 1, (K,) * 6), heads="each", head_width=K),
    "LinearGeneral, DenseGeneral": Row({"layer/kernel": hidden(0, (1, 2)), "layer/bias": VECTOR}, **GENERAL),
    "the same, named query": named("query", hidden(0, (1, 2)), **GENERAL),
    "the same, merging heads": Row({"layer/kernel": hidden((0, 1), 2), "layer/bias": VECTOR}, **MERGE),
    "the same, with a batch axis": Row({"layer/kernel": hidden(1, 2), "layer/bias": VECTOR},
                               lambda rngs: nnx.LinearGeneral(D, F, batch_axis={0: E}, rngs=rngs),
                               lambda name: nn.DenseGeneral(F, batch_dims=(0,), name=name)(x(E, 2, D))),
    "Einsum btd,dhk->bthk": einsum("btd,dhk->bthk", (D, H, K), (H, K), hidden(0, (1, 2)), (1, 3, D)),
    "Einsum btd,hdk->bthk": einsum("btd,hdk->bthk", (H, D, K), None, hidden(1, (0, 2)), (1, 3, D)),
    "Einsum bthk,hkd->btd": einsum("bthk,hkd->btd", (H, K, D), (D,), hidden((0, 1), 2), (1, 3, H, K)),
    "Einsum bed,edf->bef": einsum("bed,edf->bef", (E, D, F), (E, F), hidden(1, 2), (1, E, D)),
    "Einsum bhk,hk->bhk": einsum("bhk,hk->bhk", (H, K), None, VECTOR, (1, H, K)),
    "Conv": conv(hidden((0, 1, 2), 3)),
    "Conv over one axis": conv(hidden((0, 1), 2), (5,)),
    "Conv of one pixel": conv(hidden((0, 1, 2), 3), (1, 1)),
    "Conv in 4 groups": conv(hidden((0, 1, 2), 3, (4,) * 4), feature_group_count=4),
    "Conv, depthwise": Row({"layer/kernel": VECTOR, "layer/bias": VECTOR},
                           lambda rngs: nnx.Conv(D, D, (3, 3), feature_group_count=D, rngs=rngs),
                           lambda name: nn.Conv(D, (3, 3), feature_group_count=D, name=name)(x(1, 6, 6, D))),
    "Conv of one channel": Row({"layer/kernel": hidden((0, 1, 2), 3), "layer/bias": VECTOR},
                             lambda rngs: nnx.Conv(1, D, (3, 3), rngs=rngs),
                             lambda name: nn.Conv(D, (3, 3), name=name)(x(1, 6, 6, 1))),
    "ConvTranspose": conv_transpose(hidden((0, 1, 2), 3)),
    "ConvTranspose, transpose_kernel": conv_transpose(hidden((0, 1, 3), 2), transpose_kernel=True),
    "ConvLocal over one axis": Row({"layer/kernel": hidden(1, 2), "layer/bias": VECTOR},
                      linen=lambda name: nn.ConvLocal(F, (3,), name=name)(x(1, 6, D))),
    "ConvLocal": Row({"layer/kernel": hidden(2, 3), "layer/bias": VECTOR},
                         linen=lambda name: nn.ConvLocal(F, (3, 3), name=name)(x(1, 5, 6, D))),
    "LSTMCell (NNX)": Row(lstm(["ii", "if_", "ig", "io", "hi", "hf", "hg", "ho"]),
                     lambda rngs: nnx.LSTMCell(D, D, rngs=rngs)),
    "LSTMCell (Linen)": Row(lstm(["ii", "if", "ig", "io", "hi", "hf", "hg", "ho"]),
                       linen=linear_cell(lambda name: nn.LSTMCell(D, name=name))),
    "OptimizedLSTMCell (Linen)": Row(lstm(["ii", "if", "ig", "io", "hi", "hf", "hg", "ho"]),
                                 linen=linear_cell(lambda name: nn.OptimizedLSTMCell(D, name=name))),
    "OptimizedLSTMCell (NNX)": Row(cell(dict.fromkeys(["dense_i", "dense_h"], hidden(0, 1, (D,) * 4)), ["dense_h"]),
                               lambda rngs: nnx.OptimizedLSTMCell(D, D, rngs=rngs)),
    "GRUCell (NNX)": Row(cell(dict.fromkeys(["dense_i", "dense_h"], hidden(0, 1, (D,) * 3)), ["dense_i"]),
                    lambda rngs: nnx.GRUCell(D, D, rngs=rngs)),
    "GRUCell (Linen)": Row(cell(dict.fromkeys(["ir", "iz", "in", "hr", "hz", "hn"], hidden(0, 1)),
                           ["ir", "iz", "in", "hn"]), linen=linear_cell(lambda name: nn.GRUCell(D, name=name))),
    "SimpleCell (NNX)": Row(cell(dict.fromkeys(["dense_i", "dense_h"], hidden(0, 1)), ["dense_i"]),
                            lambda rngs: nnx.SimpleCell(D, D, rngs=rngs)),
    "SimpleCell (Linen)": Row(cell(dict.fromkeys(["i", "h"], hidden(0, 1)), ["i"]),
                              linen=linear_cell(lambda name: nn.SimpleCell(D, name=name))),
    "MGUCell": Row(cell(dict.fromkeys(["if", "in", "hf", "hn"], hidden(0, 1)), ["if", "in", "hn"]),
                      linen=linear_cell(lambda name: nn.MGUCell(features=D, name=name))),
    "ConvLSTMCell": Row(cell(dict.fromkeys(["ih", "hh"], hidden((0, 1), 2, (4,) * 4)), ["ih", "hh"]),
                            linen=conv_lstm),
    "Linear, Dense under vmap (experts)": Row({"layer/kernel": hidden(1, 2), "layer/bias": VECTOR}, nnx_experts,
                                              linen_experts),
    "LoRA": Row({"layer/lora_a": hidden(0, 1), "layer/lora_b": hidden(0, 1)},
                lambda rngs: nnx.LoRA(D, 2, F, rngs=rngs)),
    "LoRALinear": Row(DENSE | {"layer/lora/lora_a": hidden(0, 1), "layer/lora/lora_b": hidden(0, 1)},
                       lambda rngs: nnx.LoRALinear(D, F, lora_rank=2, rngs=rngs)),
}  # fmt: skip


def stacked(leaf: om.Leaf, axis: int = 0) -> om.Leaf:
    """The leaf of the same parameter with an axis of layers put in."""
    reduction, output = ([a + (a >= axis) for a in side] for side in (leaf.reduction, leaf.output))
    return om.Leaf(leaf.role, reduction, output, leaf.split)
