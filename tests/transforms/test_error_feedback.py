"""Error feedback: its virtual iterate, and the length of what it emits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.linalg._nearest import NearestMultiple
from tests.state import floats_per_parameter

POLAR = om.linalg.SVDPolar()
ROUGH = om.linalg.NewtonSchulz(om.linalg.YOU_2025)


def feedback(direction=POLAR):
    compressor = om.transforms.apply_to_matrices(NearestMultiple(direction), leaves={"w": om.Leaf("hidden", 0, 1)})
    return om.transforms.error_feedback(compressor)


@pytest.mark.parametrize("direction", [POLAR, ROUGH], ids=["exact", "rough"])
def test_emitted_updates_lag_by_the_error_alone(direction):
    with jax.enable_x64(True):
        tx, given = feedback(direction), np.random.default_rng(0).normal(size=(8, 5, 3))
        state, update = tx.init({"w": jnp.zeros((5, 3))}), jax.jit(tx.update)
        emitted = 0
        for u in given:
            out, state = update({"w": jnp.asarray(u)}, state)
            emitted = emitted + out["w"]
            assert jnp.linalg.norm(state.error["w"]) < 5 * np.linalg.norm(u)
        np.testing.assert_allclose(emitted + state.error["w"], given.sum(0), atol=1e-13)


def test_length_is_nuclear_norm_over_rank_and_the_error_what_is_left():
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        for x in (rng.normal(size=(5, 3)), np.outer(rng.normal(size=5), rng.normal(size=3)), np.zeros((5, 3))):
            s = np.linalg.svd(x, compute_uv=False)
            rank = np.linalg.matrix_rank(x)
            y = np.asarray(NearestMultiple(POLAR).apply(jnp.asarray(x)))
            expected = np.where(np.arange(3) < rank, s.sum() / max(rank, 1), 0)
            np.testing.assert_allclose(np.linalg.svd(y, compute_uv=False), expected, atol=1e-13)
            left = np.sum(x**2) - s.sum() ** 2 / max(rank, 1)
            np.testing.assert_allclose(np.sum((x - y) ** 2), left, atol=1e-12)


def test_spectral_image_of_the_compressor():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 6, 4)), jnp.float32)
    for op in (NearestMultiple(POLAR), NearestMultiple(ROUGH)):
        for size in (1.0, 1e-30, 1e30):
            image = jnp.sort(op.scalar(jnp.linalg.svd(x, compute_uv=False)), -1)[..., ::-1]
            y = op.apply(x * size) / size
            np.testing.assert_allclose(jnp.linalg.svd(y, compute_uv=False), image, rtol=1e-4)


def test_rank_one_goes_through_whole():
    x = {"w": jnp.outer(jnp.arange(1.0, 4.0), jnp.array([1.0, -2.0]))}
    tx = feedback()
    out, state = tx.update(x, tx.init(x))
    np.testing.assert_allclose(out["w"], x["w"], rtol=1e-5)
    assert jnp.abs(state.error["w"]).max() < 1e-5


def test_rounding_of_low_precision_updates_is_made_up_for():
    tx = om.transforms.error_feedback(optax.identity(), accumulator_dtype=jnp.float32)
    state, total = tx.init(jnp.zeros(1, jnp.bfloat16)), 0.0
    for _ in range(200):
        out, state = tx.update(jnp.full(1, 1.01, jnp.float32).astype(jnp.bfloat16), state)
        total += float(out[0])
    assert abs(total + float(state.error[0]) - 200 * float(jnp.bfloat16(1.01))) < 1e-3
    assert floats_per_parameter(tx, jnp.zeros(4)) == 1
