"""Both examples survive a hundred kills: the numbers that the record has, with another seed."""

import json
import pathlib

import pytest

from tests.examples import kills, processes

RECORD = pathlib.Path(__file__).resolve().parents[2] / "docs/records/kills/record.json"


@pytest.mark.slow
@pytest.mark.parametrize("name", processes.PROGRAMS)
def test_killed_again_and_again_a_run_ends_as_if_nothing_had_happened(name, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        processes.prepare(tmp_path, patch.setenv)
        found = kills.measure(name, processes.PROGRAMS[name].kills, seed=2, work=tmp_path)
    assert found["kills"] == processes.PROGRAMS[name].kills
    assert found["runs with the same last line and losses"] == found["runs"], found["chains"]
    assert found["inside a save"] > found["kills"] / 5


def test_the_record_has_a_hundred_kills_and_nothing_lost():
    record = json.loads(RECORD.read_text())["programs"]
    assert record.keys() == processes.PROGRAMS.keys()
    assert sum(each["kills"] for each in record.values()) >= 100
    for each in record.values():
        assert each["runs with the same last line and losses"] == each["runs"] > 0
        events = [event for one in each["chains"] for event in one["kills"]]
        assert len(events) == each["kills"]
        assert sum(event["in a save"] for event in events) == each["inside a save"] > 0
        assert {one["last line"] for one in each["chains"]} == {each["last line"]}
