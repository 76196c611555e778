"""The examples as a user runs them: the training script, its resumption, its errors; the comparison; the quickstart."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import gpt_nnx.train
import pytest
from flax import nnx
from gpt_nnx.model import GPT, GPTConfig

import optax_muon as om
from tests.examples.tiny import column, final

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = [sys.executable, str(ROOT / "examples/gpt_nnx/train.py")]
SIZES = {"layers": 1, "width": 16, "heads": 2, "context": 16, "batch": 2, "eval-every": 4, "steps": 12}
TINY = [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]


def environment():
    """One device, as a user has; the tests' own eight would only slow the scripts."""
    return {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}


def train(*options, check=True):
    return subprocess.run([*TRAIN, *TINY, *options], capture_output=True, text=True, env=environment(), check=check)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, train("--out", str(out)).stdout


def test_a_run_leaves_its_last_line_plot_and_checkpoint(whole):
    out, text = whole
    assert final(text)[0] == "12"
    assert "----" in text
    assert (out / "loss.png").stat().st_size > 5000
    assert (out / "checkpoints/12").is_dir()
    assert column(out, "step") == [str(step) for step in range(1, 13)]
    assert [bool(x) for x in column(out, "val_loss")] == [step % 4 == 0 for step in range(1, 13)]
    assert float(column(out, "val_loss")[-1]) == pytest.approx(float(final(text)[2]), abs=1e-6)
    assert not any(column(out, "max_logit"))


def test_killed_and_resumed_ends_as_if_never_killed(whole, tmp_path):
    process = subprocess.Popen([*TRAIN, *TINY, "--out", str(tmp_path)], stderr=subprocess.DEVNULL, env=environment())
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoints/4").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "loss.png").exists(), "it was not killed half-way"
    assert final(train("--out", str(tmp_path), "--resume").stdout) == final(whole[1])
    assert column(tmp_path, "train_loss") == column(whole[0], "train_loss")


def test_a_run_is_not_overwritten(whole):
    again = train("--out", str(whole[0]), check=False)
    assert again.returncode != 0
    assert "add --resume to go on" in again.stderr


def test_resuming_with_other_settings_says_which(whole):
    again = train("--out", str(whole[0]), "--resume", "--learning-rate", "0.5", check=False)
    assert "learning_rate None -> 0.5" in again.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--optimizer nonsense", "unknown optimizer 'nonsense': choose from adamw, "),
        ("--steps many", "argument --steps: invalid int value: 'many'"),
        ("--steps 0", "argument --steps: must be at least 1, not 0"),
        ("--learning-rate -1", "learning rate must be positive, not -1.0"),
        ("--heads 5", "width 16 must be an even multiple of heads 5"),
        ("--accumulate 3", "argument --accumulate: 3 micro-batches do not divide a batch of 2"),
        ("--dtype float8", "argument --dtype: invalid choice: 'float8'"),
        ("--schedule triangle", "argument --schedule: invalid choice: 'triangle'"),
        ("--clip 0", "clip must be positive, not 0.0"),
        ("--clip 1 --optimizer muon_mvr", "muon_mvr takes two gradients in a step"),
        ("--qk-clip nan", "qk clip must be positive, not nan"),
        ("--warmup 2", "warmup must be a fraction from 0 to 1, not 2.0"),
        ("--tensorboard", "argument --tensorboard: neither tensorboardX nor tensorflow is here"),
    ],
)
def test_a_bad_option_gets_one_clear_line(options, message, capsys, monkeypatch):
    for package in ("tensorboardX", "flax.metrics.tensorboard"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as stop:
        gpt_nnx.train.main([*TINY, *options.split()])
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.slow
def test_byte_pairs_and_adamw_with_everything_around_it(tmp_path):
    around = {"accumulate": 2, "clip": 1, "schedule": "cosine", "dtype": "bfloat16", "qk-clip": 0.5}
    options = {"tokens": "bpe", "optimizer": "adamw", "steps": 6, **around, "out": tmp_path}
    text = train("--profile", *(part for name, value in options.items() for part in (f"--{name}", str(value)))).stdout
    assert float(final(text)[2]) > 7  # nats over 4096 symbols
    assert list(tmp_path.glob("profile/**/*.xplane.pb"))
    logits = [float(x) for x in column(tmp_path, "max_logit")]
    assert logits[0] > 1 > logits[-1]


@pytest.mark.slow
def test_comparison_writes_table_plot_and_record_and_goes_on(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "examples/compare.py"),
        "muon",
        "--quick",
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
    ]
    subprocess.run(command, check=True, env=environment(), capture_output=True)
    record = json.loads((tmp_path / "record.json").read_text())
    assert {"date", "commit", "versions", "grid", "results"} <= set(record)
    assert (tmp_path / "curves.png").stat().st_size > 5000
    assert (tmp_path / "table.md").read_text().count("| muon |") == 1
    began, lines = time.monotonic(), len((tmp_path / "runs.jsonl").read_text().splitlines())
    subprocess.run(command, check=True, env=environment(), capture_output=True)
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == lines
    assert time.monotonic() - began < 60


def test_quickstart():
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples/quickstart.py")],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", result.stdout)]
    assert len(losses) == 10
    assert losses[-1] < 0.5 * losses[0]
    assert "hidden" in result.stdout


def test_describe_shows_the_gpt_with_its_true_axes():
    model = nnx.eval_shape(lambda: GPT(GPTConfig(84), nnx.Rngs(0)))
    description = om.describe(nnx.state(model, nnx.Param))
    rows = {row[0]: row[2:5] for row in description.rows}
    for block in range(4):
        for name in ("query", "key", "value"):
            assert rows[f"blocks/{block}/attention/{name}/kernel"] == ("hidden", "0", "1,2")
        assert rows[f"blocks/{block}/attention/out/kernel"] == ("hidden", "0,1", "2")
        assert rows[f"blocks/{block}/mlp/up/kernel"] == rows[f"blocks/{block}/mlp/down/kernel"] == ("hidden", "0", "1")
    hidden = [path for path, row in rows.items() if row[0] == "hidden"]
    assert len(hidden) == 24
    assert rows["embed/embedding"][0] == "embedding"
    assert rows["head/kernel"][0] == "head"
    assert all(row[-1] and "assumed" not in row[-1] for row in description.rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["muon_mvr", "amuse"])
def test_second_gradients_and_evaluation_parameters(name, tmp_path):
    """One optimizer that wants this batch's gradient at the previous parameters, one that is evaluated elsewhere."""
    text = train("--optimizer", name, "--accumulate", "2", "--schedule", "wsd", "--out", str(tmp_path)).stdout
    assert float(final(text)[2]) < 4.5
