"""Blocks that are computed where they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.transforms import apply_to_matrices

SVD = om.linalg.SVDPolar()
X = np.random.default_rng(0).normal(size=(2, 8, 12)).astype(np.float32)


def run(spec, kind, split=None, said=True):
    """Orthogonalise blocks of two matrices over a mesh of two axes."""
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(kind,) * 2, devices=jax.devices()[:4])
    leaves = {"w": om.Leaf("hidden", 1, 2, split, spec=spec if said else None)}
    tx = apply_to_matrices(SVD, leaves=leaves, placement=om.OnShards())
    with jax.set_mesh(mesh):
        updates = {"w": jax.device_put(X, NamedSharding(mesh, spec))}
        return np.asarray(jax.jit(lambda u: tx.update(u, tx.init(u))[0])(updates)["w"])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_every_block_is_a_matrix_of_its_own(kind):
    found = run(P(None, "b", "a"), kind)
    for i in range(2):
        for rows in (slice(0, 4), slice(4, 8)):
            for columns in (slice(0, 6), slice(6, 12)):
                np.testing.assert_allclose(found[i, rows, columns], SVD.apply(X[i, rows, columns]), atol=1e-5)


def test_matrices_over_batch_axes_are_whole_and_so_are_pieces_that_are_not_cut():
    np.testing.assert_allclose(run(P("a"), AxisType.Auto), SVD.apply(jnp.asarray(X)), atol=1e-5)
    pieces = run(P(None, "a"), AxisType.Explicit, split=(4, 8))
    np.testing.assert_allclose(pieces[0, :4, :4], SVD.apply(X[0, :4, :4]), atol=1e-5)
    np.testing.assert_allclose(pieces[0, 4:, 4:], SVD.apply(X[0, 4:, 4:]), atol=1e-5)
    cut = run(P(None, None, "a"), AxisType.Explicit, split=(4, 8))
    np.testing.assert_allclose(cut[0, :, :6], SVD.apply(X[0, :, :6]), atol=1e-5)


def test_without_a_mesh_all_is_whole():
    tx = apply_to_matrices(SVD, leaves={"w": om.Leaf("hidden", 1, 2)}, placement=om.OnShards())
    np.testing.assert_allclose(tx.update({"w": jnp.asarray(X)}, None)[0]["w"], SVD.apply(jnp.asarray(X)), atol=1e-6)


def test_inside_the_callers_map_a_shard_is_a_block():
    mesh = jax.make_mesh((4,), ("a",), devices=jax.devices()[:4])
    tx = apply_to_matrices(SVD, leaves={"w": om.Leaf("hidden", 1, 2, spec=P(None, None, "a"))}, placement=om.OnShards())
    spec = P(None, None, "a")
    body = jax.shard_map(lambda x: tx.update({"w": x}, None)[0]["w"], mesh=mesh, in_specs=spec, out_specs=spec)
    found = np.asarray(jax.jit(body)(jax.device_put(X, NamedSharding(mesh, spec))))
    np.testing.assert_allclose(found[1, :, 3:6], SVD.apply(X[1, :, 3:6]), atol=1e-5)


def test_what_cannot_be_known_or_kept_raises():
    with pytest.raises(ValueError, match="w: under jax.jit on an Auto mesh"):
        run(P(None, "a"), AxisType.Auto, said=False)
    updates = {"w": jnp.asarray(X[0])}
    tx = apply_to_matrices(om.linalg.PowerStep(2), placement=om.OnShards())
    with pytest.raises(TypeError, match="OnShards: PowerStep keeps a state"):
        tx.update(updates, tx.init(updates))
