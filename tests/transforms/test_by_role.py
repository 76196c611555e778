"""Operations by role and by path."""

import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om

OPS = {"hidden": om.norms.Oracle(om.norms.Max()), "vector": om.norms.Oracle(om.norms.RMS(), 2.0)}
GRADS = {
    "up": {"kernel": jnp.array([[3.0, -1.0]]), "bias": jnp.array([3.0, -3.0])},
    "out": {"kernel": -jnp.ones((2, 1))},
}


def step(tx, grads=GRADS):
    return tx.update(grads, tx.init(grads), grads)[0]


def test_roles_and_globs_in_order():
    ops = OPS | {"out/*": om.norms.Oracle(om.norms.Max(), 5.0), "*/kernel": om.norms.Oracle(om.norms.Max(), 7.0)}
    updates = step(om.transforms.apply_by_role(ops))
    assert updates["up"]["kernel"].tolist() == [[7.0, -7.0]]
    assert updates["out"]["kernel"].tolist() == [[-5.0], [-5.0]]
    np.testing.assert_allclose(updates["up"]["bias"], [2.0, -2.0], rtol=1e-6)


def test_any_map_and_any_memory():
    spectral = om.linalg.Composed(om.norms.Oracle(om.norms.Max()), om.linalg.SVDPolar())
    updates = step(om.transforms.apply_by_role(OPS | {"hidden": spectral}))
    np.testing.assert_allclose(updates["up"]["kernel"], np.array([[1.0, -1.0]]) / np.sqrt(2), rtol=1e-6)


def test_a_role_without_an_operation_is_named():
    with pytest.raises(ValueError, match="up/bias: a vector, and there is nothing for it"):
        om.transforms.apply_by_role({"hidden": OPS["hidden"]}).init(GRADS)


def test_factors():
    updates = step(om.transforms.scale_by_role({"hidden": 2.0, "out/*": 10.0}))
    assert updates["up"]["kernel"].tolist() == [[6.0, -2.0]]
    assert updates["out"]["kernel"].tolist() == [[-10.0], [-10.0]]
    assert updates["up"]["bias"].tolist() == [3.0, -3.0]
    assert om.transforms.scale_by_role({}).update({}, (), None)[0] == {}


def test_total_dual_couples_all_matrices():
    grads = {"a": {"kernel": jnp.array([[3.0, -1.0]])}, "b": {"kernel": jnp.ones((2, 2))}}
    updates = step(om.transforms.scale_by_total_dual(om.norms.Max()), grads)
    assert updates["a"]["kernel"].tolist() == [[8.0, -8.0]]
    assert updates["b"]["kernel"].tolist() == [[8.0, 8.0], [8.0, 8.0]]
    assert om.transforms.scale_by_total_dual(om.norms.Max()).update({}, ())[0] == {}
