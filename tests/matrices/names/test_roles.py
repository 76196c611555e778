"""Heads, routers and input layers of plain trees: told by their names or by who takes and makes their lengths."""

import pytest

from optax_muon.matrices.names._read import read_names

D, F, V = 8, 32, 50


def body(n=2):
    """Blocks that repeat, with norms."""
    block = {"ln/scale": (D,), "Dense_0/kernel": (D, F), "Dense_1/kernel": (F, D)}
    return {f"Block_{i}/{path}": shape for i in range(n) for path, shape in block.items()}


def role(shapes, path):
    found = read_names(shapes)[path]
    return found.leaf.role, found.assumed


def atari():
    convs = {"conv1": (8, 8, 4, 32), "conv2": (4, 4, 32, 64), "conv3": (3, 3, 64, 64)}
    dense = {"hidden": (3136, 512), "logits": (512, 6), "value": (512, 1)}
    return {f"{name}/kernel": shape for name, shape in (convs | dense).items()}


@pytest.mark.parametrize("name", ["head", "lm_head", "logitdense", "output_layer", "vocab_proj", "action_out_proj",
                                  "classifier", "score", "qa_outputs", "readout", "predictions"])  # fmt: skip
def test_heads_by_name(name):
    assert role(body() | {f"{name}/kernel": (D, V)}, f"{name}/kernel") == ("head", False)


@pytest.mark.parametrize("name", ["output_proj", "fc", "ff_out", "linear", "Dense_0", "value", "proj_out", "dense"])
def test_what_may_be_a_head_is_one_where_nobody_takes_its_outputs(name):
    assert role(body() | {f"{name}/kernel": (D, V)}, f"{name}/kernel") == ("head", True)


def test_a_projection_of_a_block_is_no_head_and_no_feed_forward_by_its_suffix():
    attention = {"q_proj/kernel": (D, D), "k_proj/kernel": (D, D), "output_proj/kernel": (D, D)}
    assert role(body() | {f"attn/{p}": s for p, s in attention.items()}, "attn/output_proj/kernel") == ("hidden", False)
    assert role(body() | {"pre_logits/kernel": (D, D)}, "pre_logits/kernel")[0] == "hidden"


def test_the_last_of_a_sequential_called_head_is_the_head():
    shapes = body() | {"head/layers/1/kernel": (D, F), "head/layers/3/kernel": (F, V)}
    assert role(shapes, "head/layers/3/kernel") == ("head", False)
    assert role(shapes, "head/layers/1/kernel") == ("hidden", True)


def test_the_transpose_of_a_table_is_a_head():
    shapes = body() | {"wte/embedding": (V, D), "anything/kernel": (D, V)}
    assert role(shapes, "anything/kernel") == ("head", False)


def test_convolutions_at_both_ends():
    unet = {"inc/conv/kernel": (3, 3, 3, 16), "down/conv/kernel": (3, 3, 16, 32), "up/conv/kernel": (3, 3, 32, 16),
            "outc/conv/kernel": (1, 1, 16, 2), "n1/scale": (16,), "n2/scale": (32,)}  # fmt: skip
    assert [role(unet, path)[0] for path in unet if "conv" in path] == ["input", "hidden", "hidden", "head"]
    assert not role(unet, "down/conv/kernel")[1]


def test_ppo_s_value_is_no_attention():
    assert role(atari(), "value/kernel") == ("head", True)
    assert role(atari(), "logits/kernel") == ("head", False)
    assert role(atari(), "conv1/kernel") == ("input", True)
    assert role(atari(), "hidden/kernel")[0] == "hidden"


@pytest.mark.parametrize("name", ["patch_embed/proj", "stem", "conv_init", "embedding", "PatchEmbed_0/Conv_0"])
def test_patches_and_stems_are_input_layers(name):
    assert role(body() | {f"{name}/kernel": (4, 4, 3, D)}, f"{name}/kernel") == ("input", False)


def test_a_model_whose_ends_are_as_wide_is_not_certain():
    """What a denoiser takes it also makes, so that both its ends look like layers between others."""
    convs = [(3, 3, 16, 64), (3, 3, 64, 64), (3, 3, 64, 64), (3, 3, 64, 16)]
    found = [role({f"Conv_{i}/kernel": s for i, s in enumerate(convs)}, f"Conv_{i}/kernel") for i in (0, 3)]
    assert all(assumed for _, assumed in found)


@pytest.mark.parametrize("name", ["q", "in_proj", "w1"])
def test_names_of_attention_and_feed_forward_layers_alone_are_not_certain(name):
    shapes = {f"{name}/kernel": (D, V), "Dense_0/kernel": (17, D), "Dense_1/kernel": (D, D)}
    assert role(shapes, f"{name}/kernel") == ("head", True)


def test_the_first_layer_on_raw_features_is_one_too():
    shapes = {f"Dense_{i}/kernel": shape for i, shape in enumerate([(17, F), (F, F), (F, F), (F, 3)])}
    assert [role(shapes, path)[0] for path in shapes] == ["input", "hidden", "hidden", "head"]
    assert role(shapes, "Dense_1/kernel")[1]


def test_a_block_that_repeats_is_certain_and_a_whole_model_that_repeats_is_not():
    assert role(body() | {"head/kernel": (D, V)}, "Block_0/Dense_1/kernel") == ("hidden", False)
    critics = {f"critic_{i}/Dense_{k}/kernel": s for i in range(2) for k, s in enumerate([(17, F), (F, F), (F, 1)])}
    assert role(critics, "critic_0/Dense_2/kernel") == ("head", True)
    assert role(critics, "critic_0/Dense_1/kernel") == ("hidden", True)


def test_a_model_of_two_layers_keeps_its_matrices():
    shapes = {"Dense_0/kernel": (17, F), "Dense_1/kernel": (F, 3)}
    assert [role(shapes, path) for path in shapes] == [("hidden", True)] * 2
