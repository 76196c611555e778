"""Token shards: made from any text, read by Grain in the same order whatever the number of processes, resumed."""

import itertools
import json
import shutil

import gpt_linen.train as linen
import numpy as np
import pytest
from gpt import make_shards, texts
from gpt.shards import ALL, INDEX, Folder, Part, Rows, ShardError, batches, windows

TEXT = "".join(f"{a} times {b} makes {a * b}.\n" for a in range(60) for b in range(30))
SIZES = {"layers": 1, "width": 16, "heads": 2, "context": 16, "batch": 8, "eval-every": 4, "steps": 8, "devices": 2}
TINY = [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    (root / "b.txt").write_text(TEXT[20_000:], "utf8")
    (root / "a.txt").write_text(TEXT[:20_000], "utf8")
    made = ["--files", str(root / "*.txt"), "--vocabulary", "300", "--shard-tokens", "3000", "--out", str(root / "out")]
    make_shards.main(made)
    return root / "out"


def first(rows, count, start=0, part=ALL):
    return list(itertools.islice(batches(rows, 8, seed=3, start=start, part=part), count))


def test_the_shards_hold_the_text(folder):
    opened = Folder.open(folder)
    assert len(opened.train) > 3
    assert max(shard.tokens for shard in opened.train) == 3000
    ids = np.concatenate([opened.tokens(shard) for shard in opened.train + opened.valid])
    whole = TEXT[:20_000] + "\n" + TEXT[20_000:]
    assert opened.decode(ids) == whole
    assert opened.digest == texts.digest(whole)
    assert ids.max() < opened.vocabulary <= 300
    assert opened.characters_per_token == pytest.approx(len(whole) / len(ids))


def test_a_row_never_crosses_two_shards_and_every_pass_reads_every_row_once(folder):
    opened = Folder.open(folder)
    rows = Rows(opened, opened.train, 16)
    assert len(rows) == sum((shard.tokens - 1) // 16 for shard in opened.train)
    np.testing.assert_array_equal(rows[0], opened.tokens(opened.train[0])[:17])
    last = (opened.train[-1].tokens - 1) // 16 * 16
    np.testing.assert_array_equal(rows[len(rows) - 1], opened.tokens(opened.train[-1])[last - 16 : last + 1])
    passes = len(rows) // 8
    read = np.concatenate(first(rows, passes))
    every = {tuple(rows[i]) for i in range(len(rows))}
    assert {tuple(row) for row in read} <= every
    assert len({tuple(row) for row in read}) > 0.95 * min(len(every), len(read))
    assert windows(rows, 5).shape == (5, 17)


def test_step_and_seed_alone_decide_a_batch(folder):
    opened = Folder.open(folder)
    rows = Rows(opened, opened.train, 16)
    whole = first(rows, 6)
    np.testing.assert_array_equal(first(rows, 3, start=3), whole[3:])
    parts = [first(rows, 6, part=Part(process, 2)) for process in range(2)]
    for one, *halves in zip(whole, *parts, strict=True):
        both = np.concatenate(halves)
        assert halves[0].shape == (4, 17)
        assert sorted(map(tuple, both)) == sorted(map(tuple, one))
    assert not np.array_equal(next(batches(rows, 8, seed=4)), whole[0])


@pytest.mark.parametrize("harm", ["no index", "torn index", "no shard", "torn shard", "other length", "short shards"])
def test_a_harmed_folder_gets_one_line_that_names_the_file(folder, tmp_path, harm):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    shard, index = tmp_path / "train-00001.npy", tmp_path / INDEX
    named = str(tmp_path) if harm == "no index" else index.name if harm == "torn index" else shard.name
    if harm == "no index":
        index.unlink()
    elif harm == "torn index":
        index.write_text(index.read_text()[:60])
    elif harm == "no shard":
        shard.unlink()
    elif harm == "torn shard":
        shard.write_bytes(shard.read_bytes()[:1000])
    elif harm == "other length":
        np.save(shard, np.zeros(5, np.uint16))
    if harm == "short shards":
        opened = Folder.open(tmp_path)
        with pytest.raises(ShardError, match="no shard holds a window of 9000 tokens"):
            Rows(opened, opened.train, 8999)
        return
    with pytest.raises(ShardError, match=named) as error:
        Folder.open(tmp_path)
    assert "\n" not in str(error.value)
    assert "make_shards.py" in str(error.value)


@pytest.mark.slow
def test_a_run_on_shards_stopped_and_resumed_ends_as_if_it_had_not_been(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", "")
    common = [*TINY, "--data", str(folder)]
    lines = []
    for out, steps in (("whole", ["8"]), ("parts", ["8"])):
        linen.main([*common, "--steps", *steps, "--out", str(tmp_path / out)])
        lines.append(capsys.readouterr().out.strip().splitlines()[-1].split(" seconds")[0])
    assert lines[0] == lines[1]
    assert json.loads((tmp_path / "whole/settings.json").read_text())["digest"] == Folder.open(folder).digest
    # The checkpoint of step 8 goes, that of step 4 stays: as if the run had been stopped between the two.
    shutil.rmtree(tmp_path / "parts/checkpoints/8")
    linen.main([*common, "--tensor", "2", "--out", str(tmp_path / "parts"), "--resume"])
    resumed = capsys.readouterr().out.strip().splitlines()[-1]
    values = [[float(x.split("=")[1]) for x in line.split()[2:4]] for line in (lines[0], resumed)]
    np.testing.assert_allclose(*values, atol=1e-5)


def test_the_standard_library_is_a_text_of_plain_characters():
    text = texts.standard_library()
    assert len(text) > 5_000_000
    assert text.isascii()
    assert "\r" not in text
