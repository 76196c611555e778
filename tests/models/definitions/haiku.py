"""Haiku: https://github.com/google-deepmind/dm-haiku, its nets and examples."""

import jax
import jax.numpy as jnp

from tests.models.definitions._definition import Call, absent, definition, ints, load, shape

COMMON = """
    b           vector
    offset      vector
    scale       vector
    embeddings  embedding io
    w           hidden io
    w           hidden iiio
"""
absent("tensorflow_datasets", "tensorflow")


def transformed(net, *inputs, with_state=False):
    """A call of a Haiku network."""
    import haiku as hk

    f = (hk.transform_with_state if with_state else hk.transform)(net)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), inputs)
    if not with_state:
        return Call(lambda p, *x: f.apply(p, jax.random.key(0), *x), lambda: f.init(jax.random.key(0), *zeros), inputs)
    _, state = jax.eval_shape(lambda: f.init(jax.random.key(0), *zeros))

    def call(p, s, *x):
        return f.apply(p, s, jax.random.key(0), *x)[0]

    return Call(call, lambda: f.init(jax.random.key(0), *zeros)[0], (state, *inputs))


@definition(
    "haiku/transformer",
    "examples/transformer/model.py",
    """
    language_model/positional_embeddings   vector|embedding io
    language_model/linear/w                head io
    """,
    COMMON,
)
def transformer():
    model = load("dm-haiku", "examples/transformer/model.py")

    def net(tokens):
        return model.LanguageModel(model.Transformer(4, 2, 8, 0.0), 32, 101, 0)(tokens)

    return transformed(net, ints(2, 8))


@definition("haiku/resnet18", "haiku/_src/nets/resnet.py", "initial_conv/w input iiio\n logits/w head io", COMMON)
def resnet18():
    import haiku as hk

    return transformed(lambda x: hk.nets.ResNet18(10)(x, is_training=True), shape(2, 64, 64, 3), with_state=True)


@definition(
    "haiku/mobilenet",
    "haiku/_src/nets/mobilenetv1.py",
    """
    mobile_net_v1/conv2_d/w   input iiio
    depthwise_conv/w               vector
    *depthwise*/w                  vector
    logits/w                       head io
    """,
    COMMON,
)
def mobilenet():
    import haiku as hk

    return transformed(
        lambda x: hk.nets.MobileNetV1(num_classes=10)(x, is_training=True), shape(2, 64, 64, 3), with_state=True
    )


@definition("haiku/mlp", "haiku/_src/nets/mlp.py", "mlp/~/linear_0/w input io\n mlp/~/linear_2/w head io", COMMON)
def mlp():
    import haiku as hk

    return transformed(lambda x: hk.nets.MLP([32, 32, 10])(x), shape(2, 20))


@definition(
    "haiku/char_rnn",
    "examples/rnn/train.py",
    """
    lstm/linear/w             hidden|input io/4?
    lstm_1/linear/w           hidden io/4?
    mlp/~/linear_0/w          hidden io
    mlp/~/linear_1/w          head io
    """,
    COMMON,
)
def char_rnn():
    import haiku as hk

    def net(tokens):
        core = hk.DeepRNN(
            [lambda x: jax.nn.one_hot(x, 20), hk.LSTM(32), jax.nn.relu, hk.LSTM(32), hk.nets.MLP([32, 20])]
        )
        return hk.dynamic_unroll(core, tokens, core.initial_state(tokens.shape[1]))[0]

    return transformed(net, ints(8, 2))


@definition(
    "haiku/vae",
    "examples/vae.py",
    """
    encoder/linear/w      input io
    encoder/linear_1/w    hidden|head io
    encoder/linear_2/w    hidden|head io
    decoder/linear/w      hidden|input io
    decoder/linear_1/w    head io
    """,
    COMMON,
)
def vae():
    model = load("dm-haiku", "examples/vae.py")
    return transformed(
        lambda x: model.VariationalAutoEncoder(model.Encoder(10, 32), model.Decoder((28, 28, 1), 32))(x),
        shape(2, 28, 28, 1),
    )
