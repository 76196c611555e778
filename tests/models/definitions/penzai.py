"""Penzai: https://github.com/google-deepmind/penzai, transformers of named arrays."""

import jax

from tests.models.definitions._definition import Call, definition, ints

COMMON = """
    embedder.embeddings/*     embedding io
    lm_head.weights/*         head io
    scale.weights/*           vector
    query.weights/*           hidden iooo
    key.weights/*             hidden ioo
    value.weights/*           hidden ioo
    output.weights/*          hidden iiio
    *_linear.weights/*        hidden io
    """


def bound(make):
    """A call of a Penzai model whose parameters are taken out."""
    from penzai import pz

    kept = {}

    def parameters():
        kept["slots"], variables = pz.unbind_params(make(), freeze=True)
        return {variable.label: variable.value for variable in variables}

    jax.eval_shape(parameters)
    slots = kept["slots"]

    def call(params, tokens):
        again = [pz.ParameterValue(value=value, label=label) for label, value in params.items()]
        inputs = pz.nx.wrap(tokens).tag("batch", "seq")
        positions = pz.nx.arange("seq", tokens.shape[1])
        return pz.bind_variables(slots, again)(inputs, token_positions=positions)

    return Call(call, parameters, (ints(2, 8),))


@definition("penzai/llama", "penzai/models/transformer/variants/llamalike_common.py", COMMON)
def llama():
    from penzai.models.transformer.variants import llamalike_common as module

    config = module.LlamalikeTransformerConfig(
        num_kv_heads=2, query_head_multiplier=2, embedding_dim=32, projection_dim=6, mlp_hidden_dim=64,
        num_decoder_blocks=2, vocab_size=101, mlp_variant="swiglu", tie_embedder_and_logits=False,
    )  # fmt: skip
    return bound(lambda: module.build_llamalike_transformer(config, jax.random.key(0)))
