"""Momentum and shape scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon import shapes, transforms


def test_nesterov_ema_by_hand():
    tx = transforms.nesterov_ema(0.5)
    state = tx.init(jnp.zeros(1))
    out = []
    for g in (4.0, 8.0):
        u, state = tx.update(jnp.array([g]), state)
        out.append(float(u[0]))
    # M1 = 2, U1 = 1 + 2; M2 = 1 + 4 = 5, U2 = 2.5 + 4
    assert out == [3.0, 6.5]


def test_debiased_nesterov_by_hand():
    tx = transforms.nesterov_ema(0.5, debias=True)
    u, _ = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
    # M1 = 2 over 1 - 0.25, G over 1 - 0.5
    np.testing.assert_allclose(u, 0.5 * 2 / 0.75 + 0.5 * 4 / 0.5, rtol=1e-6)


@pytest.mark.parametrize("debias", [False, True])
def test_dtypes(debias):
    tx = transforms.nesterov_ema(0.9, debias=debias, accumulator_dtype=jnp.float32)
    params = jnp.ones(3, jnp.bfloat16)
    state = tx.init(params)
    u, after = tx.update(params, state)
    assert u.dtype == jnp.float32
    assert state.average.dtype == after.average.dtype == jnp.float32


def test_decay_is_checked():
    with pytest.raises(ValueError, match="decay must be in"):
        transforms.nesterov_ema(1.5)


@pytest.mark.parametrize(
    ("scale", "reduction", "output", "expected"),
    [
        (shapes.Jordan(), 4, 16, 2.0),
        (shapes.Jordan(), 16, 4, 1.0),
        (shapes.Spectral(), 16, 4, 0.5),
        (shapes.RMSMatch(0.2), 4, 25, 1.0),
        (shapes.RMSMatch(0.2), 25, 4, 1.0),
        (shapes.Constant(3.0), 25, 4, 3.0),
    ],
)
def test_shape_scales(scale, reduction, output, expected):
    x = {"a": {"kernel": jnp.ones((reduction, output))}}
    tx = transforms.scale_by_shape(scale)
    y, _ = tx.update(x, tx.init(x))
    np.testing.assert_allclose(y["a"]["kernel"], expected, rtol=1e-6)


def test_rms_match_gives_updates_of_that_rms():
    x = jax.random.normal(jax.random.key(0), (12, 40))
    tx = om.muon(1.0, orthogonalizer=om.linalg.SVDPolar(), shape_scale=shapes.RMSMatch(0.2))
    u, _ = tx.update({"kernel": x}, tx.init({"kernel": x}), {"kernel": x})
    np.testing.assert_allclose(jnp.sqrt(jnp.mean(u["kernel"] ** 2)), 0.2, rtol=1e-5)


def test_each_piece_of_a_split_has_its_own_scale():
    leaf = om.Leaf("hidden", 0, 1, split=(4, 16))
    x = {"kernel": jnp.ones((4, 20))}
    y, _ = transforms.scale_by_shape(shapes.Jordan(), leaves={"kernel": leaf}).update(x, None)
    np.testing.assert_allclose(y["kernel"][0], [1.0] * 4 + [2.0] * 16)


def test_rms_must_be_positive():
    with pytest.raises(ValueError, match="rms must be positive"):
        shapes.RMSMatch(0.0)


def test_two_rates_by_hand_and_as_nesterov():
    tx = transforms.two_rate_ema(0.5, 0.75)
    u, state = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
    assert (float(u[0]), float(state.average[0])) == (2.0, 1.0)
    u, _ = tx.update(jnp.array([8.0]), state)
    assert float(u[0]) == 4.5
    grads = jax.random.normal(jax.random.key(0), (5, 3))
    nesterov, lion = transforms.ema(0.9, nesterov=True), transforms.two_rate_ema(0.81, 0.9)
    states = nesterov.init(grads[0]), lion.init(grads[0])
    for g in grads:
        a, first = nesterov.update(g, states[0])
        b, second = lion.update(g, states[1])
        states = first, second
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_rates_are_checked():
    for make in (lambda: transforms.two_rate_ema(1.0, 0.9), lambda: transforms.two_rate_ema(0.9, -0.1)):
        with pytest.raises(ValueError, match="two_rate_ema"):
            make()
    with pytest.raises(ValueError, match="ema"):
        transforms.ema(1.0, nesterov=False)
