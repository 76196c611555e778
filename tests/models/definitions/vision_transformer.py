"""Vision Transformer: https://github.com/google-research/vision_transformer, models in Linen."""

from tests.models.definitions._definition import ATTENTION, Linen, definition, shape

VIT = (
    ATTENTION
    + """
    cls                    vector
"""
)


TRANSFORMER = {
    "num_layers": 2,
    "mlp_dim": 64,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "attention_dropout_rate": 0.0,
}


@definition(
    "vision_transformer/vit", "vit_jax/models_vit.py", VIT + "embedding/kernel input iiio\n head/kernel head io"
)
def vit():
    import ml_collections
    from vit_jax import models_vit

    model = models_vit.VisionTransformer(
        num_classes=10,
        patches=ml_collections.ConfigDict({"size": (8, 8)}),
        transformer=TRANSFORMER,
        hidden_size=32,
        representation_size=24,
    )
    return Linen(model, (shape(2, 32, 32, 3),), {"train": False})


@definition(
    "vision_transformer/hybrid",
    "vit_jax/models_vit.py",
    VIT + "conv_root/kernel input iiio\n head/kernel head io",
)
def hybrid():
    import ml_collections
    from vit_jax import models_vit

    model = models_vit.VisionTransformer(
        num_classes=10,
        patches=ml_collections.ConfigDict({"size": (1, 1)}),
        transformer=TRANSFORMER,
        hidden_size=32,
        resnet=ml_collections.ConfigDict({"width_factor": 1, "num_layers": (1, 1)}),
        classifier="gap",
    )
    return Linen(model, (shape(2, 64, 64, 3),), {"train": False})


@definition("vision_transformer/mixer", "vit_jax/models_mixer.py", "stem/kernel input iiio\n head/kernel head io")
def mixer():
    import ml_collections
    from vit_jax import models_mixer

    patches = ml_collections.ConfigDict({"size": (8, 8)})
    model = models_mixer.MlpMixer(patches, 10, 2, 32, 24, 64)
    return Linen(model, (shape(2, 32, 32, 3),), {"train": False})
