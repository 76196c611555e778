"""A run whose files are torn, empty, missing or damaged: it goes on, or one line says what is wrong and what to do."""

import json
import os
import shutil

import pytest
from gpt import data, logs
from gpt.files import replace_text

from tests.examples import tiny


@pytest.fixture(autouse=True)
def _small_text(monkeypatch):
    monkeypatch.setattr(data, "characters", tiny.corpus)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The folder of a run that was killed after step 10, with checkpoints of steps 4 and 8."""

    def kill(trainer, step):
        if step == 11:
            raise ZeroDivisionError

    out = tmp_path_factory.mktemp("half") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "characters", tiny.corpus)
        with pytest.raises(ZeroDivisionError):
            tiny.train(out, trouble=kill)
    assert tiny.steps(out) == [4, 8]
    return out


@pytest.fixture
def out(half, tmp_path):
    return shutil.copytree(half, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run that nothing disturbed leaves: its last line and its losses."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "characters", tiny.corpus)
        tiny.train(out)
    return f"{float(tiny.column(out, 'val_loss')[-1]):.6f}", tiny.column(out, "train_loss")


def goes_on(out, whole, capsys, *options):
    capsys.readouterr()
    tiny.train(out, *(options or ("--resume",)))
    text = capsys.readouterr()
    assert tiny.final(text.out)[2] == whole[0]
    assert tiny.column(out, "train_loss") == whole[1]
    assert tiny.column(out, "step") == [str(i) for i in range(1, tiny.STEPS + 1)]
    return text.err


def stops(out, capsys, *options, code=1):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        tiny.train(out, *(options or ("--resume",)))
    assert stop.value.code == code
    text = capsys.readouterr()
    lines = [line for line in text.err.splitlines() if line.strip()]
    assert len(lines) == 1, text.err
    return lines[0]


@pytest.mark.parametrize("torn", ["", "ste", "step,train_loss\r\n1,", "\0\0\0\0", "cut", "gap"])
def test_torn_metrics_are_repaired(torn, out, whole, capsys):
    file = out / "metrics.csv"
    text = file.read_bytes()
    if torn == "cut":
        file.write_bytes(text[: text.rindex(b"\r\n8,") + 9])
    elif torn == "gap":
        lines = text.splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:3] + [b"4,\0\0\0\0,\r\n"] + lines[6:]))
    else:
        file.write_text(torn)
    goes_on(out, whole, capsys)
    assert [bool(x) for x in tiny.column(out, "val_loss")] == [step % 4 == 0 for step in range(1, tiny.STEPS + 1)]


def test_a_number_without_the_end_of_its_line_is_not_trusted(out):
    file = out / "metrics.csv"
    file.write_bytes(file.read_bytes()[:-4])  # of the tokens per second: a shorter number
    assert sorted(logs._whole_rows(file)) == list(range(1, 10))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "settings.json"
    replace_text(file, "old")
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        replace_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_metrics_survive_a_resumption_that_dies_before_its_first_step(out, whole, capsys):
    def kill(trainer, step):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tiny.train(out, "--resume", trouble=kill)
    assert tiny.column(out, "train_loss") == whole[1][:8]
    goes_on(out, whole, capsys)


@pytest.mark.parametrize("text", [None, "", "[1", "3"])
def test_settings_that_are_lost_come_from_the_checkpoint(text, out, whole, capsys):
    file = out / "settings.json"
    before = json.loads(file.read_text())
    file.unlink() if text is None else file.write_text(text)
    assert "seed 0 -> 3, learning_rate None -> 0.5" in " ".join(
        sorted([stops(out, capsys, "--resume", "--seed", 3, "--learning-rate", 0.5)])
    ).replace("learning_rate None -> 0.5, seed 0 -> 3", "seed 0 -> 3, learning_rate None -> 0.5")
    assert "settings.json is written again, from a checkpoint" in goes_on(out, whole, capsys).replace("\n", "")
    assert json.loads(file.read_text()) == before


def test_settings_that_nothing_holds_are_asked_for(out, whole, capsys):
    (out / "settings.json").unlink()
    for step in (4, 8):
        (out / f"checkpoints/{step}/_CHECKPOINT_METADATA").unlink()  # as a version without them would have left it
    assert "settings.json is missing, and the checkpoint does not hold the settings" in stops(out, capsys)
    (out / "settings.json").write_text('{"steps": 12, "context": 16, "batch": 2}')
    assert "seed 0 -> 1" in stops(out, capsys, "--resume", "--seed", 1)
    goes_on(out, whole, capsys)


def test_settings_from_before_an_option_existed(out, whole, capsys):
    file = out / "settings.json"
    settings = json.loads(file.read_text())
    del settings["qk_clip"], settings["schedule"]
    file.write_text(json.dumps(settings))
    assert "schedule linear -> cosine" in stops(out, capsys, "--resume", "--schedule", "cosine")
    goes_on(out, whole, capsys)


def test_settings_of_an_option_that_is_not_here(out, capsys):
    file = out / "settings.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"dropout": 0.5}))
    assert "dropout 0.5 -> an option that is not known here" in stops(out, capsys)


def largest_file(step):
    return max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def half_deleted(step):
    """Leave what is read first."""
    for path in step.rglob("*"):
        if path.is_file() and path.name not in ("_METADATA", "_sharding", "_CHECKPOINT_METADATA"):
            path.unlink()


DAMAGES = {
    "an empty description": lambda step: (step / "default/_METADATA").write_text(""),
    "no description": lambda step: (step / "default/_METADATA").unlink(),
    "a truncated array": lambda step: os.truncate(largest_file(step), 1000),
    "an empty array": lambda step: os.truncate(largest_file(step), 0),
    "no array": lambda step: largest_file(step).unlink(),
    "a half deleted folder": half_deleted,
    "no arrays at all": lambda step: shutil.rmtree(step / "default"),
    "an empty folder": lambda step: [shutil.rmtree(step), step.mkdir()],
    "an empty list": lambda step: (step / "files.json").write_text(""),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(kind, out, whole, capsys):
    DAMAGES[kind](out / "checkpoints/8")
    left = sorted(path.relative_to(out / "checkpoints/8") for path in (out / "checkpoints/8").rglob("*"))
    line = stops(out, capsys)
    assert f"checkpoint 8 is damaged: {out}/checkpoints/8/" in line
    assert "add --resume=last-good to go on from checkpoint 4" in line
    assert tiny.steps(out) == [4, 8]
    said = goes_on(out, whole, capsys, "--resume=last-good").replace("\n", " ")
    assert "checkpoint 8 is damaged" in said
    assert "steps from 4" in said
    assert sorted(path.relative_to(out / "damaged/8.0") for path in (out / "damaged/8.0").rglob("*")) == left
    assert tiny.steps(out) == [8, 12]


def test_bytes_that_changed_in_place_are_found_by_reading(out, whole, capfd):
    file = largest_file(out / "checkpoints/8")
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(SystemExit):
        tiny.train(out, "--resume")
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert "checkpoint 8 cannot be read" in last
    assert "add --resume=last-good to go on from checkpoint 4" in last
    goes_on(out, whole, capfd, "--resume=last-good")
    assert (out / "damaged/8.0").is_dir()


def test_nothing_is_moved_where_no_checkpoint_is_whole(out, capsys):
    for step in (4, 8):
        (out / f"checkpoints/{step}/default/_METADATA").write_text("")
    assert "there is no whole one before it" in stops(out, capsys)
    assert "no checkpoint of" in stops(out, capsys, "--resume=last-good")
    assert tiny.steps(out) == [4, 8]
    assert not (out / "damaged").exists()


def test_last_good_takes_the_last_where_nothing_is_damaged(out, whole, capsys):
    assert "steps from 8" in goes_on(out, whole, capsys, "--resume=last-good")
    assert not (out / "damaged").exists()


def test_a_checkpoint_from_before_there_were_lists(out, whole, capsys):
    for step in (4, 8):
        (out / f"checkpoints/{step}/files.json").unlink()
    assert "steps from 8" in goes_on(out, whole, capsys)
