"""The measuring script counts a package of which all is known."""

from tests.benchmarks import house

TOP = '''"""A module's docstring
of two lines."""

from house.below import base, ring  # noqa: I001


# This says why,
# in two lines.
def documented():
    """Say so: placement: where; None: on the spot."""

    def bare():
        x = """a string,
        which is code"""
        return x

    return bare
'''


def test_counts(tmp_path):
    package = tmp_path / "house"
    (package / "below").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "top.py").write_text(TOP)
    (package / "below" / "__init__.py").write_text("from house.below.base import f as f\n")
    (package / "below" / "base.py").write_text("def f():\n    return 1\n")
    (package / "below" / "ring.py").write_text("from house.below import f, other\n")
    (package / "below" / "other.py").write_text("from house.below import ring\n")

    row = house.read(package / "top.py")
    assert (row.files, row.code, row.comments, row.functions, row.bare) == (1, 7, 2, 2, 1)
    imports = house.Imports(package)
    assert imports.circles == [["house.below.other", "house.below.ring"]]
    # top imports base and the circle, whose two files stand on base.
    assert imports.floors() == 4
    assert imports.floors(package / "below") == 3
    assert imports.floors(package) == 1
    assert "1 docstrings say" in house.repeated(package)
    assert [line.split()[:2] for line in house.table(package).splitlines()[1:4]] == [
        [".", "2"],
        ["below", "4"],
        ["all", "6"],
    ]
