"""The numbers of docs/orthogonalization.md that follow from the code are those that the code gives."""

import pathlib

import pytest

pytest.importorskip("matplotlib")

from tests.benchmarks import orthogonalization  # noqa: E402

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "orthogonalization.md").read_text().splitlines()


@pytest.mark.parametrize("lines", [orthogonalization.image_lines, orthogonalization.restart_lines])
def test_computed_tables(lines):
    missing = [line for line in lines() if line not in PAGE]
    assert not missing
