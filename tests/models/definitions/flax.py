"""Flax's own examples: https://github.com/google/flax."""

import jax
import jax.numpy as jnp
from flax import nnx

from tests.models.definitions._definition import ATTENTION, Linen, Nnx, definition, ints, load, shape


def linen(model, *inputs, **options):
    return Linen(model, inputs, options)


@definition("flax/lm1b", "examples/lm1b/models.py", ATTENTION + "logitdense/kernel head io")
def lm1b():
    models = load("flax", "examples/lm1b/models.py")
    config = models.TransformerConfig(
        101, 101, emb_dim=32, num_heads=4, num_layers=2, qkv_dim=32, mlp_dim=64, max_len=16, deterministic=True,
        posemb_init=jax.nn.initializers.normal(),
    )  # fmt: skip
    return linen(models.TransformerLM(config), ints(2, 8))


@definition("flax/wmt", "examples/wmt/models.py", ATTENTION)
def wmt():
    models = load("flax", "examples/wmt/models.py")
    config = models.TransformerConfig(
        101, 101, True, True, emb_dim=32, num_heads=4, num_layers=2, qkv_dim=32, mlp_dim=64, max_len=16,
        deterministic=True,
    )  # fmt: skip
    return linen(models.Transformer(config), ints(2, 8), ints(2, 8))


@definition("flax/nlp_seq", "examples/nlp_seq/models.py", ATTENTION + "/Dense_0/kernel head io")
def nlp_seq():
    models = load("flax", "examples/nlp_seq/models.py")
    config = models.TransformerConfig(
        101, 20, emb_dim=32, num_heads=4, num_layers=2, qkv_dim=32, mlp_dim=64, max_len=16
    )
    return linen(models.Transformer(config), inputs=ints(2, 8), train=False)


@definition(
    "flax/gemma",
    "examples/gemma/transformer.py",
    """
    embedder/input_embedding    embedding io
    embedder/embedding          embedding io
    attn_vec_einsum/kernel      hidden iio
    q_einsum/kernel             hidden oio
    kv_einsum/kernel            hidden boio
    """,
)
def gemma():
    transformer = load("flax", "examples/gemma/transformer.py")
    import modules
    import sow_lib
    import transformer_cfg

    config = transformer_cfg.TransformerConfig(
        2, 101, 32, 64, 4, 8, 1, None, False, False, [modules.AttentionType.GLOBAL] * 2
    )  # fmt: skip

    def make(rngs):
        return transformer.Transformer(config, rngs=rngs, sow_config=sow_lib.SowConfig())

    return Nnx(lambda: make(nnx.Rngs(0)), (ints(2, 8), ints(2, 8), None, shape(2, 8, 8, dtype=jnp.bool_)), {})


@definition("flax/imagenet", "examples/imagenet/models.py", "conv_init/kernel input iiio\n Dense_0/kernel head io")
def imagenet():
    models = load("flax", "examples/imagenet/models.py")
    return linen(models.ResNet18(num_classes=10, num_filters=8), shape(2, 64, 64, 3), train=False)


@definition(
    "flax/ppo",
    "examples/ppo/models.py",
    """
    conv1/kernel     input iiio
    logits/kernel    head io
    value/kernel     head io
    """,
)
def ppo():
    models = load("flax", "examples/ppo/models.py")
    return linen(models.ActorCritic(6), shape(2, 84, 84, 4))


@definition(
    "flax/vae",
    "examples/vae/models.py",
    """
    encoder/fc1/kernel    input io
    decoder/fc1/kernel    hidden|input io
    decoder/fc2/kernel    head io
    fc2_mean/kernel       hidden|head io
    fc2_logvar/kernel     hidden|head io
    """,
)
def vae():
    models = load("flax", "examples/vae/models.py")
    return linen(models.VAE(20), shape(2, 784), jax.random.key(0))


@definition(
    "flax/seq2seq",
    "examples/seq2seq/models.py",
    """
    Dense_0/kernel        head io
    cell/ii/kernel       hidden|input io
    cell/if/kernel       hidden|input io
    cell/ig/kernel       hidden|input io
    cell/io/kernel       hidden|input io
    LSTMCell_0/i*/kernel hidden|input io
    """,
)
def seq2seq():
    models = load("flax", "examples/seq2seq/models.py")
    return linen(models.Seq2seq(True, 32, 20), shape(2, 8, 20), shape(2, 6, 20))


@definition(
    "flax/ogbg_graph_net",
    "examples/ogbg_molpcba/models.py",
    """
    /Dense_0/kernel   input io
    /Dense_1/kernel   input io
    /Dense_2/kernel   input io
    /Dense_3/kernel   head io
    """,
)
def ogbg():
    models = load("flax", "examples/ogbg_molpcba/models.py")
    return linen(models.GraphNet(32, 2, 2, 5), graph())


@definition(
    "flax/ogbg_graph_conv",
    "examples/ogbg_molpcba/models.py",
    """
    /Dense_0/kernel      input io
    /Dense_1/kernel      head io
    """,
)
def ogbg_conv():
    models = load("flax", "examples/ogbg_molpcba/models.py")
    return linen(models.GraphConvNet(32, 2, 2, 5), graph())


def graph():
    import jraph

    return jraph.GraphsTuple(shape(6, 9), shape(10, 4), ints(10), ints(10), shape(2, 3), ints(2), ints(2))


@definition(
    "flax/sst2",
    "examples/sst2/models.py",
    """
    output_layer/kernel       head io
    energy/kernel             hidden io
    embedding                 embedding io
    """,
)
def sst2():
    models = load("flax", "examples/sst2/models.py")
    model = models.TextClassifier(24, 32, 101, 2, 0.0, 0.0, 1, deterministic=True)
    return linen(model, ints(2, 8), ints(2))
