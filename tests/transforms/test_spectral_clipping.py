"""clip_by_spectral_norm on every kind of leaf against NumPy, its thresholds over steps, and its state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import optax_muon as om
from optax_muon import linalg
from optax_muon.matrices._leaf import as_matrices, restore
from optax_muon.transforms import clip_by_spectral_norm
from tests.contracts.problem import MATRICES, nested, tree

LEAVES = nested({path: leaf for path, (_, leaf) in MATRICES.items()})
RULES = {
    "constant": lambda past: 0.25,
    "average": lambda past: sum(0.5 ** (len(past) - i) * x for i, x in enumerate(past)) / (1 - 0.5 ** len(past)),
    "quantile": lambda past: sorted(past[-2:])[int(0.5 * (len(past[-2:]) - 1))],
}
THRESHOLDS = {
    "constant": 0.25,
    "average": linalg.MovingAverageThreshold(0.5),
    "quantile": linalg.QuantileThreshold(0.5, window=2),
}


def gradients(seed):
    """Matrices of the problem, their size changing with the seed."""
    full = tree(seed)
    return nested({path: 1.7 ** (seed % 3) * full[path.split("/")[0]]["kernel"] for path in MATRICES})


def clipped(x, leaf, past, rule):
    """Clip every matrix of a leaf by SVD; ``past`` collects the norms of each."""

    def stack(matrices):
        out = []
        for i, matrix in enumerate(np.asarray(matrices, np.float64)):
            u, s, vh = np.linalg.svd(matrix, full_matrices=False)
            seen = past.setdefault(i, [])
            tau = rule(seen) if seen or rule is RULES["constant"] else s[0]
            seen.append(s[0])
            out.append((u * np.minimum(s, tau)) @ vh)
        return jnp.asarray(np.stack(out), jnp.float32)

    return restore([stack(matrices) for matrices in as_matrices(x, leaf)], leaf, x.shape)


@pytest.mark.parametrize("kind", THRESHOLDS)
def test_steps_against_the_definition(kind):
    tx = clip_by_spectral_norm(THRESHOLDS[kind], leaves=LEAVES)
    update = jax.jit(tx.update)
    state, pasts = tx.init(gradients(0)), {path: {} for path in MATRICES}
    for seed in range(4):
        grads = gradients(seed)
        updates, state = update(grads, state)
        for path, (_, leaf) in MATRICES.items():
            module, name = path.split("/")
            expected = clipped(grads[module][name], leaf, pasts[path], RULES[kind])
            np.testing.assert_allclose(updates[module][name], expected, atol=2e-6, err_msg=f"{path}, step {seed}")
    assert update._cache_size() == 1


def test_few_large_directions_are_clipped_through_a_sketch():
    grads = {"up": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(3, 6, 8)) * 0.01).at[:, 2, 3].set(9.0)}}
    leaves = {"up": {"kernel": om.Leaf("hidden", 1, 2)}}
    full = clip_by_spectral_norm(0.5, leaves=leaves)
    part = clip_by_spectral_norm(0.5, svd=linalg.RandomizedSVD(2, 2), leaves=leaves)
    expected, _ = full.update(grads, full.init(grads))
    state = part.init(grads)
    first, state = part.update(grads, state)
    np.testing.assert_allclose(first["up"]["kernel"], expected["up"]["kernel"], atol=1e-5)
    second, state = part.update(grads, state)
    assert int(state.count) == 2
    np.testing.assert_allclose(second["up"]["kernel"], first["up"]["kernel"], atol=1e-5)
    assert (second["up"]["kernel"] != first["up"]["kernel"]).any(), "another key every step"


PARAMS = {"up": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)}, "down": {"kernel": jnp.ones((6, 4))}}
OPS = {
    "constant": clip_by_spectral_norm(1.0),
    "average": clip_by_spectral_norm(linalg.MovingAverageThreshold()),
    "quantile through a sketch": clip_by_spectral_norm(linalg.QuantileThreshold(window=3), svd=linalg.RandomizedSVD(2)),
    "random polar factor": om.transforms.apply_to_matrices(linalg.RandomizedPolar(2)),
    "power hammer": om.transforms.apply_to_matrices(linalg.PowerHammer(1.0)),
}


@pytest.mark.parametrize("kind", OPS)
def test_state_maps_shards_and_keeps_its_structure(kind):
    tx = om.for_matrices(OPS[kind], otherwise=optax.identity())
    state = tx.init(PARAMS)

    def masked(x):
        return isinstance(x, optax.MaskedNode)

    same = optax.tree.map_params(tx, lambda x, _: x, state, PARAMS, is_leaf=masked)
    assert jax.tree.structure(same) == jax.tree.structure(state)
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    everywhere = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec("x")), PARAMS)
    shardings = om.state_shardings(tx, PARAMS, everywhere)
    assert jax.tree.structure(shardings) == jax.tree.structure(state)
    assert all(s.spec == PartitionSpec() for s in jax.tree.leaves(shardings))
    _, after = jax.eval_shape(tx.update, PARAMS, state, PARAMS)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("empty", [{}, {"up": optax.MaskedNode()}])
def test_a_tree_without_matrices_passes(kind, empty):
    state = OPS[kind].init(empty)
    updates, after = OPS[kind].update(empty, state)
    assert updates == empty
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_vectors_pass_beside_it_and_are_refused_by_it():
    tx = optax.chain(om.for_matrices(clip_by_spectral_norm(1.0), otherwise=optax.identity()), optax.sgd(1.0))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(updates["up"]["bias"], -PARAMS["up"]["bias"])
    np.testing.assert_allclose(updates["up"]["kernel"], -jnp.ones((4, 6)) / 24**0.5, rtol=1e-5)
    with pytest.raises(ValueError, match="up/bias"):
        clip_by_spectral_norm(1.0).init(PARAMS)


def test_muon_with_a_random_polar_factor_takes_new_directions_every_step():
    params = {"a": {"kernel": jnp.eye(6)}, "b": {"kernel": jnp.eye(6)}}
    tx = om.muon(1.0, orthogonalizer=linalg.RandomizedPolar(2, 1), momentum=0.0, shape_scale=om.shapes.Constant())
    state = tx.init(params)
    first, state = tx.update(params, state, params)
    second, _ = tx.update(params, state, params)
    for updates in (first, second):
        s = np.linalg.svd(np.asarray(updates["a"]["kernel"]), compute_uv=False)
        assert (np.abs(s[:3] - 1) < 0.16).all()
        np.testing.assert_allclose(s[3:], 0, atol=1e-5)
    assert float(jnp.abs(first["a"]["kernel"] - second["a"]["kernel"]).max()) > 1e-2
    assert float(jnp.abs(first["a"]["kernel"] - first["b"]["kernel"]).max()) > 1e-2


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        clip_by_spectral_norm(threshold)
