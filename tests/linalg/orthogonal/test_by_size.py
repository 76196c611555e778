"""One operation for small matrices and another for large ones."""

import dataclasses

import jax.numpy as jnp

from optax_muon.linalg import BySize, Info, MatrixOp, SVDPolar


@dataclasses.dataclass(frozen=True)
class Count(MatrixOp):
    needs_key = True

    def init(self, shape, dtype):
        return jnp.zeros(shape[:-2], dtype)

    def apply(self, x, carry, *, key=None, **others):
        return x, carry + 1, Info(dual=carry)


def test_the_shorter_side_decides():
    op = BySize(4, Count(), SVDPolar())
    assert op.needs_key
    small, large = 2 * jnp.eye(4, 9), 2 * jnp.eye(9, 5)
    assert op.init(small.shape, small.dtype) == ()
    y, carry, info = op.apply(small, ())
    assert float(y[0, 0]) == 1
    assert carry == ()
    y, carry, info = op.apply(large, op.init(large.shape, large.dtype))
    assert float(y[0, 0]) == 2
    assert carry == 1
    assert info.dual == 0
