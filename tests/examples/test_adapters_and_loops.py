"""The examples of adapters and of a looped block: a quick run of each, and what their records show."""

import importlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path

ROOT = pathlib.Path(__file__).resolve().parents[2]


def numbers(name):
    record = json.loads((ROOT / "docs/records" / name / "numbers.json").read_text())
    assert (record["experiment"], record["quick"]) == (name, False)
    return record["numbers"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fine_tuning", "looped"])
def test_a_quick_run_leaves_its_figure_and_numbers(name, tmp_path):
    script = importlib.import_module(name)
    with jax.numpy_rank_promotion("allow"):
        script.main(["--quick", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "numbers.json").read_text())["quick"] is True
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_only_lora_muon_is_blind_to_how_a_product_is_shared_out():
    found = numbers("fine_tuning")
    assert found["largest difference"]["LoRA-Muon"] < 0.02
    assert found["largest difference"]["Muon on the factors"] > 0.1
    assert min(found["best"]["LoRA-Muon"].values()) < found["loss before"] - 0.1


def test_only_the_stable_injection_bounds_the_state():
    found = numbers("looped")
    stable, additive = found["Parcae's injection"], found["additive injection"]
    assert stable["size"]["64"] < 1.1 * stable["size"]["32"]
    assert additive["size"]["64"] > 1.5 * additive["size"]["32"]
    assert 0 < stable["decay"]["largest"]["last"] < 1


def test_decay_is_stable_for_any_parameters_and_starts_where_it_should():
    import looped

    injection = looped.Injection(3, nnx.Rngs(0))
    report = looped.decay_report(injection)
    np.testing.assert_allclose([*report.values()], 0.4472136, rtol=1e-6)
    a, b = jnp.meshgrid(jnp.linspace(-30, 30, 13), jnp.linspace(-30, 30, 13))
    decay = looped.stable_decay(a, b)
    assert ((decay >= 0) & (decay <= 1)).all()
    # Without an input every loop shrinks the state by the largest decay at least.
    h = jax.random.normal(jax.random.key(0), (1, 5, 3))
    with jax.numpy_rank_promotion("allow"):
        after = injection(h, jnp.zeros_like(h))
    assert jnp.linalg.norm(after) <= jnp.linalg.norm(h) * report["largest"] * (1 + 1e-6)


def test_the_injection_s_parameters_go_to_the_other_optimizer():
    import looped

    model = nnx.eval_shape(lambda: looped.Looped(nnx.Rngs(0), stable=True))
    leaves = om.leaves_from_flax(model, rules=looped.RULES)
    roles = {path: leaf.role for path, leaf in by_path(leaves, lambda x: isinstance(x, om.Leaf)).items()}
    assert {role for path, role in roles.items() if path.startswith("injection")} <= {"other", "vector"}
    assert roles["blocks/0/mlp/up/kernel"] == "hidden"
