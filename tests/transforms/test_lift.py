"""The lift: memory, keys and refusals; its arithmetic is covered by the optimizers' references."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.linalg import Info, MatrixOp
from optax_muon.transforms import Lift, apply_to_matrices
from tests.contracts.problem import MATRICES, Probe, nested, tree

PARAMS = nested({path: tree(0)[path.split("/")[0]]["kernel"] for path in MATRICES})
LEAVES = nested({path: leaf for path, (_, leaf) in MATRICES.items()})


@dataclasses.dataclass(frozen=True)
class Counted(MatrixOp):
    """Adds noise of each matrix's key and counts its own calls, per matrix."""

    needs_key = True

    def init(self, shape, dtype):
        return jnp.zeros(shape[:-2], jnp.int32)

    def apply(self, x, carry, *, key=None, **others):
        y = x + jax.random.normal(key, x.shape)
        return y, carry + 1, Info(dual=jnp.sum(x * y))


def test_memory_keys_and_duals():
    lift = Lift(Counted(), LEAVES)
    state = lift.init(PARAMS)
    first, state, done = lift.apply(PARAMS, state)
    second, state, _ = lift.apply(PARAMS, state)
    assert int(state.count) == 2
    assert [int(c) for c in state.carries["fused/kernel"][0]] == [2, 2, 2]
    noise = jax.tree.map(lambda a, b: a - b, first, PARAMS)
    assert all(jnp.abs(a - b).max() > 0.1 for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))
    stacked = noise["stacked"]["kernel"]
    assert jnp.abs(stacked[0] - stacked[1]).max() > 0.1, "matrices of a stack have keys of their own"
    expected = jnp.sum(PARAMS["square"]["kernel"] * first["square"]["kernel"])
    np.testing.assert_allclose(done["square/kernel"].infos[0].dual[0], expected, rtol=1e-5)


def test_buckets_do_not_change_the_keys():
    alone, joined = Lift(Counted(), LEAVES, Probe(max_bytes=0)), Lift(Counted(), LEAVES)
    a, b = (lift.apply(PARAMS, lift.init(PARAMS))[0] for lift in (alone, joined))
    # Another key would differ by about 1; a loop and a single call round differently.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a, b)
    fewer = {"square": PARAMS["square"]}
    only = Lift(Counted(), LEAVES)
    again = only.apply(fewer, only.init(fewer))[0]
    np.testing.assert_allclose(again["square"]["kernel"], a["square"]["kernel"], atol=1e-6)


def test_a_tree_without_leaves_passes():
    tx = apply_to_matrices(Counted())
    state = tx.init({})
    updates, state = tx.update({}, state)
    assert updates == {}


def test_axes_that_do_not_fit_name_the_path():
    tx = apply_to_matrices(om.linalg.SVDPolar(), leaves={"a": {"kernel": om.Leaf("hidden", 1, 2)}})
    with pytest.raises(ValueError, match="a/kernel: shape \\(4, 4\\)"):
        tx.init({"a": {"kernel": jnp.ones((4, 4))}})


def test_integer_updates_are_refused():
    tx = apply_to_matrices(om.linalg.NewtonSchulz())
    grads = {"a": {"kernel": jnp.ones((4, 4), jnp.int32)}}
    with pytest.raises(TypeError, match="int32"):
        tx.update(grads, tx.init(grads))


@pytest.mark.parametrize("make", [om.soap, om.splus, om.asgo, om.kl_shampoo, om.cosmos])
def test_rules_for_real_matrices_refuse_complex_ones_by_path(make):
    params = {"up": {"kernel": jnp.ones((4, 3), jnp.complex64)}}
    with pytest.raises(TypeError, match=r"up/kernel: .* takes real matrices, not complex64"):
        make(0.1).init(params)
