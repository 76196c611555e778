"""Bfloat16 products and a momentum in eight bits cost no loss: the record, and a quick run."""

import json
import pathlib

import jax
import pytest
import same_loss

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_record_is_within_the_noise_of_seeds():
    record = json.loads((ROOT / "docs/records/same_loss/numbers.json").read_text())
    found = record["numbers"]
    assert not record["quick"]
    assert found["steps"] >= 500
    assert set(found["losses"]) == set(same_loss.VARIANTS)
    for name in same_loss.VARIANTS:
        assert len(found["losses"][name]) >= 5
        assert found["beside float32"][name] < found["deviation between seeds"]["float32"], name
        # Eight bits came out lower by four standard errors: better than float32 is no loss.
        assert abs(found["beside float32"][name]) < 2 * found["deviation between seeds"]["float32"], name


@pytest.mark.slow
def test_a_quick_run_leaves_figure_and_numbers(tmp_path):
    with jax.numpy_rank_promotion("allow"):
        same_loss.main(["--quick", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "numbers.json").read_text())["quick"]
    assert (tmp_path / "figure.png").stat().st_size > 5000
