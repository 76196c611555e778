"""A model that is not called: layers of its own, names of axes, and what the plain tree tells."""

import flax.linen as nn
import jax.numpy as jnp
import pytest
from flax import nnx

import optax_muon as om
from tests.matrices.flax.models import H, Holder, holder, linear, nnx_leaves

D, F, L = 8, 32, 3


class Dense(nnx.Module):
    """Keeps what it takes and makes; the kernel in either order."""

    def __init__(self, taken, made, rngs, turned=False):
        self.in_features_shape, self.out_features_shape, self.axis = taken, made, (-1,)
        self.kernel = nnx.Param(jnp.zeros(made + taken if turned else taken + made))


def own(taken, made, **options):
    return lambda rngs: Dense(taken, made, rngs, **options)


def array(*sides, **metadata):
    return lambda rngs: nnx.Param(jnp.zeros(sides), **metadata)


def test_a_dense_layer_of_ones_own_that_keeps_its_features():
    leaves = nnx_leaves(holder(
        query=own((D,), (2, 4)), key=own((D,), (2, 4)), out=own((2, 4), (D,)), up=own((D,), (F,), turned=True),
        lm_head=own((D,), (50,)), square=own((D,), (D,)),
    ))  # fmt: skip
    assert leaves["query/kernel"] == H("hidden", 0, (1, 2))
    assert leaves["out/kernel"] == H("hidden", (0, 1), 2)
    assert leaves["up/kernel"] == H("hidden", 1, 0)
    assert leaves["lm_head/kernel"] == H("head", 0, 1)
    assert leaves["square/kernel"] == H("hidden", 0, 1)


def test_a_gate_whose_experts_stand_before_their_layers_is_a_router():
    named = {"sharding_names": ("experts", "layers", "embed", "mlp")}
    with nnx.use_eager_sharding(False):
        leaves = nnx_leaves(holder(moe=holder(
            gate=own((D,), (4,)), wi_0=array(4, D, F), wi_1=array(4, D, F), wo=array(4, F, D),
        ), moe_scanned=holder(
            gate=lambda rngs: nnx.vmap(own((D,), (4,)), out_axes=nnx.StateAxes({nnx.Param: 1}))(rngs.split(L)),
            wi_0=array(4, L, D, F, **named), wo=array(4, L, F, D, **named),
        )))  # fmt: skip
    assert leaves["moe/gate/kernel"].role == leaves["moe_scanned/gate/kernel"].role == "router"


def test_what_no_module_tells_the_plain_tree_may():
    expert = holder(up_proj=array(4, D, F), down_proj=array(4, F, D))
    leaves = nnx_leaves(holder(moe=expert))
    assert leaves["moe/up_proj"] == H("hidden", 1, 2)
    with pytest.raises(om.UnknownLeafError, match="no known layer"):
        nnx_leaves(holder(block=lambda rngs: Holder(rngs, w=array(D, F))))


def test_the_pieces_of_a_state_space_are_told_by_what_stands_beside():
    mixer = holder(in_proj=linear(D, 2 * F), out_proj=linear(F, D), dt_proj=linear(4, F), A_log=array(F, 4))
    assert nnx_leaves(holder(mixer=mixer))["mixer/in_proj/kernel"] == H("hidden", 0, 1, (F, F))


def test_names_of_axes_tell_which_one_numbers_layers():
    named = {"sharding_names": ("embed", "layers", "mlp")}
    with nnx.use_eager_sharding(False):
        leaves = nnx_leaves(holder(mlp=holder(
            up=holder(kernel=array(D, L, F, **named)), down=holder(kernel=array(F, L, D, **named)),
        )))  # fmt: skip
    for name in ("up", "down"):
        leaf = leaves[f"mlp/{name}/kernel"]
        assert (leaf.role, leaf.reduction, leaf.output) == ("hidden", (0,), (2,))


def test_query_key_value_of_every_head_stay_together():
    leaf = nnx_leaves(holder(query_key_value=linear(D, 3 * D), dense=linear(D, D)))["query_key_value/kernel"]
    assert (leaf, leaf.assumed) == (H("hidden", 0, 1), True)


def conv(n, m, size=3):
    return lambda rngs: nnx.Conv(n, m, (size, size), rngs=rngs)


def test_a_head_that_is_a_convolution():
    leaves = nnx_leaves(holder(inc=conv(1, 4), mid=conv(4, 4), outc=holder(conv=conv(4, 2, 1))))
    assert leaves["outc/conv/kernel"].role == "head"


def test_layers_that_blocks_repeat_are_no_ends():
    def block(rngs):
        return Holder(rngs, narrow=conv(24, 16, 1), grow=conv(16, 4))

    leaves = nnx_leaves(holder(stem=conv(3, 12), a=block, b0=block, b1=block, last=conv(28, 28)))
    assert {leaves[f"b{i}/{name}/kernel"].role for i in (0, 1) for name in ("narrow", "grow")} == {"hidden"}


class Einsum(nnx.Module):
    """An einsum class of the model's own."""

    def __init__(self, einsum_str, sides, rngs):
        self.einsum_str, self.w = einsum_str, nnx.Param(jnp.zeros(sides))


def test_pieces_that_lead_an_einsums_result_are_matrices_apart():
    up = nnx_leaves(holder(ffw_up=lambda rngs: Einsum("...td,cdD->c...tD", (2, D, F), rngs)))["ffw_up/w"]
    assert up == H("hidden", 1, 2)


def test_names_that_leave_no_doubt_come_before_widths():
    mixer = holder(x_proj=linear(F, 10), dt_proj=linear(2, F), A_log=array(F, 4), in_proj=linear(D, 2 * F),
                   out_proj=linear(F, D))  # fmt: skip
    leaves = nnx_leaves(holder(layers_0=mixer, layers_1=mixer))
    assert leaves["layers_0/dt_proj/kernel"] == H("hidden", 0, 1)
    assert leaves["layers_0/x_proj/kernel"] == H("hidden", 0, 1, (2, 4, 4))


def test_a_last_convolution_onto_one_channel():
    leaves = nnx_leaves(holder(first=conv(1, 8), second=conv(8, 8), third=conv(8, 1, 1)))
    assert (leaves["third/kernel"].role, leaves["third/kernel"].assumed) == ("head", True)


def test_twin_networks_have_two_ends_each():
    leaves = nnx_leaves(holder(
        Dense_0=linear(5, F), Dense_1=linear(F, F), Dense_2=linear(F, 3), Dense_3=linear(5, F), Dense_4=linear(F, F),
        Dense_5=linear(F, 1),
    ))  # fmt: skip
    roles = [leaves[f"Dense_{i}/kernel"].role for i in range(6)]
    assert roles == ["input", "hidden", "head"] * 2


def test_a_linen_model_inside_nnx_is_read_as_its_plain_tree():
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x + nn.Dense(D, name="down")(nn.relu(nn.Dense(F, name="up")(x)))
            return nn.Dense(50, name="lm_head")(x)

    model = nnx.bridge.lazy_init(nnx.bridge.ToNNX(Inner(), rngs=nnx.Rngs(0)), jnp.zeros((2, D)))
    leaves = om.leaves_from_flax(model)
    assert leaves["up"]["kernel"] == H("hidden", 0, 1)
    assert leaves["down"]["kernel"] == H("hidden", 0, 1)
    assert leaves["lm_head"]["kernel"].role == "head"
