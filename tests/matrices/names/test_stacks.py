"""Stacked layers and experts: siblings tell which axis numbers them, and small things of any rank stay vectors."""

import pytest

import optax_muon as om
from optax_muon.matrices.names._read import read_names

D, F, E, L = 8, 32, 5, 3

SCANNED = {
    "embed/embedding": (50, D), "norm/scale": (D,), "layers/ln/scale": (L, D), "layers/up/kernel": (L, D, F),
    "layers/down/kernel": (L, F, D), "layers/odd/kernel": (L, D, D), "layers/router/kernel": (L, D, E),
    "layers/q_einsum/w": (L, 2, D, 4), "layers/attn_vec_einsum/w": (L, 2, 4, D),
}  # fmt: skip
MAXTEXT = {
    "token_embedder/embedding": (50, D), "decoder/norm/scale": (D,), "decoder/layers/ln/scale": (D, L),
    "decoder/layers/shared_experts/wi_0/kernel": (D, L, F), "decoder/layers/shared_experts/wo/kernel": (F, L, D),
    "decoder/layers/gate/kernel": (D, L, E), "decoder/layers/experts/wi_0": (E, L, D, F),
    "decoder/layers/experts/wo": (E, L, F, D), "decoder/layers/self_attention/query/kernel": (D, L, 2, 4),
    "decoder/layers/self_attention/out/kernel": (2, L, 4, D),
}  # fmt: skip
EXPERTS = {"moe/experts/up/kernel": (E, D, F), "moe/experts/down/kernel": (E, F, D), "moe/gate/kernel": (D, E)}
CASES = {
    "a scanned kernel, by the norm": (SCANNED, "layers/up/kernel", "hidden", (1,), (2,)),
    "a square one": (SCANNED, "layers/odd/kernel", "hidden", (1,), (2,)),
    "a scanned router": (SCANNED, "layers/router/kernel", "router", (1,), (2,)),
    "scanned heads (heads, d, width)": (SCANNED, "layers/q_einsum/w", "hidden", (2,), (1, 3)),
    "their output": (SCANNED, "layers/attn_vec_einsum/w", "hidden", (1, 2), (3,)),
    "layers on axis 1": (MAXTEXT, "decoder/layers/shared_experts/wi_0/kernel", "hidden", (0,), (2,)),
    "experts before them": (MAXTEXT, "decoder/layers/experts/wi_0", "hidden", (2,), (3,)),
    "and their router": (MAXTEXT, "decoder/layers/gate/kernel", "router", (0,), (2,)),
    "heads around layers": (MAXTEXT, "decoder/layers/self_attention/query/kernel", "hidden", (0,), (2, 3)),
    "experts": (EXPERTS, "moe/experts/up/kernel", "hidden", (1,), (2,)),
    "gate beside experts": (EXPERTS, "moe/gate/kernel", "router", (0,), (1,)),
    "experts last": (
        {"moe/up": (D, F, E), "moe/down": (F, D, E), "moe/router/kernel": (D, E)}, "moe/up", "hidden", (0,), (1,)),
    "gate and value": (
        {"mlp/gating_einsum": (2, D, F), "mlp/linear": (F, D)}, "mlp/gating_einsum", "hidden", (1,), (2,)),
    "a gate beside what it gates": (
        {"gate/kernel": (D, F), "up/kernel": (D, F), "down/kernel": (F, D)}, "gate/kernel", "hidden", (0,), (1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_stacks(name):
    shapes, path, role, reduction, output = CASES[name]
    found = read_names(shapes)[path]
    assert (found.leaf.role, found.leaf.reduction, found.leaf.output) == (role, reduction, output)
    assert not found.assumed


def test_an_expert_axis_that_nothing_tells_is_an_error():
    for shapes in ({"expert/up/kernel": (E, D, F)}, {"shared_experts/wi_0/kernel": (D, L, F)}):
        assert all(isinstance(found, om.UnknownLeafError) for found in read_names(shapes).values())


VECTORS = ("b", "offset", "A_log", "D", "ls1", "gamma_1", "lambda1", "learnable_skip", "cls_token",
           "register_tokens", "mask_tokens", "freqs", "norm/weight", "norm/w", "b_q", "sinks", "dt_bias",
           "log_step", "weight_g")  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("shape", [(D,), (L, D), (L, 2, D)])
def test_what_meets_entries_alone_is_no_matrix_when_stacked(name, shape):
    assert read_names({f"layers/{name}": shape})[f"layers/{name}"].leaf.role == "vector"


def test_tables_of_positions_and_small_arrays_of_known_rank():
    for name in ("relative_position_bias_table", "pos_embed", "rel_pos_h"):
        assert read_names({f"layers/{name}": (L, 7, D)})[f"layers/{name}"].leaf.role == "embedding"


def test_a_gate_is_stored_either_way_round():
    for gating, reduction in (((2, D, F), (1,)), ((2, F, D), (2,))):
        tree = {"norm/scale": (D,), "mlp/gating_einsum": gating, "mlp/linear": (F, D)}
        found = read_names(tree)
        assert (found["mlp/gating_einsum"].leaf.role, found["mlp/gating_einsum"].leaf.reduction) == (
            "hidden",
            reduction,
        )
        assert found["mlp/linear"].leaf.reduction == (0,)


def test_a_stack_of_whole_models_has_stacked_ends():
    layers = {"Dense_0": (4, F), "Dense_1": (F, F), "Dense_2": (F, 1)}
    tree = {f"critics/{name}/kernel": (2, *sides) for name, sides in layers.items()}
    tree |= {f"critics/{name}/bias": (2, sides[1]) for name, sides in layers.items()}
    found = read_names(tree)
    assert [found[f"critics/{name}/kernel"].leaf.role for name in layers] == ["input", "hidden", "head"]
    assert found["critics/Dense_2/kernel"].assumed


def test_biases_of_relative_positions_are_no_table_of_tokens():
    assert read_names({"relpos_bias/rel_embedding": (4, 32)})["relpos_bias/rel_embedding"].leaf.role == "vector"
