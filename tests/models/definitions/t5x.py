"""T5X: https://github.com/google-research/t5x, Linen layers that store kernels flat."""

from tests.models.definitions._definition import Linen, bare, definition, ints

COMMON = """
    rel_embedding          vector|embedding oi
    logits_dense/kernel    head io
    kernel                 hidden io
    """
bare("t5x.examples.t5")
bare("t5x.examples.decoder_only")
bare("t5x.examples.scalable_t5")
SIZES = {"vocab_size": 101, "emb_dim": 32, "num_heads": 4, "head_dim": 6, "mlp_dim": 64}
DEPTH = {"num_encoder_layers": 2, "num_decoder_layers": 2}


@definition("t5x/t5", "t5x/examples/t5/network.py", COMMON)
def t5():
    from t5x.examples.t5 import network

    config = network.T5Config(**SIZES, **DEPTH, mlp_activations=("gelu", "linear"))
    return Linen(network.Transformer(config), (ints(2, 8), ints(2, 6), ints(2, 6)))


@definition("t5x/t5_tied", "t5x/examples/t5/network.py", COMMON)
def t5_tied():
    from t5x.examples.t5 import network

    config = network.T5Config(**SIZES, **DEPTH, logits_via_embedding=True)
    return Linen(network.Transformer(config), (ints(2, 8), ints(2, 6), ints(2, 6)))


@definition("t5x/decoder_only", "t5x/examples/decoder_only/network.py", COMMON)
def decoder_only():
    from t5x.examples.decoder_only import network

    config = network.TransformerConfig(**SIZES, num_layers=2, mlp_activations=("gelu", "linear"))
    return Linen(network.DecoderWrapper(config), (ints(2, 8), ints(2, 8)))


@definition(
    "t5x/scalable",
    "t5x/examples/scalable_t5/network.py",
    """
    logits_dense/kernel    head io
    rel_embedding          vector|embedding obi
    out/kernel             hidden ibio
    kernel                 hidden iboo
    kernel                 hidden ibo
    """
    + COMMON,
)
def scalable():
    from t5x.examples.scalable_t5 import network

    config = network.T5Config(**SIZES, **DEPTH, scan_layers=True)
    return Linen(network.Transformer(config), (ints(2, 8), ints(2, 6), ints(2, 6)))
