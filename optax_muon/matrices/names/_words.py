"""What public models call things: words that tell a role, and those that only suggest one."""

import re

LETTERS = r"[qkvo]|[qkv]_proj|in|out|up|down|gate|ih|hh"
# Arrays that meet data entry by entry, whatever their rank: stacked over layers they have two axes or more.
VECTOR_NAME = re.compile(
    rf"(.*_)?(bias|scale|gamma|beta|mean|var|offset|sinks?|freqs?)(_\d+)?|b(_?({LETTERS}|\d+))?"
    r"|A_log|D|(log_)?dt|dt_bias|log_(step|scale|std)|logit_scale|temperature|[Ll]ambda(_?(re|im|[qk]?\d+))?"
    r"|rel_embedding|ls_?\d*|(layer_?scale|gamma)_?\d*|learnable_skip|skip_weight|weight_g|negative_slope"
)
TOKEN_NAME = re.compile(r"(.*_)?tokens?|cls|probe|(.*_)?latents?|registers?")
NORM_MODULE = re.compile(r"(.*_)?(norm|ln|bn|gn)(_?\d+|_[a-z]+)?|.*(layer|rms|batch|group|instance)_?norm(_?\d+|_.*)?")
EMBEDDING_NAME = re.compile(
    r".*embed(ding)?s?|.*pos(ition)?_(emb|table)|wte|wpe|.*embedding_table|.*bias_table|rel_pos(_[hw])?|.*tpos_enc"
)
HEAD_MODULE = re.compile(
    r"((.*_)?(head|logits|unembed|unembedding|classifier)(_dense|_layer|_linear)?|logit_?dense|lm_out|vocab_(proj|out)"
    r"|out_?c(onv)?|(final_)?conv_out|final_conv|output_layer|action_out(_proj)?|readout|score|qa_outputs|predictions?|predictor|decoder_out|final_(dense|proj))"
)
NO_HEAD = re.compile(r"pre_?logits|(multi|attention)_?head")
# A head is called so, and other layers too: only where the data goes can tell.
MAYBE_HEAD = re.compile(
    r"(.*_)?(value|critic|policy|actor|action|mean|mu|logvar|log_?std|out|output|proj|projection|final|last|dense|linear"
    r"|fc|lin|decoder|reconstruction|outc|outconv)(_?(out|conv|dense|linear|layer|proj(ection)?|net))?(_?\d+)?|ff_out"
)
ROUTER_MODULE = re.compile(r"(.*_)?(router|gating)(_.*)?|shared_expert_gate")
# Called so, a layer is a router even where its result is not ranked.
SOFT_ROUTER = re.compile(r"(.*_)?router|shared_expert_gate")
INPUT_MODULE = re.compile(
    r"(.*_)?(stem|patch(ify)?|patch_?embed(der|ding)?)(_.*)?|conv_?(in|init|root|stem)|init(ial)?_conv|inc|embedding_layer|input_(layer|dense)"
    r"|(.*_)?input_proj(ection)?|.*fourier.*"
)
PATCH_TABLE = re.compile(r"(.*_)?embed(ding|der)?s?(_\d+)?")
TIME_MODULE = re.compile(r"(.*_)?time_?(step)?s?_?(embed|emb|proj|mlp).*")
# What a library calls a layer: the module around it says more.
PLAIN = re.compile(r"(conv|linear|dense|fc|proj|projection|kernel|module)(_?\d+)?")
STATE_SPACE = ("x_proj", "dt_proj")
QUERY = ("query", "q_proj", "q", "wq", "to_q", "query_proj", "proj_q", "q_lin", "q_linear", "wq_b", "q_b_proj")
KEY_VALUE = ("key", "k_proj", "k", "wk", "to_k", "key_proj", "proj_k", "proj_v", "k_lin", "k_linear", "wkv_a",
             "kv_a_proj", "wq_a", "q_a_proj", "value", "v_proj", "v", "wv", "to_v", "value_proj", "v_lin", "v_linear",
             "wkv_b", "kv_b_proj")  # fmt: skip
QUERY_KEY_VALUE = (*QUERY, *KEY_VALUE)
FUSED_QKV = ("qkv", "qkv_proj", "c_attn", "in_proj", "to_qkv", "Wqkv", "wqkv", "query_key_value")
FUSED_KV = ("kv", "kv_proj", "to_kv")
ATTENTION_OUT = ("out", "o_proj", "out_proj", "o", "wo", "attn_vec", "attn_out", "attn_out_proj", "to_out", "to_out_0",
                 "output_proj", "out_linear", "out_lin", "c_proj", "proj", "output")  # fmt: skip
# Of a feed-forward layer, by the side on which the model's width stands.
WIDENING = re.compile(r"(.*_)?(up|gate|wi|w1|w3|gate_up)(_?proj|_?\d+)?|c_fc|gating|(mlp|ffn?)_(in|up|gate)|fc_in")
NARROWING = re.compile(r"(.*_)?(down|w2)(_?proj|_?\d+)?|(mlp|ffn)_(out|down)|ff_down")
FEED_FORWARD = re.compile(rf"(?:{WIDENING.pattern})|(?:{NARROWING.pattern})|(.*_)?(mlp|ffn)")
# Names of parameters that are the kernel of the module that holds them, and their biases.
KERNELS = {"kernel": ("bias",), "weight": ("bias",), "w": ("b", "bias"), "weights": ("bias", "biases"),
           "W": ("b", "B", "bias")}  # fmt: skip
# Modules that hold others and say nothing of them.
CONTAINERS = re.compile(
    r"\d+|~|layers?|blocks?|sequential(_\d+)?|lora|base_module|layer_instance|cell|linear_layer|params"
)
