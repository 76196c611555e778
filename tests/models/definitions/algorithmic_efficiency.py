"""AlgoPerf: https://github.com/mlcommons/algorithmic-efficiency, its workloads' models in Linen."""

from tests.models.definitions._definition import Linen, absent, bare, definition, shape

absent("tensorflow", "tensorflow_datasets", "torch", "tensorflow_addons", "sacrebleu", "datasets")
bare("algoperf.workloads")
WHERE = "algoperf/workloads/{}/{}_jax/models.py"


@definition(
    "algorithmic_efficiency/conformer",
    WHERE.format("librispeech_conformer", "librispeech"),
    """
    /Subsample_0/Conv2dSubsampling_0/kernel  input iiio
    ConvolutionBlock_0/Conv_0/kernel     vector
    query/kernel                         hidden ioo
    key/kernel                           hidden ioo
    value/kernel                         hidden ioo
    out/kernel                           hidden iio
    /Dense_0/kernel                      head io
    """,
)
def conformer():
    from algoperf.workloads.librispeech_conformer.librispeech_jax import models

    config = models.ConformerConfig(101, encoder_dim=32, num_attention_heads=4, num_encoder_layers=2)
    return Linen(models.Conformer(config), (shape(2, 3200), shape(2, 3200)), {"train": False})


@definition(
    "algorithmic_efficiency/dlrm",
    WHERE.format("criteo1tb", "criteo1tb"),
    "embedding_table embedding io\n Dense_0/kernel input io\n Dense_5/kernel head io",
)
def dlrm():
    from algoperf.workloads.criteo1tb.criteo1tb_jax import models

    model = models.DlrmSmall(64, mlp_bottom_dims=(32, 24, 16), mlp_top_dims=(64, 32, 1), embed_dim=16)
    return Linen(model, (shape(2, 39),), {"train": False})


@definition(
    "algorithmic_efficiency/unet",
    WHERE.format("fastmri", "fastmri"),
    "ConvBlock_0/Conv_0/kernel input iiio\n /Conv_0/kernel head iiio",
)
def unet():
    from algoperf.workloads.fastmri.fastmri_jax import models

    return Linen(models.UNet(8, 2), (shape(2, 64, 64),), {"train": False})
