"""What the GPT examples share: schedules, metrics, precision, accumulation."""

import csv
import json
import pathlib
import sys
import types

import gpt_linen.model
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from gpt import logs
from gpt.recipe import Recipe
from gpt_nnx import training
from gpt_nnx.model import GPT, GPTConfig

CONFIG = GPTConfig(vocabulary=16, context=8, layers=1, width=8, heads=2)
IDS = jnp.asarray(np.random.default_rng(0).zipf(1.5, 2000).clip(0, 15), jnp.uint8)


@pytest.fixture(autouse=True)
def _as_in_a_script():
    """The library never promotes ranks; the models, as most, do."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("linear", [0.5, 1, 1, 8 / 9, 5 / 9, 1 / 9, 0]),
        ("cosine", [0.5, 1, 1, 0.5 + 0.5 * np.cos(np.pi / 9), 0.5 + 0.5 * np.cos(4 * np.pi / 9), 0.0301537, 0]),
        ("wsd", [0.5, 1, 1, 1, 1, 0.5, 0]),
    ],
)
def test_schedules_warm_up_and_end_at_zero(schedule, rates):
    rate = Recipe(steps=11, warmup=2 / 11, schedule=schedule).rate(2.0)
    np.testing.assert_allclose([rate(step) for step in (0, 1, 2, 3, 6, 10, 11)], 2 * np.array(rates), atol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
def test_a_schedule_of_one_step(schedule):
    assert Recipe(steps=1, schedule=schedule).rate(2.0)(0) == 2.0


def test_records_from_before_these_options_are_still_told_apart():
    assert set(Recipe().settings()) == set(Recipe.__dataclass_fields__) - {"schedule", "clip", "accumulate", "qk_clip"}
    assert Recipe(clip=1.0).settings()["clip"] == 1.0
    json.dumps(Recipe(qk_clip=np.inf).settings())


def test_metrics_of_a_resumed_run_drop_what_came_after_its_checkpoint(tmp_path):
    for start, stop in ((0, 5), (3, 6)):
        metrics = logs.Metrics(tmp_path, start)
        for step in range(start, stop):
            metrics.write(step + 1, {"train_loss": 10.0 * start + step, "val_loss": np.nan})
        metrics.close()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [(row["step"], row["train_loss"], row["val_loss"]) for row in csv.DictReader(file)]
    assert rows == [(str(i + 1), str(x), "") for i, x in enumerate([0, 1, 2, 33, 34, 35])]


@pytest.mark.parametrize(
    ("package", "method"), [("tensorboardX", "add_scalar"), ("flax.metrics.tensorboard", "scalar")]
)
def test_tensorboard_by_either_package(package, method, tmp_path, monkeypatch):
    class Writer:
        written = []

        def __init__(self, folder):
            assert pathlib.Path(folder) == tmp_path

        def close(self):
            self.written.append("closed")

    setattr(Writer, method, lambda self, *record: self.written.append(record))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, package, types.SimpleNamespace(SummaryWriter=Writer))
    metrics = logs.Metrics(tmp_path, 0, logs.summary_writer()(str(tmp_path)))
    metrics.write(3, {"train_loss": 2.0, "val_loss": np.nan})
    metrics.close()
    assert Writer.written == [("train_loss", 2.0, 3), "closed"]


def test_computation_in_bfloat16_keeps_parameters_and_logits_in_float32():
    tokens = jax.ShapeDtypeStruct((2, 8), jnp.int32)
    model = nnx.eval_shape(lambda: GPT(CONFIG, nnx.Rngs(0), jnp.bfloat16))
    linen = gpt_linen.model.GPT(CONFIG, jnp.bfloat16)
    params = jax.eval_shape(linen.init, jax.random.key(0), tokens)
    assert {x.dtype for x in jax.tree.leaves((nnx.state(model), params))} == {jnp.dtype(jnp.float32)}
    graph, state = nnx.split(model)
    programs = (
        jax.make_jaxpr(lambda state, tokens: nnx.merge(graph, state)(tokens))(state, tokens),
        jax.make_jaxpr(linen.apply)(params, tokens),
    )
    for program in programs:
        assert program.out_avals[0].dtype == jnp.float32
        products = [line for line in str(program).splitlines() if "dot_general" in line and "bf16" in line]
        assert len(products) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "muon_mvr", "polargrad"])
def test_accumulation_equals_the_whole_batch(optimizer):
    curves = []
    for parts in (1, 4):
        model, tx = training.create(CONFIG, Recipe(optimizer, steps=10, accumulate=parts), seed=0)
        keys = jax.random.split(jax.random.key(1), 10)
        curves.append([training.train_step(model, tx, IDS, key, batch=8, parts=parts)[0] for key in keys])
    np.testing.assert_allclose(*np.array(curves), atol=1e-5)


def test_qk_clip_stands_last_around_the_step():
    recipe = Recipe("adamw", learning_rate=10.0, steps=1, qk_clip=1.0, accumulate=2)
    params = {"query": {"kernel": jnp.ones((4, 2, 2))}, "key": {"kernel": jnp.ones((4, 2, 2))}}
    params = {"attention": params | {"out": {"kernel": jnp.ones((2, 2, 4))}}}
    tx, grads = recipe.transformation(), jax.tree.map(jnp.ones_like, params)
    state = tx.init(params)
    for logits in ([1.0, 4.0], [1.0, 16.0]):
        extra = {"value": jnp.zeros(()), "max_logits": {"attention": jnp.array(logits)}}
        updates, state = tx.update(grads, state, params, **extra)
    new = optax.apply_updates(params, updates)["attention"]["query"]["kernel"]
    np.testing.assert_allclose(new[:, 1], new[:, 0] / 4, rtol=1e-6)
