"""Bonsai: https://github.com/jax-ml/bonsai, models in NNX."""

import jax.numpy as jnp
from flax import nnx

from tests.models.definitions._definition import Nnx, definition, ints, shape

WHERE = "bonsai/models/{}/modeling.py"
TOKEN = """
    cls_token       vector
    mask_token      vector
    register_tokens vector
"""


def nnx_model(make, *inputs, **options):
    return Nnx(lambda: make(nnx.Rngs(0)), inputs, options)


@definition(
    "bonsai/qwen3",
    WHERE.format("qwen3"),
    """
    embedder/embedding    embedding io
    lm_head/kernel        head io
    q_proj/kernel         hidden ioo
    k_proj/kernel         hidden ioo
    v_proj/kernel         hidden ioo
    o_proj/kernel         hidden iio
    """,
)
def qwen3():
    from bonsai.models.qwen3 import modeling

    config = modeling.ModelConfig(2, 101, 32, 64, 4, 8, 2, 10000, 1, 1e4, 1e-6, False)

    class Forward(modeling.Qwen3):
        """The model with a fresh cache."""

        def __call__(self, tokens):
            cache = modeling.init_cache(config, 2, 8, 0, jnp.float32)
            return super().__call__(tokens, cache=cache, segment_ids=1 * (tokens != 0))

    return nnx_model(lambda rngs: Forward(config, rngs=rngs), ints(2, 8))


@definition(
    "bonsai/vit",
    WHERE.format("vit"),
    f"""
    {TOKEN}
    pos_embeddings/pos_embeddings    vector|embedding bio
    projection/kernel      input iiio
    query/kernel           hidden ioo
    key/kernel             hidden ioo
    value/kernel           hidden ioo
    out/kernel             hidden iio
    classifier/kernel      head io
    """,
)
def vit():
    from bonsai.models.vit import modeling

    config = modeling.ModelConfig((32, 32), (8, 8), 3, 32, 0.0, 0.0, 4, 64, 1e-6, 2, 10)
    make = modeling.ViTClassificationModel
    return nnx_model(lambda rngs: make(config, rngs=rngs), shape(2, 32, 32, 3), rngs=None)


@definition(
    "bonsai/unet",
    WHERE.format("unet"),
    """
    inc/conv1/kernel    input iiio
    outc/conv/kernel    head iiio
    up/kernel           hidden iiio
    """,
)
def unet():
    from bonsai.models.unet import modeling

    config = modeling.ModelConfig(1, 2, (4, 8, 16, 32, 64))
    return nnx_model(lambda rngs: modeling.UNet(config, rngs=rngs), shape(2, 32, 32, 1))


@definition(
    "bonsai/mamba2",
    WHERE.format("mamba2"),
    """
    norm/weight          vector
    final_norm/weight    vector
    A_log                vector
    D                    vector
    dt_bias              vector
    conv1d/conv/kernel   vector
    in_proj/kernel       hidden io/128,160,8
    """,
)
def mamba2():
    from bonsai.models.mamba2 import modeling

    config = modeling.ModelConfig.tiny()
    return nnx_model(lambda rngs: modeling.Mamba2ForCausalLM(config, rngs=rngs), ints(2, 64))


@definition(
    "bonsai/whisper",
    WHERE.format("whisper"),
    """
    encoder/conv1/kernel     input iio
    encoder/conv2/kernel     hidden iio
    query/kernel             hidden ioo
    key/kernel               hidden ioo
    value/kernel             hidden ioo
    out/kernel               hidden iio
    """,
)
def whisper():
    from bonsai.models.whisper import modeling

    class Config:
        """Those fields that the model reads."""

        d_model, num_mel_bins, max_source_positions, max_length, vocab_size = 32, 8, 8, 16, 101
        encoder_layers = decoder_layers = 2
        encoder_attention_heads = decoder_attention_heads = 4
        encoder_ffn_dim = decoder_ffn_dim = 64
        dropout = 0.0

    class Forward(modeling.Whisper):
        """The call that the class leaves open, with the tied output that the paper has."""

        def __call__(self, features, tokens):
            x = self.decoder(tokens, None, self.encoder(features), None, decode=False)
            return self.decoder.embed_tokens.attend(x)

    return nnx_model(lambda rngs: Forward(Config(), rngs=rngs), shape(2, 16, 8), ints(2, 6))


@definition(
    "bonsai/umt5",
    WHERE.format("umt5"),
    """
    weight                                vector
    lm_head/kernel                        head io
    relative_attention_bias/embedding     embedding io
    """,
)
def umt5():
    from bonsai.models.umt5 import modeling

    config = modeling.ModelConfig(101, 32, 8, 64, 2, num_heads=4, dropout_rate=0.0)

    class Forward(modeling.UMT5Model):
        """The decoder's result through the head, as `generate` has it."""

        def __call__(self, tokens, before):
            return self.lm_head(super().__call__(tokens, jnp.ones_like(tokens), before, jnp.ones_like(before)))

    return nnx_model(lambda rngs: Forward(config, rngs=rngs), ints(2, 8), ints(2, 6))


@definition(
    "bonsai/convnext",
    WHERE.format("convnext"),
    """
    gamma                             vector
    dwconv/kernel                     vector
    embedding_layer/layers/0/kernel   input iiio
    head/kernel                       head io
    """,
)
def convnext():
    from bonsai.models.convnext import modeling

    config = modeling.ModelConfig((1, 2, 1, 1), (8, 16, 32, 48), 0.0, 10)
    make = modeling.ConvNeXt
    return nnx_model(lambda rngs: make(config, rngs=rngs), shape(2, 64, 64, 3), rngs=None, train=False)


@definition(
    "bonsai/resnet",
    WHERE.format("resnet"),
    """
    stem/conv/kernel    input iiio
    fc/kernel           head io
    """,
)
def resnet():
    from bonsai.models.resnet import modeling

    config = modeling.ModelConfig([1, 1, 1, 1], 10)
    return nnx_model(lambda rngs: modeling.ResNet(config, rngs=rngs), shape(2, 64, 64, 3))


@definition(
    "bonsai/dinov3",
    WHERE.format("dinov3"),
    f"""
    {TOKEN}
    lambda1                  vector
    patch_embeddings/kernel  input iiio
    """,
)
def dinov3():
    from bonsai.models.dinov3 import modeling

    config = modeling.ModelConfig((8, 8), 32, 64, 2, 4, image_size=32)
    return nnx_model(lambda rngs: modeling.Dinov3ViTModel(config, rngs), shape(2, 3, 32, 32))


@definition(
    "bonsai/densenet121",
    WHERE.format("densenet121"),
    """
    init_conv/kernel    input iiio
    linear/kernel       head io
    """,
)
def densenet121():
    from bonsai.models.densenet121 import modeling

    config = modeling.ModelConfig(10, [2, 2, 2, 2], 8)
    return nnx_model(lambda rngs: modeling.DenseNet(config, rngs=rngs), shape(2, 64, 64, 3))


@definition(
    "bonsai/vgg19",
    WHERE.format("vgg19"),
    """
    conv_block0/*0/kernel    input iiio
    classifier/*             head io
    """,
)
def vgg19():
    from bonsai.models.vgg19 import modeling

    config = modeling.ModelConfig.vgg_19()
    return nnx_model(lambda rngs: modeling.VGG(config, rngs=rngs), shape(2, 224, 224, 3))
