"""Mixing matrices: what is sent is what the dense matrix says, eigenvalues too, and what cannot work raises."""

import jax
import numpy as np
import pytest

from optax_muon import workers
from tests.references.workers import ring
from tests.workers import harness

GRAPHS = [
    workers.Ring(),
    workers.Ring(lazy=False),
    workers.Complete(),
    workers.Exponential(),
    workers.Circulant(((0, 0.5), (1, 0.25), (2, 0.25))),
]


def dense(graph, n):
    w = np.zeros((n, n))
    for shift, weight in graph.weights(n).items():
        for i in range(n):
            w[i, (i - shift) % n] += weight
    return w


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("n", [2, 5, 8])
def test_weights_are_doubly_stochastic_and_eigenvalues_their_own(graph, n):
    w = dense(graph, n)
    np.testing.assert_allclose([w.sum(0), w.sum(1)], 1.0)
    # By the multiset: roots of unity come in no order.
    found = np.sort_complex(np.asarray(graph.eigenvalues(n), complex).round(9))
    np.testing.assert_allclose(found, np.sort_complex(np.linalg.eigvals(w).round(9)), atol=1e-7)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_what_is_sent_is_the_matrix(graph):
    with jax.enable_x64(True):
        x = harness.problem(5)[0]
        mix = jax.jit(jax.vmap(lambda x: graph.mix({"a": x}, "w")["a"], axis_name="w"))
        for n in (5, 2):
            some = x[:n]
            got = mix(some)
            np.testing.assert_allclose(got, np.einsum("ij,jkl->ikl", dense(graph, n), some), atol=1e-14)
            np.testing.assert_allclose(np.mean(got, axis=0), some.mean(axis=0), atol=1e-14)


def test_rings_are_those_of_the_papers():
    np.testing.assert_allclose(dense(workers.Ring(lazy=False), 8), ring(8, 1 / 3))
    np.testing.assert_allclose(dense(workers.Ring(), 2), [[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    # The even ring's -1/3 is what exact diffusion cannot stand; an odd ring is above it, a lazy one positive.
    assert workers.Ring(lazy=False).smallest_eigenvalue(8) == pytest.approx(-1 / 3)
    assert workers.Ring(lazy=False).smallest_eigenvalue(7) > -1 / 3
    assert workers.Ring().smallest_eigenvalue(8) == pytest.approx(1 / 3)


def test_what_cannot_work_says_so():
    with pytest.raises(ValueError, match="add up to 1"):
        workers.Circulant(((0, 0.5), (1, 0.25))).shifts(4)
    with pytest.raises(ValueError, match="positive or zero"):
        workers.Circulant(((0, 1.5), (1, -0.5))).shifts(4)
    with pytest.raises(ValueError, match="not symmetric for 4 workers"):
        workers.Circulant(((0, 0.5), (1, 0.5))).smallest_eigenvalue(4)
    with pytest.raises(ValueError, match="4 workers never agree"):
        workers.Circulant(((0, 0.5), (2, 0.5))).require_connected(4)
    with pytest.raises(ValueError, match="never agree"):
        workers.Circulant(((1, 1.0),)).require_connected(4)
    with pytest.raises(ValueError, match="no axis 'nodes' around this update"):
        workers.Ring().mix({"a": np.ones(2)}, "nodes")


@pytest.mark.parametrize("graph", [workers.Complete(), workers.Exponential()], ids=str)
def test_a_mean_of_bfloat16_is_added_up_in_float32(graph):
    x = np.full((8, 4), 1.0, "bfloat16") + np.arange(8)[:, None].astype("bfloat16") / 128
    got = jax.jit(jax.vmap(lambda x: graph.mix(x, "w"), axis_name="w"))(x)
    assert got.dtype == x.dtype
    want = np.einsum("ij,jk->ik", dense(graph, 8), x.astype(np.float64))
    np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=2**-8)
