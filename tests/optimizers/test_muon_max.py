"""MuonMax and Momo against the reference, and their invariants."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness, roles
from tests.references.muon_max import muon_max as reference

EXACT = om.linalg.SVDPolar()
OTHERS = roles.EMBEDDING | roles.VECTOR
CASES = harness.CASES | OTHERS
LEAVES = roles.leaves(CASES)


def flat(tree, cases):
    return [m.astype(np.float64) for name, case in cases.items() for m in case.matrices(tree[name])]


@pytest.mark.parametrize("lower_bound", [None, -300.0], ids=["plain", "momo"])
def test_reference_in_x64(lower_bound):
    options = {
        "learning_rate": 0.01,
        "momentum": 0.8,
        "second_moment_decay": 0.7,
        "spectral_scale": 0.5,
        "weight_decay": 0.1,
    }
    weights, gradients = harness.problem(np.float64, cases=CASES)
    losses = np.linspace(3.0, 1.0, harness.STEPS)
    expected = reference(
        flat(weights, harness.CASES), flat(weights, OTHERS),
        [flat(g, harness.CASES) for g in gradients], [flat(g, OTHERS) for g in gradients], losses,
        orth=lambda x: np.linalg.svd(x, full_matrices=False)[0] @ np.linalg.svd(x, full_matrices=False)[2],
        lower_bound=-np.inf if lower_bound is None else lower_bound, **options,
    )  # fmt: skip
    if lower_bound is not None:
        shortened = np.array(expected[2]) < options["learning_rate"]
        assert shortened.any(), "the truncation must have been active"
        assert not shortened.all()
    with jax.enable_x64(True):
        tx = om.muon_max(orthogonalizer=EXACT, lower_bound=lower_bound, leaves=LEAVES, **options)
        final = harness.run(tx, weights, gradients, {"value": jnp.asarray(losses)})
    for cases, want in ((harness.CASES, expected[0]), (OTHERS, expected[1])):
        for got, target, start in zip(flat(final, cases), want, flat(weights, cases), strict=True):
            np.testing.assert_allclose(got, target, atol=1e-10, rtol=0)
            assert np.abs(target - start).max() > 1e-3


def two():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return {"up": {"kernel": draw(6, 9)}, "down": {"kernel": draw(9, 6), "bias": draw(6)}}


def test_one_matrix_is_polargrad():
    grads = {"up": two()["up"]}
    ours, theirs = om.muon_max(0.1, orthogonalizer=EXACT), om.polargrad(0.1, momentum=0.0, orthogonalizer=EXACT)
    a, b = (tx.update(grads, tx.init(grads), grads)[0]["up"]["kernel"] for tx in (ours, theirs))
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_all_matrices_step_by_the_sum_of_nuclear_norms():
    grads = two()
    tx = om.muon_max(0.1, orthogonalizer=EXACT)
    updates, _ = tx.update(grads, tx.init(grads), grads)
    total = sum(jnp.linalg.svd(grads[k]["kernel"], compute_uv=False).sum() for k in ("up", "down"))
    for name in ("up", "down"):
        s = jnp.linalg.svd(updates[name]["kernel"], compute_uv=False)
        np.testing.assert_allclose(s, 0.1 * total, rtol=1e-5)
    np.testing.assert_allclose(updates["down"]["bias"], -0.1 * jnp.sign(grads["down"]["bias"]), rtol=1e-5)


def test_momo_survives_a_rate_that_is_far_too_large():
    def loss(params):
        return 0.5 * sum(jnp.sum(x**2) for x in jax.tree.leaves(params))

    def run(lower_bound):
        params = two()
        tx = om.muon_max(5.0, momentum=0.0, orthogonalizer=EXACT, lower_bound=lower_bound)
        state = tx.init(params)

        @jax.jit
        def step(params, state):
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grads, state, params, value=value)
            return optax.apply_updates(params, updates), state

        for _ in range(15):
            params, state = step(params, state)
        return loss(params)

    assert run(0.0) < 0.1 * loss(two())
    assert not run(None) < loss(two())


def test_refusals():
    with pytest.raises(ValueError, match="spectral_scale"):
        om.muon_max(0.1, spectral_scale=0.0)
    with pytest.raises(ValueError, match="momentum"):
        om.muon_max(0.1, momentum=1.0)
