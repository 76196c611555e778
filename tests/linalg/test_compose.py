"""Several maps as one."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.linalg import Composed, Info, MatrixOp, SVDPolar


@dataclasses.dataclass(frozen=True)
class Count(MatrixOp):
    """Adds how often it was called."""

    def init(self, shape, dtype):
        return jnp.zeros(shape[:-2], dtype)

    def apply(self, x, carry, *, key=None, **others):
        return x + carry[..., None, None], carry + 1, Info()


@dataclasses.dataclass(frozen=True)
class Noise(Count):
    needs_key: ClassVar[bool] = True

    def apply(self, x, carry, *, key=None, **others):
        return x + jax.random.normal(key, x.shape, x.dtype), carry, Info()


def test_members_act_in_order_and_keep_their_memory():
    x = jax.random.normal(jax.random.key(0), (3, 4, 6))
    first, last = Composed(SVDPolar(), Count()), Composed(Count(), SVDPolar())
    for op, expected in ((first, lambda n: SVDPolar().apply(x) + n), (last, lambda n: SVDPolar().apply(x + n))):
        carry = op.init(x.shape, x.dtype)
        for n in range(3):
            y, carry, info = op.apply(x, carry)
            np.testing.assert_allclose(y, expected(n), atol=1e-6)
            assert info.dual is None


def test_low_precision_is_rounded_once():
    x = jax.random.normal(jax.random.key(0), (4, 6)).astype(jnp.bfloat16)
    op = Composed(SVDPolar(), SVDPolar())
    y, _, _ = op.apply(x, op.init(x.shape, x.dtype))
    assert y.dtype == jnp.bfloat16
    wide = SVDPolar().apply(x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(y.astype(np.float32), wide.astype(np.float32))


def test_properties_are_those_of_all_members():
    assert Composed(SVDPolar()).commutes_with_transpose
    assert Composed(SVDPolar()).commutes_with_padding
    assert not Composed(SVDPolar(), Count()).commutes_with_transpose
    assert not Composed(SVDPolar(), Count()).needs_key
    assert Composed(SVDPolar(), Noise()).needs_key


def test_keys_reach_the_member_that_needs_them():
    grads = {"up": {"kernel": jnp.ones((2, 4, 4))}}
    leaves = {"up": {"kernel": om.Leaf("hidden", 1, 2)}}
    tx = om.transforms.apply_to_matrices(Composed(Noise(), SVDPolar()), leaves=leaves)
    state = tx.init(grads)
    one, state = tx.update(grads, state)
    two, _ = tx.update(grads, state)
    draws = [one["up"]["kernel"][0], one["up"]["kernel"][1], two["up"]["kernel"][0]]
    assert min(jnp.abs(a - b).max() for a, b in ((draws[0], draws[1]), (draws[0], draws[2]))) > 1e-3


def test_refusals():
    with pytest.raises(ValueError, match="ops"):
        Composed()
    with pytest.raises(ValueError, match="keys"):
        Composed(Noise(), Noise())
