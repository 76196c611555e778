"""Which parameters are factors of one matrix: by names, by hand, and the errors where they are none."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import optax_muon as om
from optax_muon.matrices._pairs import resolve_pairs
from optax_muon.matrices._resolve import accepted

H = om.Leaf("hidden", 0, 1)


def shape(*n, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(n, dtype)


def resolved(tree, pairs=None, leaves=None):
    return resolve_pairs(tree, pairs, accepted(tree, leaves))


class Model(nnx.Module):
    def __init__(self, rngs):
        self.up = nnx.LoRALinear(6, 8, lora_rank=2, rngs=rngs)
        self.down = nnx.LoRA(8, 3, 5, base_module=nnx.Linear(8, 5, rngs=rngs), rngs=rngs)


def test_flax_modules():
    state = nnx.state(nnx.eval_shape(lambda: Model(nnx.Rngs(0))), nnx.LoRAParam)
    want = {"down/lora_a": "down/lora_b", "up/lora/lora_a": "up/lora/lora_b"}
    assert om.transforms.pairs_by_name(state) == want
    assert dict(resolved(state)) == want


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("q/kernel_lora_a", "q/kernel_lora_b"),  # Qwix, and Tunix, which calls it
        ("q/lora_A/weight", "q/lora_B/weight"),  # PEFT
        ("q/lora_down/kernel", "q/lora_up/kernel"),
        ("lora_a/0/lora_a", "lora_a/0/lora_b"),
    ],
)
def test_names_of_other_libraries(first, second):
    # The second stands before the first, and a kernel beside them is no factor.
    tree = {second: shape(2, 4), first: shape(6, 2), "q/kernel": shape(6, 4)}
    assert om.transforms.pairs_by_name(tree) == {first: second}
    for lone in (first, second):
        with pytest.raises(ValueError, match="both factors of a pair") as error:
            om.transforms.pairs_by_name({lone: tree[lone]})
        assert first in str(error.value)
        assert second in str(error.value)


def test_a_factor_whose_partner_goes_elsewhere_is_named():
    params = {"up": {"lora_a": jnp.ones((6, 2)), "lora_b": jnp.ones((2, 4))}}
    tx = om.for_matrices(om.lora_muon(0.1), otherwise=om.muon(0.1), rules=[("lora_b", "other")])
    with pytest.raises(ValueError, match="up/lora_a without up/lora_b"):
        jax.eval_shape(tx.init, params)


def test_pairs_by_hand():
    tree = {"a": {"kernel": shape(6, 2)}, "b": {"kernel": shape(2, 4)}}
    for pairs in ({"a/kernel": "b/kernel"}, {"a": {"kernel": "b/kernel"}}, lambda _: {"a/kernel": "b/kernel"}):
        assert resolved(tree, pairs) == (("a/kernel", "b/kernel"),)
    assert resolved(tree) == resolved({}, {"a": "b"}) == ()
    # Axes tell the rank, wherever it stands.
    turned = {"a": shape(2, 6), "b": shape(4, 2)}
    assert resolved(turned, {"a": "b"}, {"a": om.Leaf("hidden", 1, 0), "b": om.Leaf("hidden", 1, 0)})


WRONG = {
    "swapped": ({"a": shape(2, 4), "b": shape(6, 2)}, {"a": H, "b": H}, "output side has 4 .* reduction side 6"),
    "numbered otherwise": (
        {"a": shape(3, 6, 2), "b": shape(2, 4)},
        {"a": om.Leaf("hidden", 1, 2), "b": H},
        r"of \[3\] and \[\] matrices",
    ),
    "split": ({"a": shape(6, 2), "b": shape(2, 4)}, {"a": om.Leaf("hidden", 0, 1, (1, 1)), "b": H}, "a is split along"),
}


@pytest.mark.parametrize(("tree", "leaves", "says"), WRONG.values(), ids=WRONG)
def test_what_is_no_pair_is_named(tree, leaves, says):
    with pytest.raises(ValueError, match=says) as error:
        resolved(tree, {"a": "b"}, leaves)
    assert "a and b" in str(error.value)


def test_complex_factors_and_factors_of_two_pairs_are_named():
    with pytest.raises(TypeError, match="lora_a: a pair takes real factors, not complex64"):
        resolved({"lora_a": shape(6, 2, dtype=jnp.complex64), "lora_b": shape(2, 4)})
    with pytest.raises(ValueError, match=r"b is in two pairs, \('a', 'b'\) and \('c', 'b'\)"):
        resolved({x: shape(2, 2) for x in "abc"}, {"a": "b", "c": "b"}, dict.fromkeys("abc", H))
