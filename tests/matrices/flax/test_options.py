"""Options, rules and specs of a model's leaves, and what cannot be told."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.matrices._paths import by_path
from tests.matrices.flax.models import H, Holder, holder, linear, nnx_leaves, stack


class Dense(nn.Module):
    """One layer."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, use_bias=False)(x)


def test_unknown_parameters_raise_naming_path_and_module():
    raw = holder(block=lambda rngs: Holder(rngs, w=lambda _: nnx.Param(jnp.zeros((4, 8)))))
    with pytest.raises(om.UnknownLeafError, match=r"block/w'.*\(4, 8\): Holder at 'block' is no known layer"):
        nnx_leaves(raw)
    assert nnx_leaves(raw, rules=[("block/w", om.Leaf("hidden", 1, 0))])["block/w"] == H("hidden", 1, 0)
    assert nnx_leaves(raw, modules={Holder: {"w": om.Leaf("hidden", -1, -2)}})["block/w"] == H("hidden", 1, 0)
    stacked = nnx_leaves(holder(layers=stack(lambda r: Holder(r, w=lambda _: nnx.Param(jnp.zeros((4, 8)))), 3)),
                         modules={Holder: {"w": om.Leaf("hidden", -1, -2)}})  # fmt: skip
    assert stacked["layers/w"] == H("hidden", 2, 1)
    with pytest.raises(ValueError, match=r"block/w: shape \(4, 8\) has no distinct axes"):
        nnx_leaves(raw, modules={Holder: {"w": om.Leaf("hidden", -1, -3)}})
    with pytest.raises(ValueError, match=r"axes of 'w' in Holder must be negative, counted from the end, not \(0,\)"):
        nnx_leaves(raw, modules={Holder: {"w": om.Leaf("hidden", 0, 1)}})
    with pytest.raises(om.UnknownLeafError, match=r"qkv.*fuses 3 projections of 8 features into 16"):
        nnx_leaves(holder(qkv=linear(8, 16)))
    with pytest.raises(om.UnknownLeafError, match=r"Linear at 'query' keeps all heads in one output axis of 8"):
        nnx_leaves(holder(query=linear(8, 8)), attention=om.Attention(heads="each"))


def test_linen_axes_of_own_modules_do_not_count_stacked_layers():
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            return x @ self.param("w", nn.initializers.ones, (4, 4)).T, None

    model = nn.scan(Own, variable_axes={"params": 1}, split_rngs={"params": True}, length=4)()
    given = om.leaves_from_flax(model, jnp.zeros((1, 4)), None, modules={Own: {"w": om.Leaf("hidden", -1, -2)}})
    assert given["w"] == H("hidden", 2, 0)
    assert om.leaves_from_flax(model, jnp.zeros((1, 4)), None) == given  # the call says the same


def test_a_replaced_kernel_of_another_shape_is_named():
    model = nnx.eval_shape(lambda: nnx.Linear(4, 8, rngs=nnx.Rngs(0)))
    model.kernel = nnx.Param(jnp.zeros((3, 8)))
    with pytest.raises(om.UnknownLeafError, match=r"kernel of shape \(4, 8\), and this is another"):
        om.leaves_from_flax(model)


def test_rules_name_roles_and_axes_stay():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.DenseGeneral((5, 10))(nn.Dense(8)(x))

    leaves = om.leaves_from_flax(Model(), jnp.zeros((1, 4)))
    assert leaves["Dense_0"]["kernel"] == H("input", 0, 1)
    assert leaves["DenseGeneral_0"]["kernel"] == H("head", 0, (1, 2))
    params = jax.eval_shape(Model().init, jax.random.key(0), jnp.zeros((1, 4)))["params"]
    rules = [("*/kernel", "hidden")]
    told = om.leaves_from_flax(Model(), jnp.zeros((1, 4)), rules=rules)
    assert told["Dense_0"]["kernel"] == H("hidden", 0, 1)
    assert told["DenseGeneral_0"]["kernel"] == H("hidden", 0, (1, 2))
    assert om.label(params, leaves, rules=rules)["DenseGeneral_0"] == {"kernel": "hidden", "bias": "vector"}


def test_dimension_numbers_agree_with_optax():
    model = nnx.eval_shape(lambda: nnx.MultiHeadAttention(2, 4, decode=False, rngs=nnx.Rngs(0)))
    leaves = om.leaves_from_flax(model)
    numbers = om.dimension_numbers(leaves)
    assert numbers["query"]["kernel"] == optax.contrib.MuonDimensionNumbers((0,), (1, 2))
    assert numbers["out"]["bias"] is None


