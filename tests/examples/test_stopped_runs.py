"""A run that is stopped: by a signal, a loss that is not finite, a full disk."""

import os
import resource
import signal
import time

import jax.numpy as jnp
import numpy as np
import pytest
from gpt import data

from tests.examples import tiny


@pytest.fixture(autouse=True)
def _small_text(monkeypatch):
    monkeypatch.setattr(data, "characters", tiny.corpus)


DEFAULTS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


def await_path(path):
    """Wait for a save in the background."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def whole(tmp_path, capsys):
    tiny.train(tmp_path / "whole")
    return tiny.final(capsys.readouterr().out)


@pytest.fixture(autouse=True)
def handlers():
    """The handlers of a program in the foreground: what runs the tests may have been started with others."""
    before = {number: signal.signal(number, handler) for number, handler in DEFAULTS.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_run_in_the_background_ignores_what_its_shell_ignores(tmp_path, capsys):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tiny.train(tmp_path / "run", trouble=lambda trainer, step: step == 6 and signal.raise_signal(signal.SIGINT))
    assert tiny.final(capsys.readouterr().out)[0] == "12"
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops_and_the_run_goes_on(number, code, tmp_path, capsys):
    def interrupt(trainer, step):
        if step == 6:
            os.kill(os.getpid(), number)

    out, before = tmp_path / "run", signal.getsignal(number)
    line = tiny.stopped(code, capsys, out, trouble=interrupt)
    assert f"stopped by {number.name} after step 6; checkpoint 6 is saved" in line
    assert signal.getsignal(number) is before
    tiny.train(out, "--resume")
    assert tiny.final(capsys.readouterr().out) == whole(tmp_path, capsys)


def test_a_second_signal_ends_the_run_at_once(tmp_path, capsys):
    def interrupt(trainer, step):
        if step == 6:
            # Sent to the process, two of one kind may arrive as one.
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    tiny.stopped(130, capsys, tmp_path / "run", trouble=interrupt)
    assert tiny.steps(tmp_path / "run") == [4]


def test_saves_stand_apart_from_validations(tmp_path):
    out = tmp_path / "run"
    tiny.train(out, "--eval-every", 6, "--save-every", 5)
    assert tiny.steps(out) == [10, 12]
    assert [i for i, x in enumerate(tiny.column(out, "val_loss"), 1) if x] == [6, 12]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_losses_that_stay_not_finite_stop_the_run(bad, tmp_path, capsys):
    def spoil(trainer, step):
        if step >= 5:
            trainer.loss = jnp.array(bad)
            trainer.weights = trainer.weights * bad

    out = tmp_path / "run"
    line = tiny.stopped(1, capsys, out, "--nonfinite-steps", 4, trouble=spoil)
    assert "not finite after step 8; checkpoint 4 is saved" in line
    assert len(tiny.column(out, "step")) == 8
    tiny.train(out, "--resume")
    assert tiny.final(capsys.readouterr().out) == whole(tmp_path, capsys)


def test_a_few_such_steps_are_passed_over(tmp_path, capsys):
    def spoil(trainer, step):
        if step in (2, 3, 5, 6):
            trainer.loss = jnp.array(np.nan)

    tiny.train(tmp_path / "run", "--nonfinite-steps", 3, trouble=spoil)
    assert tiny.final(capsys.readouterr().out)
    assert tiny.column(tmp_path / "run", "train_loss")[4] == ""


def test_a_state_that_is_not_finite_is_never_saved(tmp_path, capsys):
    """The loss of step 8 is finite, what it leaves is not: checkpoint 4 must stay the last."""

    def spoil(trainer, step):
        if step >= 8:
            trainer.weights = trainer.weights.at[17].set(np.nan)

    out = tmp_path / "run"
    assert "checkpoint 4 is saved" in tiny.stopped(1, capsys, out, "--nonfinite-steps", 2, trouble=spoil)
    assert tiny.steps(out) == [4]


def test_a_run_that_ends_not_finite_does_not_succeed(tmp_path, capsys):
    def spoil(trainer, step):
        if step == tiny.STEPS:
            trainer.loss = jnp.array(np.nan)

    assert "not finite after step 12" in tiny.stopped(1, capsys, tmp_path / "run", trouble=spoil)


def test_a_full_disk_gets_one_line_and_loses_nothing(tmp_path, capfd):
    """A limit on the size of a file is met as a full disk is: by an error in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    out = tmp_path / "run"

    def fill(trainer, step):
        if step == 6:
            await_path(out / "checkpoints/4")
            resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))

    try:
        with pytest.raises(SystemExit) as stop:
            tiny.train(out, trouble=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert stop.value.code == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert "a checkpoint cannot be written" in last
    assert "--resume goes on" in last
    assert tiny.steps(out) == [4]
    tiny.train(out, "--resume")
    assert tiny.final(capfd.readouterr().out) == whole(tmp_path, capfd)
    assert not list((out / "checkpoints").glob("*tmp*"))


def test_metrics_on_a_full_disk(tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(trainer, step):
        if step == 6:
            await_path(tmp_path / "run/checkpoints/4")
            resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "run/metrics.csv").stat().st_size + 3, hard))

    try:
        line = tiny.stopped(1, capsys, tmp_path / "run", trouble=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in line
    tiny.train(tmp_path / "run", "--resume")
    assert tiny.final(capsys.readouterr().out) == whole(tmp_path, capsys)
    assert tiny.column(tmp_path / "run", "train_loss") == tiny.column(tmp_path / "whole", "train_loss")


def test_folders_that_cannot_be_written_get_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    sealed = tmp_path / "sealed"
    sealed.mkdir(mode=0o500)
    places = [tmp_path / "file/run", "/proc/run"] + ([] if os.geteuid() == 0 else [sealed / "run", sealed])
    for out in places:
        with pytest.raises(SystemExit) as stop:
            tiny.train(out)
        assert stop.value.code == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert str(out) in lines[0]
