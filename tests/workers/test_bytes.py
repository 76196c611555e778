"""What travels between eight workers, counted in the compiled program."""

import json
import pathlib
import re

import pytest

import optax_muon as om
from tests.benchmarks import worker_bytes
from tests.benchmarks.census import census

DOCS = pathlib.Path(om.__file__).parents[1] / "docs"
SIDE = 64


def matrices(text):
    """Collectives of a compiled program that move as many floats as the matrix has."""
    lines = re.findall(r"= (\S+ )(?:all-\w+|collective-permute|reduce-scatter)(?:-start)?\(", text)
    return [line for line in lines if re.search(rf"f32\[(?:\d+,)*{SIDE},{SIDE}\]", line)]


def test_a_vote_is_one_bit_an_entry():
    program = worker_bytes.compiled(om.sign_muon(1e-3, axis_name=worker_bytes.AXIS), SIDE)
    assert census(program).collectives == {"all-gather": (1, 8 * SIDE * SIDE // 8)}
    assert f"u8[8,{SIDE // 8},{SIDE}]" in program.as_text()


def test_a_tenth_of_the_entries_travels_as_values_and_places():
    program = worker_bytes.compiled(om.ef21_muon(0.02, axis_name=worker_bytes.AXIS), SIDE)
    kept = -(-SIDE * SIDE // 10)
    (kind,) = census(program).kinds
    assert kind == "all-gather"
    assert census(program).nbytes == 8 * kept * (4 + 2)
    assert not matrices(program.as_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in worker_bytes.METHODS if "ef21" in name or "sign" in name])
def test_what_is_compressed_moves_no_matrix(name):
    make, _ = worker_bytes.METHODS[name]
    assert not matrices(worker_bytes.compiled(make(), SIDE).as_text())


@pytest.mark.slow
def test_data_parallel_muon_does():
    make, _ = worker_bytes.METHODS["Muon, data-parallel"]
    assert matrices(worker_bytes.compiled(make(), SIDE).as_text())


def test_the_page_has_the_record():
    rows = json.loads((DOCS / "records/worker_bytes/record.json").read_text())["rows"]
    page = (DOCS / "workers.md").read_text()
    for row in rows:
        line = f"| {row['method']} | {row['collectives']} | {row['bytes a step']:,} | {row['share']:.3f} |"
        assert line in page, line
