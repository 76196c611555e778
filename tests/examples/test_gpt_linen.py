"""The scanned Linen GPT: equal to the NNX one, on one device as on eight, resumed on another number of them."""

import csv
import functools
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import gpt_linen.train as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gpt import data
from gpt.checkpoint import Checkpoints, History
from gpt.recipe import Recipe
from gpt_linen.model import from_nnx
from gpt_nnx import training
from gpt_nnx.model import GPTConfig

from tests.examples.tiny import final

CONFIG = GPTConfig(vocabulary=16, context=16, layers=2, width=16, heads=2)
IDS = jnp.asarray(np.random.default_rng(0).zipf(1.5, 4000).clip(0, 15), jnp.uint8)
BATCH = 8
RECIPE = Recipe(steps=50)


@pytest.fixture(autouse=True)
def _as_in_a_script():
    """The library never promotes ranks; the models, as most, do."""
    with jax.numpy_rank_promotion("allow"):
        yield


@functools.cache
def compiled(devices, tensor=1):
    return linen.Training(linen.GPT(CONFIG), RECIPE, linen.mesh_of(linen.found(devices), tensor))


def started(devices, params=None, tensor=1):
    """A training on some of the eight devices, from the same weights whatever their number."""
    made = compiled(devices, tensor)
    params = made.init_params(jax.random.key(0)) if params is None else jax.device_put(params, made.shardings)
    return made, params, made.init_state(params)


def curve(made, params, state, steps):
    losses = []
    for step in steps:
        tokens = data.sample(IDS, jax.random.fold_in(jax.random.key(1), step), BATCH, CONFIG.context)
        params, state, loss, _ = made.step(params, state, tokens)
        losses.append(float(loss))
    return np.array(losses), params, state


@pytest.mark.slow
def test_the_curve_is_that_of_nnx_for_the_same_weights():
    model, optimizer = training.create(CONFIG, RECIPE, seed=0)
    # A copy, since the step takes the model's own arrays.
    initial = from_nnx(jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(model, nnx.Param))))
    keys = [jax.random.fold_in(jax.random.key(1), step) for step in range(12)]
    losses = np.array([training.train_step(model, optimizer, IDS, key, batch=BATCH)[0] for key in keys])
    assert losses[-1] < losses[0] - 0.2
    np.testing.assert_allclose(curve(*started(1, initial), range(12))[0], losses, atol=2e-6)


def test_eight_devices_agree_with_one_and_it_goes_on_from_their_checkpoint(tmp_path):
    one, *_ = curve(*started(1), range(50))
    stop = random.Random(5).randrange(10, 40)
    made, *begun = started(8)
    first, params, state = curve(made, *begun, range(stop))
    checkpoints = Checkpoints(tmp_path, {"steps": 50})
    assert checkpoints.start(resume=False) is None
    checkpoints.save(stop, (params, state), History.empty(50))
    checkpoints.manager.wait_until_finished()
    second, *_ = curve(made, params, state, range(stop, 50))
    eight = np.concatenate([first, second])
    assert one[-1] < one[0] - 0.3
    np.testing.assert_allclose(eight, one, atol=1e-4)
    made, *blank = started(1)
    (params, state), _ = checkpoints.restore(stop, tuple(blank))
    checkpoints.close()
    assert {x.sharding.mesh.size for x in jax.tree.leaves((params, state))} == {1}
    np.testing.assert_allclose(curve(made, params, state, range(stop, 50))[0], second, atol=1e-5)


def test_parameters_and_their_momentum_are_cut_along_axes_that_are_no_layers():
    _, params, state = started(8)
    blocks = params["blocks"]
    for x, shape in (
        (blocks["attention"]["query"]["kernel"], (2, 2, 2, 8)),
        (blocks["attention"]["out"]["kernel"], (2, 2, 8, 2)),
        (blocks["mlp_up"]["kernel"], (2, 16, 8)),
        (blocks["mlp_up"]["bias"], (2, 64)),
        (params["embed"]["embedding"], (2, 16)),
    ):
        assert x.addressable_shards[0].data.shape == shape
    momentum = {x.addressable_shards[0].data.shape for x in jax.tree.leaves(state)}
    assert {(2, 2, 2, 8), (2, 2, 8, 2), (2, 16, 8)} <= momentum


