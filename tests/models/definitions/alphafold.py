"""AlphaFold: https://github.com/google-deepmind/alphafold, its blocks in Haiku."""

import jax
import jax.numpy as jnp

from tests.models.definitions._definition import Call, absent, definition, shape

COMMON = """
    bias             vector
    gating_b         vector
    output_b         vector
    scale            vector
    offset           vector
    query_w          hidden ioo
    key_w            hidden ioo
    value_w          hidden ioo
    gating_w         hidden ioo
    outer_product_mean/output_w    hidden iio
    output_w         hidden iio
    feat_2d_weights  hidden io
    weights          hidden io
    """
absent("tensorflow", "Bio", "tree", "scipy", "simtk", "pdbfixer")


@definition("alphafold/evoformer", "alphafold/model/modules.py", COMMON, "")
def evoformer():
    import haiku as hk
    from alphafold.model import config, modules

    # As the published configuration has it, but for widths and heads.
    whole = config.model_config("model_1").model
    block = whole.embeddings_and_evoformer.evoformer

    def net(msa, pair, msa_mask, pair_mask):
        module = modules.EvoformerIteration(block, whole["global_config"], is_extra_msa=False)
        return module({"msa": msa, "pair": pair}, {"msa": msa_mask, "pair": pair_mask}, is_training=False)

    inputs = (shape(5, 12, 64), shape(12, 12, 32), shape(5, 12), shape(12, 12))
    f = hk.transform(net)
    zeros = [jnp.zeros(x.shape, x.dtype) for x in inputs]
    return Call(lambda p, *x: f.apply(p, jax.random.key(0), *x), lambda: f.init(jax.random.key(0), *zeros), inputs)
