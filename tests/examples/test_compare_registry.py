"""The comparison of the registry: a quick run, resumed without training again; its table and its arithmetic."""

import json

import compare_registry
import pytest


def test_a_quick_run_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    arguments = ["adamw", "muon", "--workloads", "digits", "--quick", "--out", str(tmp_path)]
    compare_registry.main(arguments)
    assert (tmp_path / "losses.png").stat().st_size > 1000
    assert "| muon |" in (tmp_path / "table.md").read_text()
    rows = json.loads((tmp_path / "record.json").read_text())["results"]["digits"]
    assert all(row["mean"] < 2.4 for row in rows.values())  # log 10 is 2.30
    assert rows["adamw"]["state"] == pytest.approx(2, abs=0.01)
    first = capsys.readouterr().out
    monkeypatch.setattr(compare_registry, "Program", lambda *_: pytest.fail("a finished run was trained again"))
    compare_registry.main(arguments)
    assert capsys.readouterr().out == first


def test_steps_to_a_loss_are_read_between_the_points():
    curve = [3.0, 2.0, 1.0] + [1.0] * 17
    assert compare_registry.steps_to(curve, 1.5, 200) == pytest.approx(25)
    assert compare_registry.steps_to(curve, 3.0, 200) == pytest.approx(10)
    assert compare_registry.steps_to(curve, 0.5, 200) is None


@pytest.mark.parametrize(
    ("options", "message"), [("--steps 30", "must be a multiple of 20, not 30"), ("nonsense", "unknown optimizer")]
)
def test_a_bad_option_gets_one_clear_line(options, message, capsys):
    with pytest.raises(SystemExit):
        compare_registry.main(options.split())
    assert message in capsys.readouterr().err
