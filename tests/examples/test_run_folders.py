"""The folder of a run: one process has it, no two runs share one, and numbers that cannot be leave none."""

import json
import os
import subprocess
import sys
import threading

import pytest
from gpt import data, folder
from gpt.errors import OptionError
from gpt.lock import Lock

from tests.examples import tiny


@pytest.fixture(autouse=True)
def _small_text(monkeypatch):
    monkeypatch.setattr(data, "characters", tiny.corpus)


def test_a_second_process_in_a_folder_gets_one_line(tmp_path, capsys):
    code = (
        f"import sys; sys.path.insert(0, 'examples'); from gpt.lock import Lock; import pathlib, time\n"
        f"with Lock(pathlib.Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    line = tiny.stopped(1, capsys, tmp_path)
    assert f"{tmp_path} is in use by process {holder.pid} on " in line
    holder.kill()
    holder.wait()
    assert (tmp_path / "run.lock").exists(), "what a killed process leaves"
    tiny.train(tmp_path)
    assert not (tmp_path / "run.lock").exists()


def test_a_lock_says_who_holds_it_and_lets_go(tmp_path):
    with Lock(tmp_path):
        held = json.loads((tmp_path / "run.lock").read_text())
        assert held["pid"] == os.getpid()
        assert {"host", "start"} <= set(held)
        with pytest.raises(OptionError, match=f"in use by process {os.getpid()}"), Lock(tmp_path):
            pass
    with Lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_runs_without_a_folder_never_share_one(tmp_path):
    (tmp_path / "003").mkdir()
    args = [tiny.arguments(tmp_path) for _ in range(16)]
    together, done = threading.Barrier(len(args)), threading.Barrier(len(args))
    found = []

    def claim(args):
        together.wait()
        with folder.claimed(args) as out:
            found.append(out.name)
            done.wait()

    threads = [threading.Thread(target=claim, args=(each,)) for each in args]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(found) == [f"{i:03d}" for i in range(4, 20)]
    assert [path.name for path in tmp_path.iterdir()] == ["003"], "runs that wrote nothing leave nothing"


def test_a_thousandth_folder(tmp_path):
    (tmp_path / "999").mkdir()
    tiny.train(None, runs=tmp_path)
    tiny.train(None, "--resume", runs=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1000", "999"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--context", 300000), "argument --context: must be at most 99, "),
        (("--seed", 2**64), "argument --seed: must be from 0 to 4294967294, not 18446744073709551616"),
        (("--seed", -1), "argument --seed: must be from 0 to 4294967294, not -1"),
        (("--steps", 10**30), "argument --steps: must be at most 2147483647"),
        (("--save-every", 0), "argument --save-every: must be at least 1, not 0"),
        (("--nonfinite-steps", 0), "argument --nonfinite-steps: must be at least 1, not 0"),
        (("--resume=newest",), "argument --resume: invalid choice: 'newest'"),
    ],
)
def test_numbers_that_cannot_be_get_one_line(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tiny.train(tmp_path / "run", *options)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "run").exists()
