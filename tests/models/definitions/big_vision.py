"""Big Vision: https://github.com/google-research/big_vision, models in Linen."""

from tests.models.definitions._definition import ATTENTION, Linen, absent, definition, ints, shape

VIT = (
    ATTENTION
    + """
    cls                    vector
    probe                  vector
"""
)
STACKED = """
    encoderblock/*/bias          vector
    encoderblock/*/scale         vector
    encoderblock/*/query/kernel  hidden bioo
    encoderblock/*/key/kernel    hidden bioo
    encoderblock/*/value/kernel  hidden bioo
    encoderblock/*/out/kernel    hidden biio
    encoderblock/*/kernel        hidden bio
"""
absent("tensorflow", "tensorflow_datasets", "clu", "tensorflow_text", "overrides")


def linen(model, *inputs, **options):
    return Linen(model, inputs, options)


@definition("big_vision/vit", "big_vision/models/vit.py", VIT + "embedding/kernel input iiio\n head/kernel head io")
def vit():
    from big_vision.models import vit

    model = vit.Model(10, patch_size=(8, 8), width=32, depth=2, mlp_dim=64, num_heads=4, rep_size=True, pool_type="map")
    return linen(model, shape(2, 32, 32, 3))


@definition(
    "big_vision/vit_scan",
    "big_vision/models/vit.py",
    VIT + STACKED + "embedding/kernel input iiio\n head/kernel head io",
)
def vit_scan():
    from big_vision.models import vit

    model = vit.Model(
        10,
        patch_size=(8, 8),
        width=32,
        depth=3,
        mlp_dim=64,
        num_heads=4,
        pool_type="tok",
        scan=True,
        remat_policy="none",
    )
    return linen(model, shape(2, 32, 32, 3))


@definition("big_vision/mlp_mixer", "big_vision/models/mlp_mixer.py", "stem/kernel input iiio\n head/kernel head io")
def mlp_mixer():
    from big_vision.models import mlp_mixer

    model = mlp_mixer.Model(10, patch_size=(8, 8), hidden_dim=32, num_blocks=2, tokens_mlp_dim=24, channels_mlp_dim=64)
    return linen(model, shape(2, 32, 32, 3))


@definition("big_vision/bit", "big_vision/models/bit.py", "conv_root/kernel input iiio\n head/kernel head io")
def bit():
    from big_vision.models import bit

    return linen(bit.Model(10, width=1, depth=(1, 1, 1, 1)), shape(2, 64, 64, 3))


@definition(
    "big_vision/two_towers",
    "big_vision/models/proj/image_text/two_towers.py",
    VIT
    + """
    img/embedding/kernel   input iiio
    img/head/kernel        head io
    txt/head/kernel        head io
    t                      vector
    b                      vector
    """,
)
def two_towers():
    from big_vision.models.proj.image_text import two_towers

    model = two_towers.Model(
        image={"variant": "S/16", "width": 32, "depth": 2, "mlp_dim": 64, "num_heads": 4, "pool_type": "map"},
        text={"vocab_size": 101, "width": 32, "depth": 2, "mlp_dim": 64, "num_heads": 4},
        out_dim=(None, 24),
    )
    return linen(model, shape(2, 32, 32, 3), ints(2, 8))


@definition(
    "big_vision/gemma",
    "big_vision/models/ppp/gemma.py",
    """
    embedder/input_embedding        embedding io
    layers/*/scale                  vector
    layers/attn/q_einsum/w          hidden boio
    layers/attn/kv_einsum/w         hidden bboio
    layers/attn/attn_vec_einsum/w   hidden biio
    layers/mlp/gating_einsum        hidden bbio
    layers/mlp/linear               hidden bio
    """,
)
def gemma():
    from big_vision.models.ppp import gemma

    model = gemma.Model(
        width=32, depth=3, mlp_dim=64, num_heads=4, num_kv_heads=1, head_dim=8, vocab_size=101, scan=True,
        variant="", norm_eps=1e-6,
    )  # fmt: skip
    return linen(model, ints(2, 8))
