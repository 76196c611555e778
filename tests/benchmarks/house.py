"""Measures the house: python -m tests.benchmarks.house [root] prints, for every folder of a package, what is in it.

Files, lines of code, comments for each of them, functions without a docstring, floors of imports and circles; then the
docstring lines that are repeated most. Nothing is imported, so that an old checkout can be measured beside a new one.
"""

import argparse
import ast
import collections
import dataclasses
import functools
import io
import pathlib
import re
import tokenize
from collections.abc import Iterator

DIRECTIVES = re.compile(r"#\s*(noqa|pyright|type|fmt|ruff|pragma)\b")
PLACEMENT = re.compile(r"placement: .*None: .*on the spot")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


@dataclasses.dataclass
class Row:
    """What a file, a folder or a package holds."""

    files: int = 0
    code: int = 0
    comments: int = 0
    functions: int = 0
    bare: int = 0
    docstrings: list[str] = dataclasses.field(default_factory=list)

    def __add__(self, other: "Row") -> "Row":
        fields = [field.name for field in dataclasses.fields(Row)]
        return Row(*(getattr(self, name) + getattr(other, name) for name in fields))


def read(path: pathlib.Path) -> Row:
    """Count one file."""
    text = path.read_text()
    nodes = list(ast.walk(ast.parse(text)))
    owners = [node for node in nodes if isinstance(node, Documented)]
    functions = [node for node in owners if isinstance(node, Function)]
    lines, comments = set(), 0
    quoted = {
        line
        for node in owners
        if ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments += not DIRECTIVES.match(token.string)
        elif token.string.strip() and token.type != tokenize.ENDMARKER:
            lines |= set(range(token.start[0], token.end[0] + 1))
    written = [ast.get_docstring(node) for node in owners]
    bare = sum(ast.get_docstring(node) is None for node in functions)
    return Row(1, len(lines - quoted), comments, len(functions), bare, [text for text in written if text])


class Imports:
    """Which file of a package imports which, names followed through the ``__init__.py`` that hand them on."""

    def __init__(self, package: pathlib.Path):
        """Read every file's imports, those inside functions too."""
        self.package = package
        self.files = {self._name(path): path for path in sorted(package.rglob("*.py"))}
        self.above = {name: set(self._targets(name)) - {name} for name in self.files if not self._hands_on(name)}

    def floors(self, folder: pathlib.Path | None = None) -> int:
        """How many files stand above one another at most, within a folder or in the whole package."""
        inside = {name for name in self.above if folder is None or self.files[name].parent == folder}
        round_trip = {name: group for group in map(frozenset, self.circles) for name in group}

        @functools.cache
        def height(group: frozenset[str]) -> int:
            below = {x for name in group for x in self.above[name]} & inside - group
            # The files of a circle all stand above one another.
            return len(group & inside) + max((height(round_trip.get(x, frozenset([x]))) for x in below), default=0)

        return max((height(round_trip.get(name, frozenset([name]))) for name in inside), default=0)

    @functools.cached_property
    def circles(self) -> list[list[str]]:
        """Groups of files each of which imports all others, by some way."""
        reach = {name: self._reached(name) for name in self.above}
        groups = {tuple(sorted(x for x in reach[name] if name in reach[x])) for name in self.above}
        return sorted(list(group) for group in groups if group)

    def _reached(self, name: str) -> set[str]:
        found, todo = set(), [name]
        while todo:
            new = self.above[todo.pop()] - found
            found |= new
            todo += new
        return found

    def _name(self, path: pathlib.Path) -> str:
        parts = path.relative_to(self.package.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _hands_on(self, name: str) -> bool:
        return self.files[name].name == "__init__.py"

    def _targets(self, name: str) -> Iterator[str]:
        for node in ast.walk(ast.parse(self.files[name].read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(self.package.name):
                for alias in node.names:
                    yield from self._home(node.module or "", alias.name)

    def _home(self, module: str, name: str) -> Iterator[str]:
        if f"{module}.{name}" in self.files:
            module = f"{module}.{name}"
            # Who imports a package whole depends on all that it hands on, which says nothing of a file's height.
            yield from () if self._hands_on(module) else (module,)
        elif module in self.files and self._hands_on(module):
            for node in ast.parse(self.files[module].read_text()).body:
                if isinstance(node, ast.ImportFrom) and name in [alias.asname or alias.name for alias in node.names]:
                    yield from self._home(node.module or "", name)
        elif module in self.files:
            yield module


def table(package: pathlib.Path) -> str:
    """Give the table of a package, one row a folder."""
    imports, rows = Imports(package), collections.defaultdict(Row)
    for path in imports.files.values():
        rows[path.parent] += read(path)
    head = (
        f"{'folder':24}{'files':>6}{'code':>8}{'comments':>10}{'per line':>10}{'functions':>11}{'bare':>6}{'floors':>8}"
    )
    lines = [head]
    for folder, row in [*sorted(rows.items()), (None, sum(rows.values(), Row()))]:
        name = "all" if folder is None else str(folder.relative_to(package))
        lines.append(
            f"{name:24}{row.files:6}{row.code:8}{row.comments:10}{row.comments / max(1, row.code):10.3f}"
            f"{row.functions:11}{row.bare:6}{imports.floors(folder):8}"
        )
    lines.append(f"circles: {len(imports.circles)}")
    lines += [f"    {' <-> '.join(names)}" for names in imports.circles]
    return "\n".join(lines)


def repeated(package: pathlib.Path, most: int = 10) -> str:
    """Give the docstring lines that stand in most docstrings, and how many say where work runs in the one old way."""
    docstrings = [text for path in sorted(package.rglob("*.py")) for text in read(path).docstrings]
    counts = collections.Counter(line for text in docstrings for line in {x.strip() for x in text.splitlines()} if line)
    common = [(n, line) for line, n in counts.most_common() if len(line) > 30 and n > 2]
    total = sum(n - 1 for n, _ in common)
    lines = [f"{sum(bool(PLACEMENT.search(text)) for text in docstrings)} docstrings say 'placement: ... on the spot'"]
    lines.append(
        f"{total} lines of docstrings repeat one of {len(common)} that stand in three or more; the most common:"
    )
    return "\n".join(lines + [f"{n:6}  {line}" for n, line in common[:most]])


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parents[2])
    package = parser.parse_args().root.resolve() / "optax_muon"
    print(table(package), repeated(package), sep="\n\n")


if __name__ == "__main__":
    main()
