"""Hugging Face's Flax models, as transformers 4.49 has them: https://github.com/huggingface/transformers."""

from tests.models.definitions._definition import Linen, definition, ints, old_names, shape

FILE = "src/transformers/models/{0}/modeling_flax_{0}.py"
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 101,
}


def module(name, config, **options):
    """The Linen module inside a pretrained model."""
    import transformers

    return getattr(transformers, name)(config, _do_init=False, **options).module


def language(name, config, **options):
    """A decoder's module with tokens, mask and positions."""
    return Linen(module(name, config), (ints(2, 8), ints(2, 8), ints(2, 8)), options)


@definition(
    "huggingface/gpt2",
    FILE.format("gpt2"),
    """
    attn/c_attn/kernel    hidden oi/3
    attn/c_proj/kernel    hidden oi
    mlp/c_fc/kernel       hidden oi
    mlp/c_proj/kernel     hidden oi
    """,
)
def gpt2():
    from transformers import GPT2Config

    return language("FlaxGPT2LMHeadModel", GPT2Config(101, 16, 32, 2, 4))


@definition(
    "huggingface/bert",
    FILE.format("bert"),
    "predictions/bias vector\n pooler/dense/kernel hidden io\n classifier/kernel head io",
)
def bert():
    from transformers import BertConfig

    inner = module("FlaxBertForSequenceClassification", BertConfig(**SMALL, max_position_embeddings=16))
    return Linen(inner, (ints(2, 8), ints(2, 8), ints(2, 8), ints(2, 8), shape(2, 4)))


@definition("huggingface/t5", FILE.format("t5"), "weight vector\n lm_head/kernel head io")
def t5():
    from transformers import T5Config

    old_names()
    config = T5Config(101, 32, 8, 64, 2, num_heads=4, tie_word_embeddings=False, feed_forward_proj="gated-gelu")
    return Linen(module("FlaxT5ForConditionalGeneration", config), (ints(2, 8), ints(2, 8), ints(2, 6), ints(2, 6)))


@definition("huggingface/llama", FILE.format("llama"), "weight vector\n lm_head/kernel head io")
def llama():
    from transformers import LlamaConfig

    return language("FlaxLlamaForCausalLM", LlamaConfig(**SMALL, num_key_value_heads=2, max_position_embeddings=16))


@definition("huggingface/gemma", FILE.format("gemma"), "weight vector\n lm_head/kernel head io")
def gemma():
    from transformers import GemmaConfig

    return language(
        "FlaxGemmaForCausalLM", GemmaConfig(**SMALL, num_key_value_heads=1, head_dim=8, max_position_embeddings=16)
    )


@definition("huggingface/opt", FILE.format("opt"), "lm_head/kernel head io")
def opt():
    from transformers import OPTConfig

    config = OPTConfig(101, 32, 2, 64, 16, num_attention_heads=4, word_embed_proj_dim=32, tie_word_embeddings=False)
    return language("FlaxOPTForCausalLM", config)


@definition("huggingface/gpt_neo", FILE.format("gpt_neo"), "lm_head/kernel head io")
def gpt_neo():
    from transformers import GPTNeoConfig

    config = GPTNeoConfig(101, 16, 32, 2, [[["global", "local"], 1]], 4, 64)
    return language("FlaxGPTNeoForCausalLM", config)


@definition("huggingface/gptj", FILE.format("gptj"), "lm_head/kernel head io")
def gptj():
    from transformers import GPTJConfig

    return language("FlaxGPTJForCausalLM", GPTJConfig(101, 16, 32, 2, 4, 4))


@definition("huggingface/bloom", FILE.format("bloom"), "lm_head/kernel head io")
def bloom():
    from transformers import BloomConfig

    inner = module("FlaxBloomForCausalLM", BloomConfig(101, 32, 2, 4))
    return Linen(inner, (ints(2, 8), ints(2, 8)))


