"""The examples of many workers at their smallest size, and what their records say."""

import importlib
import json
import pathlib

import jax
import pytest

RECORD = pathlib.Path(__file__).resolve().parents[2] / "docs/records/workers"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quadratics", "messages", "small_gpt"])
def test_a_quick_run_leaves_its_numbers(name, tmp_path):
    script = importlib.import_module(f"workers.{name}")
    with jax.numpy_rank_promotion("allow"):
        script.main(["--quick", "--out", str(tmp_path)])
    assert json.loads((tmp_path / f"{name}.json").read_text())


def test_the_record_shows_what_the_page_says():
    found = json.loads((RECORD / "quadratics.json").read_text())
    assert not found["quick"]
    numbers = found["numbers"]
    assert numbers["EF21"]["EF21, a tenth"][0] < 1e-4 < 1 < numbers["EF21"]["a tenth, without an estimate"][0]
    graphs = {name: value for name, (value, _) in numbers["graphs"].items()}
    assert graphs["local polar factors"] > 30 * max(v for name, v in graphs.items() if name != "local polar factors")
    for kept, lost, waited in zip(*(numbers["LOSCAR"][k] for k in ("kept", "overwritten", "waiting")), strict=True):
        assert kept <= lost <= waited
    for row in numbers["clocks"].values():
        assert row["Ringmaster"] < row["Rennala"]
    assert abs(numbers["Rescaled"]["Rescaled"]) < 0.02 < abs(numbers["Rescaled"]["Vanilla"] - 0.02)


def test_the_record_of_messages_shows_what_the_page_says():
    found = json.loads((RECORD / "messages.json").read_text())
    assert not found["quick"]
    ways = found["numbers"]["MARINA"]
    gaps = [
        ways[name]["gap"] for name in ("whole", "MARINA, p = 0.3", "a tenth, without an estimate", "MARINA, p = 0.1")
    ]
    assert gaps == sorted(gaps)
    goal = "whole gradients sent to the goal"
    assert ways["whole"][goal] > 2.5 * ways["MARINA, p = 0.3"][goal]
    meetings = {name: gap for name, (gap, _) in found["numbers"]["DiLoCo"].items()}
    assert meetings.pop("mean of gradients") < 1e-20 < 0.2 < min(meetings.values())


def test_the_gpt_s_record_has_all_six_ways_and_what_they_sent():
    results = json.loads((RECORD / "small_gpt.json").read_text())["results"]
    assert len(results) == 6
    sent = {name: result["rows"][-1]["bytes"] for name, result in results.items()}
    assert sent["vote"] < sent["EF21, a tenth"] < sent["data-parallel Muon"]
    assert all(result["rows"][-1]["loss"] < result["rows"][0]["loss"] - 0.5 for result in results.values())
