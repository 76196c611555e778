"""Bases that follow factors, and what is measured along them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.linalg.subspace._eigenbasis import DECOMPOSE, ITERATE, KEEP, followed, from_basis, gram, to_basis

pytestmark = pytest.mark.thinned(2)

SPECTRUM = np.array([9.0, 4.0, 1.0, 0.25, 0.01])


def factor(seed=0):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]
    return jnp.asarray(q * SPECTRUM @ q.T), q


follow = jax.jit(followed, static_argnums=2)


def test_decomposing_gives_eigenvectors_largest_first():
    with jax.enable_x64(True):
        s, q = factor()
        basis = follow(jnp.eye(5), s, DECOMPOSE)
        np.testing.assert_allclose(np.abs(q.T @ basis), np.eye(5), atol=1e-13)
        np.testing.assert_array_equal(follow(basis, s, KEEP), basis)


def test_iterating_converges_and_keeps_every_column_in_its_place():
    with jax.enable_x64(True):
        s, q = factor()
        shuffle = np.array([3, 0, 4, 2, 1])
        tilt = np.linalg.qr(np.eye(5) + 0.1 * np.random.default_rng(1).normal(size=(5, 5)))[0]
        basis = jnp.asarray(q[:, shuffle] @ tilt)
        for _ in range(30):
            basis = follow(basis, s, ITERATE)
            np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-13)
        np.testing.assert_allclose(np.abs(q[:, shuffle].T @ basis), np.eye(5), atol=1e-6)


def test_there_and_back_is_the_identity():
    with jax.enable_x64(True):
        bases = om.linalg.RandomBasis(1).init((2, 4, 3), jnp.float64)
        x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4, 3)))
        np.testing.assert_allclose(from_basis(to_basis(x, bases), bases), x, atol=1e-14)
        one_sided = {"right": bases["right"]}
        np.testing.assert_allclose(to_basis(x, one_sided), x @ bases["right"], atol=1e-14)


def test_factors_average_gram_matrices_of_rotated_sides_alone():
    basis = om.linalg.EigenBasis(decay=0.5, max_side=4)
    memory = basis.init((6, 4), jnp.bfloat16)
    assert set(memory) == {"right", "right_factor"}
    assert all(value.dtype == jnp.float32 for value in memory.values())
    x = jnp.asarray(np.random.default_rng(3).normal(size=(6, 4)), jnp.float32)
    new = basis.update(x, memory, KEEP)
    np.testing.assert_allclose(new["right_factor"], 0.5 * gram(x, "right"), rtol=1e-6)
    np.testing.assert_array_equal(new["right"], jnp.eye(4))


def test_schedule_of_refreshes():
    soap, splus = om.linalg.Refresh(3), om.linalg.Refresh(4, "decompose", count_from=1)
    counts = jnp.arange(8)
    assert jax.vmap(soap.how)(counts).tolist() == [1, 0, 0, 2, 0, 0, 2, 0]
    assert jax.vmap(splus.how)(counts).tolist() == [1, 0, 0, 1, 0, 0, 0, 1]


def test_a_refresh_not_due_is_a_branch_not_taken():
    tx = om.soap(0.1, leaves={"w": om.Leaf("hidden", 1, 2)})
    params = {"w": jnp.zeros((3, 4, 4))}
    text = str(jax.make_jaxpr(tx.update)(params, tx.init(params), params))
    assert "cond[" in text, "the schedule must not compute a refresh and throw it away"
    outside = text.split("cond[")[0]
    assert "eigh" not in outside
    assert "geqrf" not in outside
    assert "householder" not in outside


@pytest.mark.parametrize(
    "op",
    [om.linalg.KroneckerWhitening(), om.linalg.OneSidedWhitening(), om.linalg.LeadingSubspace(rank=2)],
    ids=lambda op: type(op).__name__,
)
def test_a_stack_is_its_matrices_and_nan_stays_in_its_own(op):
    rng = np.random.default_rng(4)
    x, g = (jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32).at[1, 0, 0].set(jnp.nan) for _ in range(2))
    apply = jax.jit(lambda x, carry, g: op.at(jnp.asarray(0)).apply(x, carry, gradient=g))
    whole, carry, _ = apply(x, op.init((3, 5, 4), x.dtype), g)
    assert jnp.isnan(whole[1]).any()
    single = jax.jit(lambda x, carry, g: op.at(jnp.asarray(0)).apply(x, carry, gradient=g))
    for i in (0, 2):
        alone, kept, _ = single(x[i], op.init((5, 4), x.dtype), g[i])
        np.testing.assert_allclose(whole[i], alone, atol=1e-5)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4), carry, kept)
    empty = jnp.zeros((0, 4))
    assert op.at(0).apply(empty, op.init((0, 4), x.dtype), gradient=empty)[0].shape == (0, 4)


def test_a_gradient_whose_square_is_none_in_float32_teaches_the_same_bases():
    g = jnp.asarray(np.random.default_rng(3).normal(size=(5, 4)), jnp.float32)
    basis = om.linalg.EigenBasis()

    def learned(x):
        memory = basis.update(x, basis.init(x.shape, x.dtype), basis.how(jnp.int32(0)))
        return jnp.abs(memory["left"].T @ g @ memory["right"])  # signs of eigenvectors are arbitrary

    np.testing.assert_allclose(learned(1e30 * g), learned(g), atol=1e-4)