@definition(
    "huggingface/whisper",
    FILE.format("whisper"),
    """
    encoder/conv1/kernel              input iio
    encoder/conv2/kernel              hidden iio
    """,
)
def whisper():
    from transformers import WhisperConfig

    config = WhisperConfig(
        101, 8, 2, 4, 2, 4, 64, 64, d_model=32, max_source_positions=8, max_target_positions=16, pad_token_id=0
    )
    inner = module("FlaxWhisperForConditionalGeneration", config)
    return Linen(inner, (shape(2, 8, 16), ints(2, 6), ints(2, 6), ints(2, 6)))


@definition(
    "huggingface/vit",
    FILE.format("vit"),
    """
    cls_token              vector
    position_embeddings    vector|embedding bio
    projection/kernel      input iiio
    classifier/kernel      head io
    """,
)
def vit():
    from transformers import ViTConfig

    sizes = {name: n for name, n in SMALL.items() if name != "vocab_size"}
    inner = module("FlaxViTForImageClassification", ViTConfig(**sizes, image_size=32, patch_size=8))
    return Linen(inner, (shape(2, 32, 32, 3),))


@definition(
    "huggingface/clip",
    FILE.format("clip"),
    """
    class_embedding               vector
    logit_scale                   vector
    patch_embedding/kernel        input iiio
    visual_projection/kernel      head|hidden io
    text_projection/kernel        head|hidden io
    """,
)
def clip():
    from transformers import CLIPConfig

    text = {**SMALL, "max_position_embeddings": 16, "projection_dim": 24, "eos_token_id": 2, "bos_token_id": 1}
    image = {**SMALL, "image_size": 32, "patch_size": 8, "projection_dim": 24}
    inner = module("FlaxCLIPModel", CLIPConfig(text, image, projection_dim=24))
    return Linen(inner, (ints(2, 8), shape(2, 32, 32, 3), ints(2, 8), ints(2, 8)))


@definition(
    "huggingface/resnet",
    FILE.format("resnet"),
    """
    embedder/embedder/convolution/kernel   input iiio
    classifier/*/kernel                    head io
    """,
)
def resnet():
    from transformers import ResNetConfig

    inner = module("FlaxResNetForImageClassification", ResNetConfig(3, 8, [16, 32], [1, 1], "basic", num_labels=10))
    return Linen(inner, (shape(2, 64, 64, 3),))


@definition(
    "huggingface/wav2vec2",
    FILE.format("wav2vec2"),
    """
    masked_spec_embed                         vector
    pos_conv_embed/conv/weight_g              vector
    pos_conv_embed/conv/weight_v              hidden oii/4
    conv_layers/0/conv/kernel                 input iio
    conv/kernel                               hidden iio
    lm_head/kernel                            head io
    """,
)
def wav2vec2():
    from transformers import Wav2Vec2Config

    config = Wav2Vec2Config(
        101, 32, 2, 4, 64, conv_dim=(16, 16), conv_stride=(4, 2), conv_kernel=(8, 3), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=4, do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )  # fmt: skip
    inner = module("FlaxWav2Vec2ForCTC", config)
    return Linen(inner, (shape(2, 160), ints(2, 160)))


@definition("huggingface/bart", FILE.format("bart"), "final_logits_bias vector\n lm_head/kernel head io")
def bart():
    from transformers import BartConfig

    config = BartConfig(101, 16, 2, 64, 4, 2, 64, 4, d_model=32, tie_word_embeddings=False)
    inner = module("FlaxBartForConditionalGeneration", config)
    return Linen(inner, (ints(2, 8), ints(2, 8), ints(2, 6), ints(2, 6), ints(2, 8), ints(2, 6)))


@definition("huggingface/mistral", FILE.format("mistral"), "weight vector\n lm_head/kernel head io")
def mistral():
    from transformers import MistralConfig

    return language("FlaxMistralForCausalLM", MistralConfig(**SMALL, num_key_value_heads=2, max_position_embeddings=16))