@pytest.mark.slow
def test_a_tensor_axis_cuts_heads_and_features_and_leaves_the_curve():
    made, params, state = started(8, tensor=2)
    blocks = params["blocks"]
    for x, shape in (
        (blocks["attention"]["query"]["kernel"], (2, 4, 1, 8)),
        (blocks["attention"]["out"]["kernel"], (2, 1, 8, 4)),
        (blocks["mlp_up"]["kernel"], (2, 4, 32)),
        (blocks["mlp_up"]["bias"], (2, 32)),
        (blocks["mlp_down"]["kernel"], (2, 32, 4)),
        (params["head"]["kernel"], (4, 8)),
    ):
        assert x.addressable_shards[0].data.shape == shape
    np.testing.assert_allclose(curve(made, params, state, range(8))[0], curve(*started(1), range(8))[0], atol=1e-5)


@pytest.mark.slow
def test_rematerialised_blocks_have_the_same_gradients():
    made = compiled(1)
    again = linen.Training(linen.GPT(CONFIG, remat=True), RECIPE, linen.mesh_of(linen.found(1)))
    params = made.init_params(jax.random.key(0))
    tokens = data.sample(IDS, jax.random.key(1), BATCH, CONFIG.context)
    for x, y in zip(*(jax.tree.leaves(one.gradient(params, tokens)[0]) for one in (made, again)), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


SIZES = {"layers": 1, "width": 16, "heads": 2, "context": 16, "batch": 8, "eval-every": 2, "steps": 10}
TINY = [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]


def losses_of(text):
    return [float(x) for x in final(text)]


def rows(out):
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--devices 0", "argument --devices: must be at least 1, not 0"),
        ("--devices 999", "argument --devices: 999 asked for, and 8 cpu found"),
        ("--devices 8 --batch 12", "argument --batch: 8 devices do not divide the 12 sequences of a micro-batch"),
        ("--devices 8 --accumulate 2", "argument --batch: 8 devices do not divide the 4 sequences of a micro-batch"),
        ("--devices 8 --tensor 3", "argument --tensor: 3 does not divide 8 devices"),
        (
            "--devices 8 --tensor 4",
            "argument --tensor: 4 does not divide axis 2 of blocks/attention/key/kernel (1, 16, 2, 8)",
        ),
        ("--data nowhere", "argument --data: nowhere holds no token shards (index.json is missing); make it again"),
        ("--compile-only v5e:lots", "argument --compile-only: v5e:lots: "),
        ("--accumulate 3", "argument --accumulate: 3 micro-batches do not divide a batch of 8"),
        ("--schedule triangle", "argument --schedule: invalid choice: 'triangle'"),
    ],
)
def test_a_bad_option_gets_one_clear_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
    with pytest.raises(SystemExit) as stop:
        linen.main([*TINY, *options.split(), "--out", str(tmp_path)])
    text = capsys.readouterr().err + (stop.value.code if isinstance(stop.value.code, str) else "")
    assert message in text
    assert len(text.strip().splitlines()) == 1


@pytest.mark.slow
def test_qk_clip_keeps_logits_at_its_threshold(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
    sizes = {"layers": 2, "width": 32, "context": 32, "steps": 60, "eval-every": 60, "learning-rate": 0.1}
    options = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    largest = {}
    for tau in ("inf", "3"):
        linen.main(
            [*TINY, *options, "--accumulate", "2", "--devices", "2", "--qk-clip", tau, "--out", str(tmp_path / tau)]
        )
        largest[tau] = max(float(row["max_logit"]) for row in rows(tmp_path / tau)[10:])
    assert largest["inf"] > 8
    assert largest["3"] < 4.5


@pytest.mark.slow
def test_killed_as_a_process_and_resumed_on_another_number_of_devices(tmp_path):
    script = pathlib.Path(linen.__file__)
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}

    def command(out, devices, *options):
        return [sys.executable, str(script), *TINY, "--steps", "60", "--devices", devices, "--out", str(out), *options]

    def run(*arguments):
        done = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment, check=True)
        return losses_of(done.stdout)

    whole = run(tmp_path / "whole", "8")
    out, least = tmp_path / "killed", random.Random(7).randrange(4, 40)
    process = subprocess.Popen(command(out, "8"), stderr=subprocess.DEVNULL, env=environment)
    while not ((out / "metrics.csv").exists() and len(rows(out)) >= least):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "loss.png").exists()
    np.testing.assert_allclose(run(out, "1", "--resume"), whole, atol=1e-5)
    assert [row["step"] for row in rows(out)] == [str(i) for i in range(1, 61)]
    losses = [[float(row["train_loss"]) for row in rows(folder)] for folder in (out, tmp_path / "whole")]
    np.testing.assert_allclose(*losses, atol=1e-5)
