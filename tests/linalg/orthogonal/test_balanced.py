"""Orthogonal factors with even rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon.linalg import Balanced, SVDPolar
from tests.references.aurora import balanced as reference
from tests.references.polar import polar


def apply(x, *args):
    op = Balanced(SVDPolar(), *args)
    return op.apply(x, op.init(x.shape, x.dtype))[0]


def tall(shape=(12, 7)):
    return jax.random.normal(jax.random.key(0), shape)


def spread(u):
    """Coefficient of variation of the squared lengths of rows."""
    squares = np.sum(np.square(u), axis=-1)
    return float(np.std(squares) / np.mean(squares))


def test_all_are_orthogonal_and_rows_even_out_with_the_iterations():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(12, 7)))
        found = [apply(x, k) for k in (1, 2, 5, 20)]
        for u, k in zip(found, (1, 2, 5, 20), strict=True):
            np.testing.assert_allclose(np.asarray(u).T @ np.asarray(u), np.eye(7), atol=1e-12)
            np.testing.assert_allclose(u, reference(np.asarray(x), polar, k), atol=1e-12)
        spreads = [spread(u) for u in found]
        assert spreads == sorted(spreads, reverse=True)
        assert spreads[0] > 0.1
        assert spreads[-1] < 1e-2 * spreads[0]


def test_one_iteration_orthogonalises_the_normalised_rows():
    x = tall()
    np.testing.assert_allclose(apply(x, 1), SVDPolar().apply(x / jnp.linalg.norm(x, axis=1, keepdims=True)), atol=1e-5)


def test_wide_is_tall_turned_and_square_is_orthogonalised_as_it_is():
    x = tall()
    np.testing.assert_allclose(apply(x.T), apply(x).T, atol=1e-5)
    square = tall((5, 5))
    np.testing.assert_array_equal(apply(square), SVDPolar().apply(square))


def test_a_dead_row_stays_and_a_stack_is_its_slices():
    x = tall((2, 12, 7)).at[0, 3].set(0)
    u = apply(x)
    assert jnp.isfinite(u).all()
    np.testing.assert_allclose(u[0, 3], 0, atol=1e-6)
    np.testing.assert_allclose(u[1], apply(x[1]), atol=1e-6)


def test_refusals():
    for args in ((0,), (1.5,), (2, -1.0)):
        with pytest.raises(ValueError, match="Balanced"):
            Balanced(SVDPolar(), *args)
