"""Layers of the model's own: einsum classes that say their equation, and what is given for a type."""

import flax.linen as nn
import jax.numpy as jnp
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path

H = om.Leaf


class Einsum(nnx.Module):
    """As several projects have it."""

    def __init__(self, einsum_str: str, shape: tuple[int, ...], rngs: nnx.Rngs):
        self.einsum_str, self.w = einsum_str, nnx.Param(rngs.params.uniform(shape))


class Attention(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.q_einsum = Einsum("BTD,NDH->BTNH", (4, 32, 8), rngs)
        self.kv_einsum = Einsum("BSD,CKDH->CBSKH", (2, 2, 32, 8), rngs)
        self.attn_vec_einsum = Einsum("BTNH,NHD->BTD", (4, 8, 32), rngs)
        self.lm_head = Einsum("BTD,DV->BTV", (32, 101), rngs)


def test_an_einsum_class_that_keeps_its_equation():
    leaves = by_path(om.leaves_from_flax(nnx.eval_shape(lambda: Attention(nnx.Rngs(0)))))
    assert leaves == {
        "q_einsum/w": H("hidden", 1, (0, 2)),
        "kv_einsum/w": H("hidden", 2, (1, 3)),
        "attn_vec_einsum/w": H("hidden", (0, 1), 2),
        "lm_head/w": H("head", 0, 1),
    }


def test_an_einsum_class_that_is_called_with_it():
    class Product(nn.Module):
        shape: tuple[int, ...]

        @nn.compact
        def __call__(self, equation, x):
            return jnp.einsum(equation, x, self.param("w", nn.initializers.normal(), self.shape))

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = Product((4, 32, 8), name="q_einsum")("BTD,NDH->BTNH", x)
            return Product((4, 8, 32), name="attn_vec_einsum")("BTNH,NHD->BTD", x)

    from optax_muon.matrices.flax._linen import read_linen

    leaves = read_linen(Model(), (jnp.zeros((2, 3, 32)),), {}, om.Attention(), {}).leaves
    assert leaves == {"q_einsum/w": H("hidden", 1, (0, 2)), "attn_vec_einsum/w": H("hidden", (0, 1), 2)}


class Dense(nnx.Module):
    """A kernel that is stored (out, in)."""

    def __init__(self, n: int, m: int, rngs: nnx.Rngs):
        self.weight = nnx.Param(rngs.params.uniform((m, n)))


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.qkv, self.up = Dense(8, 24, rngs), Dense(8, 32, rngs)
        self.down, self.lm_head = Dense(32, 8, rngs), Dense(8, 101, rngs)


def test_what_is_given_for_a_type_gets_roles_and_pieces_by_name():
    for leaf in (H("hidden", -1, -2), lambda module: H("hidden", -1, -2)):
        given = {Dense: {"weight": leaf}}
        leaves = by_path(om.leaves_from_flax(nnx.eval_shape(lambda: Model(nnx.Rngs(0))), modules=given))
        assert leaves == {
            "qkv/weight": H("hidden", 1, 0, (8, 8, 8)),
            "up/weight": H("hidden", 1, 0),
            "down/weight": H("hidden", 1, 0),
            "lm_head/weight": H("head", 1, 0),
        }
