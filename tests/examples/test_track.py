"""The track: its statistics against values by hand, its search, its records' claims, and a quick run."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from scipy import stats
from track import leaderboard, results, tables, track, tuning
from track.contestants import BEGIN, CONTESTANTS
from track.engine import Engine, Outcome, crossing, schedule
from track.presets import QUICK, text_of
from track.significance import LEVEL, claimed, corrected, p_value

import optax_muon as om

FAST, SLOW = [100.0, 102, 98, 101, 99], [110.0, 112, 108, 111, 109]


def test_p_is_welch_s_and_one_sided():
    t = (np.mean(FAST) - np.mean(SLOW)) / np.sqrt(np.var(FAST, ddof=1) / 5 + np.var(SLOW, ddof=1) / 5)
    # Equal variances and sizes: Welch's degrees of freedom are 8.
    assert p_value(FAST, SLOW) == pytest.approx(stats.t.cdf(t, 8))
    assert p_value(SLOW, FAST) == pytest.approx(1 - p_value(FAST, SLOW))
    assert p_value(FAST, SLOW, 0.5) > 0.99


def test_a_censored_run_or_a_single_one_claims_nothing():
    assert p_value([*FAST, None], SLOW) == p_value([100.0], SLOW) == 1.0
    assert p_value([1.0, 1.0], [2.0, 2.0]) == 0.0


def test_holm_stops_at_the_first_claim_that_fails():
    steps = {"a": FAST, "b": SLOW, "c": [x + 0.5 for x in SLOW], "d": [x + 1000 for x in FAST]}
    made = corrected(claimed(steps, [("a", "b", 1.0), ("b", "c", 1.0), ("a", "d", 1.0)]))
    assert [claim.holds for claim in made] == [made[0].p < LEVEL / 2, False, True]
    assert not corrected(claimed(steps, [("a", "d", 1.0)]), level=made[2].p)[0].holds


def test_the_crossing_is_between_two_validations():
    assert crossing([3.0, 2.0], 2.25, 10) == 17.5
    assert crossing([2.0], 2.5, 10) == 10.0


def test_the_schedule_rises_and_falls_to_zero():
    rate = schedule(2.0, 40.0)
    np.testing.assert_allclose([rate(t) for t in (0, 1, 2, 21, 40, 50)], [1.0, 2.0, 2.0, 1.0, 0.0, 0.0], atol=1e-6)


def test_every_contestant_is_tuned_by_as_many_runs_and_finds_a_valley():
    def attempt(rate, horizon, options, until):
        apart = abs(np.log2(rate / 0.03)) + abs(np.log2(options.get("momentum", 0.9) / 0.9))
        needed = 100 * (1 + apart)
        return Outcome(needed if needed < min(horizon, until or horizon) else None, 1.0, [2.0 + apart])

    first = tuning.first_division(attempt, 0.01, 400, 10)
    assert len(first.trials) == tuning.RUNS
    assert 0.02 < first.best.rate < 0.045
    assert all(trial.horizon % 10 == 0 and trial.horizon <= 400 for trial in first.trials)
    second = tuning.second_division(attempt, 0.01, 400, 10, {"momentum": 0.95})
    assert len(second.trials) == tuning.BUDGET
    assert second.best.rank <= first.best.rank
    assert all(0 < trial.options.get("momentum", 0.5) < 1 for trial in second.trials)


def test_every_card_that_needs_no_help_of_the_model_may_run():
    left_out = {
        name for name, card in om.registry.items() if card.kind == "wrapper" or "input_moments" in card.extra_args
    }
    assert set(om.registry) - left_out <= set(CONTESTANTS)
    assert {"adamw", "optax.contrib.muon", "optax.contrib.muon-hidden"} <= set(CONTESTANTS)


def test_tuning_begins_where_the_best_rate_of_the_first_comparison_is_in_reach():
    for folder in ("registry", "registry_newer"):
        record = json.loads((results.ROOT / "docs/records" / folder / "record.json").read_text())
        for name, row in record["results"]["shakespeare"].items():
            if name in CONTESTANTS:
                assert 1 / 8 <= row["learning_rate"] / CONTESTANTS[name].rate <= 8, name
    assert all(not 1 / 8 <= rate / om.registry[name].learning_rate <= 8 for name, rate in BEGIN.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["muon", "soap-muon-short", "optax.contrib.muon-hidden"])
def test_numbers_that_are_tuned_are_arguments_of_one_program_and_act_as_options_do(name):
    contestant, text = CONTESTANTS[name], text_of(QUICK, "shakespeare", None)
    numbers = {key: 0.9 * value for key, value in contestant.numbers.items()} | {"warmup": 0.1}
    fixed = dataclasses.replace(contestant, options={**contestant.options, **numbers})
    rate, preset = contestant.rate, dataclasses.replace(QUICK, target=0.0)
    with jax.numpy_rank_promotion("allow"):
        engine = Engine(preset, text, contestant, jax.devices()[:1])
        # The untuned program takes no number, the other all of them: two programs serve every setting.
        untuned = engine(rate, 20, 0).losses
        tuned = [engine(rate, 20, 0, None, {**numbers, "warmup": warmup}).losses for warmup in (0.1, 0.4)]
        assert engine.stretch._cache_size() == 2
        asked = Engine(preset, text, fixed, jax.devices()[:1])(rate, 20, 0).losses
    np.testing.assert_allclose(tuned[0], asked, rtol=1e-3)
    assert min(abs(np.subtract(tuned[0], other)[-1]) for other in (tuned[1], untuned)) > 3e-3


def test_a_quick_run_leaves_a_record_and_the_leaderboard_reads_it(tmp_path):
    with jax.numpy_rank_promotion("allow"):
        for _ in range(2):  # the second time every run is remembered
            track.main(["muon", "--quick", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)])
    found = results.records(tmp_path)["quick"]
    record = found["muon"]
    assert len(record["tuning"]) == tuning.RUNS
    assert [run["seed"] for run in record["runs"]] == [0, 1]
    assert "| muon |" in tables.leaderboard(found, [])
    other = {**record, "contestant": "adamw", "digest": "another text"}
    (tmp_path / "quick/adamw.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="its digest is not that of the other records"):
        results.records(tmp_path)


def test_a_missed_target_claims_no_mean():
    runs = [{"seed": seed, "steps": steps, "seconds": 1.0} for seed, steps in enumerate((30.0, None))]
    tuned = {"rate": 0.1, "horizon": 40}
    record = {"contestant": "muon", "division": 1, "tuned": tuned, "tuning": [tuned], "runs": runs}
    assert "1 of 2 reached it" in tables.leaderboard({"muon": record}, [])
    assert results.claims({"quick": {"muon": record, "adamw": record}}) == {"quick": []}


def _rows(**steps):
    tuned = {"rate": 0.1, "horizon": 40}
    tuning = [{"rate": rate} for rate in (0.05, 0.1, 0.2)]
    return {
        name: {
            "contestant": name,
            "tuned": tuned,
            "tuning": tuning,
            "runs": [{"steps": x, "seconds": 1.0} for x in taken],
        }
        for name, taken in steps.items()
    }


def test_claims_go_both_ways_and_the_aims_are_among_them():
    rows = _rows(adamw=[400.0, 404, 396, 402], muon=[200.0, 204, 196, 202], slow=[300.0, 304, 296, 302])
    rows |= _rows(alike=[201.0, 203, 197, 199], fast=[140.0, 141, 139, 142])
    made = results.claims({"one": rows, "two": _rows(adamw=[1.0, 2.0])})
    assert made["two"] == []
    held = {(claim.faster, claim.slower, claim.share) for claim in made["one"] if claim.holds}
    assert {("muon", "slow", 1.0), ("fast", "muon", 1.0), ("muon", "adamw", 0.6), ("fast", "muon", 0.8)} <= held
    assert not any({claim.faster, claim.slower} == {"alike", "muon"} and claim.holds for claim in made["one"])
    assert "| alike | 200 ± 1.3 | 0.50 | 1.00 (tie) |" in tables.leaderboard(rows, made["one"])
    choice = tables.choice(rows, made["one"]).splitlines()
    assert [line.split("`")[1] for line in choice[2:]] == ["fast", "alike", "slow"]
    assert all(line.endswith("| - |") for line in choice[2:]), "nobody has every number tuned"


def test_the_second_division_is_compared_within_itself_too():
    rows = _rows(adamw=[400.0, 404, 396, 402], muon=[200.0, 204, 196, 202])
    alone = {(claim.faster, claim.slower, claim.share) for claim in results.claims({"one": rows})["one"]}
    rows |= {
        f"{name} (tuned)": {**record, "division": 2}
        for name, record in _rows(
            adamw=[300.0, 304, 296, 302], muon=[150.0, 154, 146, 152], b=[100.0, 104, 97, 101]
        ).items()
    }
    made = {(claim.faster, claim.slower, claim.share) for claim in results.claims({"one": rows})["one"]}
    within = {
        (f"{a} (tuned)", f"{b} (tuned)", share)
        for a, b, share in [
            ("muon", "adamw", 1.0),
            ("b", "muon", 1.0),
            ("b", "adamw", 1.0),
            ("muon", "adamw", 0.6),
            ("b", "muon", 0.8),
        ]
    }
    across = {("b (tuned)", "muon", 0.8), ("b (tuned)", "muon", 1.0), ("muon (tuned)", "muon", 1.0)}
    assert alone | within | across <= made
    shown = tables.leaderboard(rows, results.claims({"one": rows})["one"])
    assert shown.count("| b (tuned) | 100 ± 1.4 |") == 2
    assert "| b (tuned) | 100 ± 1.4 | 0.33 | 0.67 |" in shown.split("second division")[1]
    fewer = tables.choice(rows, results.claims({"one": rows})["one"]).splitlines()[2]
    assert fewer == "| fewer | - | `b` 0.67 (100 ± 1.4, n = 4) |"


def test_a_rate_at_the_end_of_those_tried_is_marked():
    rows = _rows(muon=[1.0, 2.0])
    assert "| 0.1 |" in tables.leaderboard(rows, [])
    rows["muon"]["tuning"] = [{"rate": 0.05}, {"rate": 0.1}]
    assert "| 0.1 (edge) |" in tables.leaderboard(rows, [])


def test_the_correction_is_over_all_presets_together():
    a, b = [100.0, 102, 98, 101], [110.0, 112, 107, 111]
    one = _rows(muon=b, adamw=[1000.0 + x for x in b], fast=a)
    alone = results.claims({"one": one})["one"]
    p = next(claim.p for claim in alone if (claim.faster, claim.slower, claim.share) == ("fast", "muon", 1.0))
    assert LEVEL / 12 < p < LEVEL / 2, "the case lies between the two levels"
    more = {str(i): _rows(muon=b, adamw=a, fast=b) for i in range(6)}
    together = results.claims({"one": one, **more})["one"]
    assert sum(claim.holds for claim in together) < sum(claim.holds for claim in alone)


def test_the_pages_say_what_the_records_say():
    for path, text in leaderboard.pages().items():
        assert path.read_text() == text, path
    for name, rows in results.records().items():
        assert all(len(results.steps_of(record)) >= 10 for record in rows.values()), name
        assert (results.RECORDS / name / "steps.png").exists()


def test_every_claim_of_the_pages_passes_the_rule():
    claims = [claim for made in results.claims(results.records()).values() for claim in made]
    assert claims
    # The rule again, from the page's words: by growing p, each under its own level, until one is not.
    by_p = sorted(claims, key=lambda claim: claim.p)
    passed = [claim.p < 0.001 / (len(by_p) - k) for k, claim in enumerate(by_p)]
    assert [claim.holds for claim in by_p] == [all(passed[: k + 1]) for k in range(len(by_p))]


def test_the_second_division_tunes_the_numbers_of_the_signature_and_of_adamw_beside():
    numbers = CONTESTANTS["muon"].numbers
    assert numbers == {"momentum": 0.95, "weight_decay": 0.1, "others_rate": 1.0, "others_b1": 0.9, "others_b2": 0.95}
    # A decay that is a transform is no number, and none of the signature's stands in its place.
    assert "weight_decay" not in CONTESTANTS["muon-cautious"].numbers
    assert {"beta", "others_rate"} <= set(CONTESTANTS["optax.contrib.muon-hidden"].numbers)
    assert CONTESTANTS["adamw"].numbers == {"b1": 0.9, "b2": 0.95, "weight_decay": 0.1}
    assert "others_rate" not in CONTESTANTS["scion"].numbers
