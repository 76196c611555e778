"""The studies: valleys and their bottoms by hand, tables from made-up rows, the page's tables, and a quick run."""

import json
import math

import jax
import numpy as np
import pytest
from gpt import data
from sweep.runs import Runs
from track import leaderboard, study
from track.contestants import CONTESTANTS
from track.presets import QUICK
from track.studies import STUDIES, trials, widths

VALLEY = {0.5: [2.0, 2.2], 1.0: [1.0, 1.2], 2.0: [1.4, 1.6]}


def test_the_bottom_is_a_parabola_s_over_the_logarithm():
    rate, loss = trials.optimum(VALLEY)
    # 2.1, 1.1, 1.5 at -1, 0, 1: 0.7 x^2 - 0.3 x + 1.1.
    assert rate == pytest.approx(2.0 ** (0.3 / 1.4))
    assert loss == pytest.approx(1.1 - 0.3**2 / 2.8)


def test_a_bottom_at_an_end_or_beside_infinity_is_that_of_the_runs():
    assert trials.optimum({1.0: [1.0, 1.2], 2.0: [1.4, 1.6], 4.0: [2.0, 2.0]}) == (1.0, pytest.approx(1.1))
    assert trials.optimum({0.5: [math.inf, 2.0], 1.0: [1.0, 1.2], 2.0: [1.4, 1.6]}) == (1.0, pytest.approx(1.1))


def test_beside_a_cliff_the_best_run_counts():
    rate, loss = trials.optimum({0.5: [1.11, 1.11], 1.0: [1.1, 1.1], 2.0: [3.0, 3.0]})
    assert (rate, loss) == (1.0, pytest.approx(1.1))


def test_a_rate_beyond_those_run_costs_what_the_last_one_does():
    rows = [{"contestant": "adamw", "width": 64, **trials.curve({4.0: [1.5, 1.5], 8.0: [1.0, 1.0], 16.0: [1.5, 1.5]})}]
    rows.append({"contestant": "adamw", "width": 128, **trials.curve(VALLEY)})
    assert "| 0.432 at 2 already |" in widths.table(rows)  # 1.5 above 1.1 - 0.3^2 / 2.8


def test_a_valley_is_followed_until_its_best_lies_inside(tmp_path, monkeypatch):
    made = trials.Trials(data.characters("shakespeare"), Runs(tmp_path / "runs.jsonl"), seeds=2)
    monkeypatch.setattr(made, "_loss", lambda setting, rate, seed: abs(np.log2(rate / 0.16)) + 0.1 * seed)
    found = made.valley(trials.Setting("muon", CONTESTANTS["muon"], QUICK))  # its rate is 0.02
    assert list(found) == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
    assert trials.optimum(found)[0] == pytest.approx(0.16)


def test_infinity_survives_a_record():
    valley = {**VALLEY, 4.0: [math.inf, 3.0]}
    assert trials.uncurve(json.loads(json.dumps(trials.curve(valley), allow_nan=False))) == valley


def test_what_a_narrow_model_s_rate_costs_a_wide_one():
    rows = [{"contestant": "muon", "width": w, **trials.curve(v)} for w, v in ((64, {1.0: [1.0, 1.0]}), (128, VALLEY))]
    cells = [cell.strip() for cell in widths.table(rows).splitlines()[2].split("|")]
    drift, cost = 2.0 ** (0.3 / 1.4), 0.3**2 / 2.8
    assert cells[1:6] == ["muon", "1", f"{drift:.2g}", f"{drift:.2f}", f"{cost:.3f}"]


def test_the_page_says_what_the_records_say():
    text = leaderboard.STUDY_PAGE.read_text()
    assert leaderboard.studied(text) == text
    for name, rows in leaderboard.study_rows().items():
        assert STUDIES[name].table(rows) in text
        assert (leaderboard.STUDIED / f"{name}.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STUDIES))
def test_a_quick_study_leaves_a_record_that_draws(name, tmp_path):
    arguments = [name, "--quick", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    with jax.numpy_rank_promotion("allow"):
        study.main(arguments)
    first = (tmp_path / f"{name}.json").read_text()
    study.main(arguments)  # every run is remembered
    rows = json.loads(first)["rows"]
    assert rows == json.loads((tmp_path / f"{name}.json").read_text())["rows"]
    assert len(STUDIES[name].table(rows).splitlines()) > 3
    STUDIES[name].picture(rows).savefig(tmp_path / "figure.png")
