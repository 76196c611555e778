"""xLSTM in JAX: https://github.com/NX-AI/xlstm-jax, block-diagonal projections in Linen, and its Llama."""

from tests.models.definitions._definition import Linen, absent, bare, definition, ints

absent("torch", "triton", "mlstm_kernels", "tensorflow", "wandb")
bare("xlstm_jax.models")


@definition(
    "xlstm_jax/mlstm",
    "xlstm_jax/models/xlstm_clean/xlstm_lm_model.py",
    """
    conv1d/conv/kernel     vector
    learnable_skip         vector
    q_proj/kernel          hidden boi
    k_proj/kernel          hidden boi
    v_proj/kernel          hidden boi
    proj_up/kernel         hidden io/2
    igate/kernel           hidden io
    fgate/kernel           hidden io
    lm_head/kernel         head io
    """,
)
def mlstm():
    from xlstm_jax.models.xlstm_clean.blocks.mlstm.block import mLSTMBlockConfig
    from xlstm_jax.models.xlstm_clean.blocks.mlstm.layer import mLSTMLayerConfig
    from xlstm_jax.models.xlstm_clean.xlstm_lm_model import xLSTMLMModel, xLSTMLMModelConfig

    layer = mLSTMLayerConfig(embedding_dim=32, context_length=16, dtype="float32")
    config = xLSTMLMModelConfig(
        vocab_size=101, embedding_dim=32, num_blocks=2, context_length=16, mlstm_block=mLSTMBlockConfig(mlstm=layer)
    )
    config.dtype = "float32"
    return Linen(xLSTMLMModel(config), (ints(2, 16),))
