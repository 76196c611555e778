"""Both examples survive a hundred kills; the record of the last time that they were counted."""

import json
import os
import pathlib
import signal
import time

import pytest

from tests.examples import kills, processes

RECORD = pathlib.Path(__file__).resolve().parents[2] / "docs/records/kills/record.json"


@pytest.fixture
def work(tmp_path, monkeypatch):
    processes.prepare(tmp_path, monkeypatch.setenv)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", processes.PROGRAMS)
def test_killed_again_and_again_a_run_ends_as_if_nothing_had_happened(name, work):
    found = kills.measure(name, processes.PROGRAMS[name].kills, seed=2, work=work)
    assert found["kills"] == processes.PROGRAMS[name].kills
    assert found["runs with the same last line and losses"] == found["runs"], found["chains"]
    assert found["inside a save"] > found["kills"] / 5


@pytest.mark.slow
@pytest.mark.parametrize(("number", "whom"), [(signal.SIGTERM, 1), (signal.SIGINT, 0)])
def test_a_signal_to_one_of_two_processes_saves_both(number, whom, work):
    program, out = processes.PROGRAMS["linen on two processes"], work / "run"
    run = processes.Run(program, out, work)
    while kills.lines(out) < 10:
        assert not run.ended()
        time.sleep(0.01)
    os.kill(run.processes[whom].pid, number)
    for process in run.processes:
        process.join(processes.PATIENCE)
    assert {process.exitcode for process in run.processes} <= {130, 143}
    steps = [int(path.name) for path in (out / "checkpoints").iterdir() if path.name.isdecimal()]
    assert max(steps) == kills.lines(out)
    last = processes.Run(program, out, work, "--resume").wait()
    assert last == processes.Run(program, work / "whole", work).wait()


def test_the_record_has_its_kills_and_nothing_lost():
    measured = json.loads(RECORD.read_text())["measured"]
    assert {each["program"] for each in measured} == processes.PROGRAMS.keys()
    assert sum(each["kills"] for each in measured) >= 100
    for each in measured:
        assert each["runs with the same last line and losses"] == each["runs"] > 0
        assert {one["last line"] for one in each["chains"]} == {each["last line"]}
        assert each == kills.summary(each["program"], each["seed"], each["last line"].split(), each["chains"])
