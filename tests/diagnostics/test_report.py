"""The report: its rows, table and picture."""

import dataclasses

import jax.numpy as jnp
import pytest

import optax_muon as om

STRONG = {"up": {"kernel": jnp.diag(jnp.array([1.0, 1, 1, 1]))}, "mlp": {"kernel": jnp.ones((2, 3, 4))}}
LEAVES = [("mlp/*", om.Leaf("hidden", 1, 2))]


def loss(params, weight):
    """Isotropic on ``mlp``, where gradient descent is right; one steep direction on ``up``."""
    steep = weight * jnp.sum(params["up"]["kernel"][0] ** 2) + jnp.sum(params["up"]["kernel"] ** 2)
    return steep / 2 + jnp.sum(params["mlp"]["kernel"][0] ** 2) / 2


@pytest.fixture(scope="module")
def made():
    return om.diagnostics.report(loss, STRONG, 9.0, inputs={"up/kernel": jnp.eye(4)}, rules=LEAVES)


def test_rows_carry_the_numbers_of_the_condition(made):
    first, none, up = made.rows
    assert [row.name for row in made.rows] == ["mlp/kernel[0]", "mlp/kernel[1]", "up/kernel"]
    assert (first.step_curvature, first.top_curvature, first.nuclear_rank) == pytest.approx((1, 1, 1), rel=1e-3)
    assert [row.verdict for row in made.rows][1:] == ["?", "yes"]
    # Gradient diag(10, 1, 1, 1): J = tr Q = 13, L = 10, norms 13 and sqrt 103.
    assert (up.step_curvature, up.top_curvature) == pytest.approx((13, 10), rel=1e-4)
    assert up.gain == pytest.approx(13**2 / 103 / 1.3, rel=1e-4)
    assert up.best_step == pytest.approx(1, rel=1e-4)
    assert up.input_rank == pytest.approx(4)
    assert none.gain != none.gain


def test_it_prints_and_draws(made, tmp_path):
    text = str(made)
    assert "mlp/kernel[1]" in text
    assert "; 1 have no gradient" in made.summary
    assert made.summary in " ".join(text.split())
    made.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 5000
    broken = dataclasses.replace(made.rows[1], top_curvature=float("nan"))
    nothing = om.diagnostics.Report((broken,))
    assert "nothing can be said" in nothing.summary
    nothing.plot(tmp_path / "nothing.png")
