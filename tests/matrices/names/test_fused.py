"""Fused kernels are cut where what stands beside them makes that certain; elsewhere the cut, or none, is assumed."""

import pytest

import optax_muon as om
from optax_muon.matrices.names._read import read_names

D, F, I, N = 8, 32, 16, 4

MAMBA = {"in_proj/kernel": (D, 2 * I), "x_proj/kernel": (I, 2 + 2 * N), "dt_proj/kernel": (2, I), "A_log": (I, N),
         "out_proj/kernel": (I, D), "D": (I,), "conv1d/kernel": (4, 1, I)}  # fmt: skip
MAMBA2 = {"in_proj/kernel": (D, 2 * I + 2 * N + 2), "A_log": (2,), "dt_bias": (2,), "out_proj/kernel": (I, D)}
CASES = {
    "thirds, by the output beside": ({"qkv/kernel": (D, 3 * D), "proj/kernel": (D, D)}, "qkv/kernel", (D,) * 3, False),
    "wider than the model": ({"qkv/kernel": (D, 3 * I), "proj/kernel": (I, D)}, "qkv/kernel", (I,) * 3, False),
    "thirds of nothing known": ({"qkv/kernel": (D, 3 * D)}, "qkv/kernel", (D,) * 3, True),
    "fewer heads for keys": ({"qkv/kernel": (D, 12), "o_proj/kernel": (D, D)}, "qkv/kernel", (D, 2, 2), True),
    "unknown widths": ({"qkv/kernel": (D, 20)}, "qkv/kernel", None, True),
    "heads first": (
        {"query_key_value/kernel": (D, 3 * D), "dense/kernel": (D, D)}, "query_key_value/kernel", None, True),
    "key and value": ({"q/kernel": (D, D), "kv/kernel": (D, 2 * D), "proj/kernel": (D, D)}, "kv/kernel", (D, D), True),
    "gate and value": (
        {"gate_up_proj/kernel": (D, 2 * F), "down_proj/kernel": (F, D)}, "gate_up_proj/kernel", (F, F), True),
    "Mamba": (MAMBA, "in_proj/kernel", (I, I), False),
    "its steps, B and C": (MAMBA, "x_proj/kernel", (2, N, N), False),
    "Mamba 2": (MAMBA2, "in_proj/kernel", (I, I + 2 * N, 2), True),
    "gates of an LSTM": ({"c/weight_ih": (4 * D, F), "c/weight_hh": (4 * D, D)}, "c/weight_ih", (D,) * 4, False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cuts(name):
    shapes, path, sizes, assumed = CASES[name]
    under = {f"layers/{i}/{p}": shape for i in range(2) for p, shape in shapes.items()} | {"norm/scale": (D,)}
    found = read_names(under)[f"layers/0/{path}"]
    assert found.leaf.role == "hidden"
    assert found.leaf.split == (None if sizes is None else om.Split(sizes))
    assert found.assumed is assumed