def test_filters_and_adapters():
    model = nnx.eval_shape(lambda: nnx.LoRALinear(4, 8, lora_rank=2, rngs=nnx.Rngs(0)))
    leaves = om.leaves_from_flax(model, wrt=nnx.LoRAParam)
    assert by_path(leaves) == {"lora/lora_a": H("hidden", 0, 1), "lora/lora_b": H("hidden", 0, 1)}
    frozen = by_path(om.leaves_from_flax(model, rules=[("lora/*", "hidden"), ("*", "frozen")]))
    assert [leaf.role for leaf in frozen.values()] == ["frozen", "frozen", "hidden", "hidden"]


def test_a_table_before_adapters_is_no_input_though_it_is_frozen():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embed, self.up = nnx.Embed(20, 4, rngs=rngs), nnx.LoRALinear(4, 8, lora_rank=2, rngs=rngs)
            self.out = nnx.Linear(8, 20, rngs=rngs)

        def __call__(self, tokens):
            return self.out(nnx.relu(self.up(self.embed(tokens))))

    model = nnx.eval_shape(lambda: Model(nnx.Rngs(0)))
    leaves = by_path(om.leaves_from_flax(model, jnp.zeros((2, 3), jnp.int32), wrt=nnx.LoRAParam))
    assert leaves == {"up/lora/lora_a": H("hidden", 0, 1), "up/lora/lora_b": H("hidden", 0, 1)}
    assert not any(leaf.assumed for leaf in leaves.values())


def test_specs_come_from_metadata():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.initializers.lecun_normal()
            x = nn.Dense(8, kernel_init=nn.with_partitioning(init, (None, "model")), name="up")(x)
            return nn.Dense(4, kernel_init=nn.with_logical_partitioning(init, ("mlp", "embed")), name="down")(x)

    with nn.logical_axis_rules([("mlp", "model"), ("embed", None)]):
        leaves = om.leaves_from_flax(Model(), jnp.zeros((1, 4)))
    assert leaves["up"]["kernel"].spec == P(None, "model")
    assert leaves["down"]["kernel"].spec == P("model", None)
    assert leaves["up"]["bias"].spec is None
    assert om.leaves_from_flax(Model(), jnp.zeros((1, 4)))["down"]["kernel"].spec is None, "names without rules"
    ruled = om.leaves_from_flax(Model(), jnp.zeros((1, 4)), rules=[("up/kernel", "head")])
    assert ruled["up"]["kernel"].spec == P(None, "model")

    class Raw(nn.Module):
        @nn.compact
        def __call__(self):
            return self.param("w", nn.with_partitioning(nn.initializers.ones, ("model", None)), (4, 4))

    assert om.leaves_from_flax(Raw(), rules=[("w", om.Leaf("hidden", 0, 1))])["w"].spec == P("model", None)


@pytest.mark.parametrize("kind", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def test_nnx_specs_come_from_metadata_or_arrays(kind):
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(kind, kind))

    def make(rngs):
        annotated = linear(4, 8, kernel_metadata={"out_sharding": ("data", "model")})
        stacked = nnx.vmap(annotated, transform_metadata={nnx.PARTITION_NAME: None})
        return Holder(rngs, plain=linear(4, 8), layers=lambda rngs: stacked(rngs.split(2)), one=annotated)

    with jax.set_mesh(mesh):
        model = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    model.plain.kernel = nnx.Param(jax.device_put(jnp.zeros((4, 8)), jax.NamedSharding(mesh, P("model"))))  # pyright: ignore
    leaves = by_path(om.leaves_from_flax(model))
    assert leaves["one/kernel"].spec == P("data", "model")
    assert leaves["layers/kernel"].spec == P(None, "data", "model")
    assert leaves["plain/kernel"].spec == P("model")
    assert leaves["plain/bias"].spec is None


@pytest.mark.parametrize("model", [Dense, {"kernel": 1}, nnx.Linear])
def test_what_is_no_model(model):
    with pytest.raises(ValueError, match="takes an instance of a Flax module"):
        om.leaves_from_flax(model)


def test_bad_options():
    with pytest.raises(ValueError, match="heads must be one of"):
        om.Attention(heads="all")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="head_width must be positive, not 0"):
        om.Attention(head_width=0)
    with pytest.raises(ValueError, match="wrt filters an NNX model"):
        om.leaves_from_flax(Dense(), jnp.zeros((1, 4)), wrt=nnx.Param)
    with pytest.raises(ValueError, match="so 'rule' is unknown"):
        nnx_leaves(holder(up=linear(4, 8)), rule=[])
    with pytest.raises(ValueError, match="'heads' is no role"):
        om.leaves_from_flax(Dense(), jnp.zeros((1, 4)), rules=[("Dense_0/*", "heads")])
