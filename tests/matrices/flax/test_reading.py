"""What lies around the module table: stacks on any axis, wrappers, sharing, roles by what stands beside."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path
from tests.matrices.flax.models import H, Holder, holder, linear, nnx_leaves, stack


@pytest.mark.parametrize(("axis", "reduction", "output"), [(0, 1, 2), (1, 0, 2), (2, 0, 1), (-1, 0, 1)])
def test_nnx_stacks_on_any_axis(axis, reduction, output):
    leaves = nnx_leaves(holder(layers=stack(linear(4, 8, use_bias=axis in (0, 1)), 3, axis)))
    assert leaves["layers/kernel"] == H("hidden", reduction, output)
    assert leaves.get("layers/bias", H("vector")) == H("vector")


def test_equal_lengths_are_settled_by_what_is_beside():
    def block(rngs):
        return Holder(rngs, up=linear(4, 6), experts=stack(linear(4, 6), 5), plain=linear(4, 4, use_bias=False),
                      next=linear(6, 4))  # fmt: skip

    leaves = nnx_leaves(holder(layers=stack(block, 4, 1)))
    assert leaves["layers/up/kernel"] == H("hidden", 0, 2), "as many layers as inputs; the bias decides"
    assert leaves["layers/experts/kernel"] == H("hidden", 2, 3)
    assert leaves["layers/plain/kernel"] == H("hidden", 0, 2), "the kernel of up decides"
    assert [path for path, leaf in leaves.items() if "several axes" in leaf.why] == ["layers/experts/kernel"]
    last = nnx_leaves(holder(layers=stack(lambda r: Holder(r, up=linear(4, 6), down=linear(6, 4)), 6, -1)))
    assert last["layers/up/kernel"] == H("hidden", 0, 1), "as many layers as outputs; down's are last, bias and all"
    assert "several axes" not in last["layers/up/kernel"].why
    leaves = nnx_leaves(holder(layers=stack(linear(4, 6, use_bias=False), 4)))
    assert leaves["layers/kernel"] == H("hidden", 1, 2)
    assert leaves["layers/kernel"].assumed
    assert "several axes fit" in leaves["layers/kernel"].why


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        return nn.Dense(4, use_bias=False)(x), None


class Stacked(nn.Module):
    axis: int

    @nn.compact
    def __call__(self, x):
        layers = nn.scan(Inner, variable_axes={"params": self.axis}, split_rngs={"params": True}, length=4)
        return layers(name="layers")(x, None)


@pytest.mark.parametrize(("axis", "reduction", "output"), [(0, 1, 2), (1, 0, 2), (2, 0, 1), (-1, 0, 1)])
def test_linen_stacks_on_any_axis_with_equal_lengths(axis, reduction, output):
    leaf = om.leaves_from_flax(Stacked(axis), jnp.zeros((1, 4)))["layers"]["Dense_0"]["kernel"]
    assert leaf == H("hidden", reduction, output)
    assert "several axes" not in leaf.why


class Wrapped(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.remat(nn.Dense)(8)(x)
        x = nn.WeightNorm(nn.Dense(8))(x)
        x = nn.SpectralNorm(nn.Dense(8))(x, update_stats=train)
        x = nn.remat_scan(nn.Dense, lengths=(2, 3))(4)(nn.Dropout(0.5, deterministic=not train)(x[:, :4]))
        return nn.Embed(50, 4, name="embed").attend(x[0])


def test_linen_wrappers():
    shape = jax.ShapeDtypeStruct((2, 8), jnp.float32)
    leaves = by_path(om.leaves_from_flax(Wrapped(), shape, train=True))
    assert leaves["CheckpointDense_0/kernel"] == H("input", 0, 1)
    assert leaves["WeightNorm_0/Dense_0/kernel/scale"] == H("vector")
    assert leaves["Dense_0/kernel"] == leaves["Dense_1/kernel"] == H("hidden", 0, 1)
    assert leaves["embed/embedding"] == H("embedding", 0, 1)
    assert H("hidden", 2, 3) in leaves.values()


def test_nnx_wrappers():
    leaves = nnx_leaves(
        holder(
            seq=lambda rngs: nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.relu, nnx.Linear(4, 4, rngs=rngs)),
            normed=lambda rngs: nnx.WeightNorm(nnx.Linear(4, 4, rngs=rngs), rngs=rngs),
            rnn=lambda rngs: nnx.RNN(nnx.GRUCell(4, 4, rngs=rngs), rngs=rngs),
            head=lambda rngs: nnx.LoRA(4, 2, 5, base_module=nnx.Linear(4, 5, rngs=rngs), rngs=rngs),
        )
    )
    assert leaves["seq/layers/2/kernel"] == leaves["normed/layer_instance/kernel"] == H("hidden", 0, 1)
    assert leaves["rnn/cell/dense_i/kernel"] == H("hidden", 0, 1, split=(4, 4, 4))
    assert leaves["head/base_module/kernel"] == leaves["head/lora_a"] == H("head", 0, 1)


class Tied(nnx.Module):
    """One variable under several modules."""

    def __init__(self, rngs, swap=False):
        self.embed = nnx.Embed(5, 4, rngs=rngs)
        self.first, self.second = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)
        self.second.kernel = self.first.kernel
        self.zhead = nnx.Linear(5, 4, use_bias=False, rngs=rngs)
        self.zhead.kernel = self.embed.embedding
        if swap:
            self.third = nnx.ConvTranspose(4, 4, (), transpose_kernel=True, rngs=rngs)
            self.third.kernel = self.first.kernel


def test_shared_variables_appear_once_and_with_their_strongest_role():
    leaves = nnx_leaves(Tied)
    assert leaves["first/kernel"] == H("hidden", 0, 1)
    assert "second/kernel" not in leaves
    assert leaves["embed/embedding"].role == "embedding"
    with pytest.raises(om.UnknownLeafError, match="shared as first/kernel and second/kernel and third/kernel"):
        nnx_leaves(functools.partial(Tied, swap=True))


def test_gate_is_a_router_beside_as_many_experts_and_hidden_elsewhere():
    def mixture(rngs):
        return Holder(rngs, gate=linear(4, 3), experts=stack(lambda r: Holder(r, gate=linear(4, 6)), 3))

    leaves = nnx_leaves(holder(moe=mixture, mlp=lambda r: Holder(r, gate=linear(4, 3), up=linear(4, 3))))
    assert leaves["moe/gate/kernel"] == H("router", 0, 1)
    assert leaves["moe/experts/gate/kernel"] == H("hidden", 1, 2)
    assert leaves["mlp/gate/kernel"] == H("hidden", 0, 1)
    scanned = nnx_leaves(holder(layers=stack(mixture, 2)))
    assert scanned["layers/gate/kernel"] == H("router", 1, 2)
    layers = nnx_leaves(holder(layers=stack(lambda r: Holder(r, gate=linear(4, 3), up=linear(4, 3)), 3)))
    assert layers["layers/gate/kernel"] == H("hidden", 1, 2), "layers are no experts"


def test_out_is_a_projection_beside_a_query_and_may_be_a_head_elsewhere():
    leaves = nnx_leaves(holder(mix=lambda r: Holder(r, q=linear(4, 8), out=linear(8, 4)), out=linear(4, 8)))
    assert (leaves["mix/out/kernel"].assumed, leaves["out/kernel"].assumed) == (False, True)
    split = nnx_leaves(holder(q=linear(4, 8), out=linear(8, 4)), attention=om.Attention(heads="each", head_width=2))
    assert split["out/kernel"] == H("hidden", 0, 1, split=om.Split((2,) * 4, "reduction"))
    assert nnx_leaves(holder(fc=linear(4, 8)))["fc/kernel"].assumed


def test_stacked_layers_are_hidden_but_a_stack_of_whole_models_has_a_head():
    def model(rngs):
        return Holder(rngs, first=linear(4, 6), second=linear(6, 5))

    layers = nnx_leaves(holder(layers=stack(model, 3), last=linear(4, 8)))
    ensemble = nnx_leaves(holder(layers=stack(model, 3)))
    assert layers["layers/second/kernel"] == H("hidden", 1, 2)
    assert ensemble["layers/second/kernel"] == H("head", 1, 2), "no layer takes its outputs"
    assert not layers["layers/second/kernel"].assumed
    assert ensemble["layers/second/kernel"].assumed
    linen = by_path(om.leaves_from_flax(Stacked(0), jnp.zeros((1, 4))))
    assert {leaf.role for leaf in linen.values()} >= {"hidden"}


def test_a_single_token_is_a_vector():
    leaves = nnx_leaves(holder(token=lambda _: nnx.Param(jnp.zeros((1, 1, 4))), up=linear(4, 8)))
    assert leaves["token"] == H("vector")


def test_fused_projections_with_an_axis_that_numbers_them():
    def fused(name, *features, **options):
        leaves = nnx_leaves(holder(**{name: lambda rngs: nnx.LinearGeneral(4, features, rngs=rngs)}), **options)
        return leaves[f"{name}/kernel"]

    each = {"attention": om.Attention(heads="each")}
    assert fused("qkv", 3, 2, 5) == H("hidden", 0, (2, 3))
    assert fused("qkv", 3, 2, 5, **each) == H("hidden", 0, 3)
    assert fused("kv", 2, 6, 5) == H("hidden", 0, (2, 3))
    assert fused("qkv", 3, 2, 5, attention=om.Attention(fused="whole")) == H("hidden", 0, (1, 2, 3))
    with pytest.raises(om.UnknownLeafError, match=r"which of its output axes \(1, 2\) are heads"):
        fused("qkv", 2, 15, **each)


def test_heads_of_an_einsum_are_those_that_its_result_names_first():
    model = holder(query=lambda rngs: nnx.Einsum("btd,kdh->bthk", (5, 4, 2), rngs=rngs))
    assert nnx_leaves(model)["query/kernel"] == H("hidden", 1, (2, 0))
    assert nnx_leaves(model, attention=om.Attention(heads="each"))["query/kernel"] == H("hidden", 1, 0)


def test_an_equation_may_come_with_the_call():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Einsum((3, 4), None, name="mix")(x, "bd,fd->bf")

    assert om.leaves_from_flax(Model(), jnp.zeros((1, 4)))["mix"]["kernel"] == H("head", 1, 0)
