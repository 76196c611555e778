"""What lies around the module table: stacks on any axis, sharing, specs, options, rules, and what cannot be told."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.matrices._paths import by_path

H = om.Leaf


def nnx_leaves(make, *args, **options):
    """Leaves by path of an abstract NNX model."""
    return by_path(om.leaves_from_flax(nnx.eval_shape(lambda: make(*args, rngs=nnx.Rngs(0))), **options))


class Holder(nnx.Module):
    """Holds what it is given, under the names it is given."""

    def __init__(self, rngs, **makers):
        for name, make in makers.items():
            setattr(self, name, make(rngs))


def holder(**makers):
    return functools.partial(Holder, **makers)


def linear(n, m, **options):
    return lambda rngs: nnx.Linear(n, m, rngs=rngs, **options)


def stack(make, count, axis=0):
    """Layers stacked along any axis, by `nnx.vmap`."""
    return lambda rngs: nnx.vmap(make, out_axes=nnx.StateAxes({nnx.Param: axis}))(rngs.split(count))


@pytest.mark.parametrize(("axis", "reduction", "output"), [(0, 1, 2), (1, 0, 2), (2, 0, 1), (-1, 0, 1)])
def test_nnx_stacks_on_any_axis(axis, reduction, output):
    leaves = nnx_leaves(holder(layers=stack(linear(4, 8, use_bias=axis in (0, 1)), 3, axis)))
    assert leaves["layers/kernel"] == H("hidden", reduction, output)
    assert leaves.get("layers/bias", H("vector")) == H("vector")


def test_equal_lengths_are_settled_by_what_is_beside():
    def block(rngs):
        return Holder(rngs, up=linear(4, 6), experts=stack(linear(4, 6), 5), plain=linear(4, 4, use_bias=False))

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
    assert leaves["CheckpointDense_0/kernel"] == H("hidden", 0, 1)
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
    assert ensemble["layers/second/kernel"] == layers["layers/second/kernel"] == H("hidden", 1, 2)
    assert not layers["layers/second/kernel"].assumed
    assert ensemble["layers/second/kernel"].assumed
    linen = om.leaves_from_flax(Stacked(0), jnp.zeros((1, 4)))
    assert linen["layers"]["Dense_0"]["kernel"].assumed


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

    assert om.leaves_from_flax(Model(), jnp.zeros((1, 4)))["mix"]["kernel"] == H("hidden", 1, 0)


def test_unknown_parameters_raise_naming_path_and_module():
    raw = holder(block=lambda rngs: Holder(rngs, w=lambda _: nnx.Param(jnp.zeros((4, 8)))))
    with pytest.raises(om.UnknownLeafError, match=r"block/w \(4, 8\): Holder at 'block' is no known layer"):
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
    with pytest.raises(om.UnknownLeafError, match="w .4, 4, 4.: the model, Own is no known layer"):
        om.leaves_from_flax(model, jnp.zeros((1, 4)), None)
    leaves = om.leaves_from_flax(model, jnp.zeros((1, 4)), None, modules={Own: {"w": om.Leaf("hidden", -1, -2)}})
    assert leaves["w"] == H("hidden", 2, 0)


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
    assert leaves["Dense_0"]["kernel"].assumed
    params = jax.eval_shape(Model().init, jax.random.key(0), jnp.zeros((1, 4)))["params"]
    assert "2 assumed" in om.describe(params, leaves).summary
    for told in (
        om.leaves_from_flax(Model(), jnp.zeros((1, 4)), rules=[("DenseGeneral_0/*", "head")]),
        om.label(params, leaves, rules=[("DenseGeneral_0/*", "head")]),
    ):
        roles = jax.tree.map(lambda x: x.role if isinstance(x, om.Leaf) else x, told)
        assert roles["DenseGeneral_0"] == {"kernel": "head", "bias": "vector"}
    told = om.leaves_from_flax(Model(), jnp.zeros((1, 4)), rules=[("DenseGeneral_0/*", "head")])
    assert told["DenseGeneral_0"]["kernel"] == H("head", 0, (1, 2))
    assert "1 assumed" in om.describe(params, told).summary


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


@pytest.mark.parametrize("model", [Inner, {"kernel": 1}, nnx.Linear])
def test_what_is_no_model(model):
    with pytest.raises(ValueError, match="takes an instance of a Flax module"):
        om.leaves_from_flax(model)


def test_bad_options():
    with pytest.raises(ValueError, match="heads must be one of"):
        om.Attention(heads="all")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="head_width must be positive, not 0"):
        om.Attention(head_width=0)
    with pytest.raises(ValueError, match="wrt filters an NNX model"):
        om.leaves_from_flax(Inner(), jnp.zeros((1, 4)), wrt=nnx.Param)
    with pytest.raises(ValueError, match="so 'rule' is unknown"):
        nnx_leaves(holder(up=linear(4, 8)), rule=[])
    with pytest.raises(ValueError, match="'heads' is no role"):
        om.leaves_from_flax(Inner(), jnp.zeros((1, 4)), rules=[("Dense_0/*", "heads")])
