"""A table of what each parameter is taken for, and why."""

import dataclasses

from jaxtyping import PyTree
from rich.console import Console
from rich.table import Table

from optax_muon.matrices._by_name import Finding, Rules
from optax_muon.matrices._doubt import speak_of_doubt
from optax_muon.matrices._paths import shapes_by_path
from optax_muon.matrices._resolve import Leaves, findings

COLUMNS = ("path", "shape", "role", "reduction", "output", "batch", "why")


@dataclasses.dataclass(frozen=True)
class Description:
    """Rows of the table; printing it draws the table, in a terminal in colour with `rich.print`.

    Attributes:
        rows: one tuple of strings per parameter, in the order of ``COLUMNS``.
        summary: one line of totals.
    """

    rows: tuple[tuple[str, ...], ...]
    summary: str

    def __rich__(self) -> Table:
        """Draw with rich."""
        table = Table(*COLUMNS, caption=self.summary, row_styles=("", "dim"))
        for row in self.rows:
            style = "bold" if row[2] == "hidden" else None
            table.add_row(*row, style="yellow" if "assumed" in row[-1] else style)
        return table

    def __str__(self) -> str:
        """Draw as plain text."""
        # Paths and reasons never wrap, in a log file either; 60 is room for the columns between them.
        console = Console(width=max(100, 30 + max((len(row[0]) + len(row[-1]) for row in self.rows), default=0) + 60))
        with console.capture() as capture:
            console.print(self.__rich__(), no_wrap=True)
        return capture.get()


def describe(
    params: PyTree, leaves: Leaves | None = None, rules: Rules = (), *, strict: bool | None = None
) -> Description:
    """Show path, shape, role and axes of every parameter, and why; guesses are marked "assumed".

    Read it once before a long run: half the bugs in this field are a wrong axis or a head trained as a hidden matrix.

    Args:
        params: arrays or `jax.ShapeDtypeStruct` objects.
        leaves: as for `for_matrices`.
        rules: as for `for_matrices`.
        strict: as for `for_matrices`.

    Raises:
        UnknownLeafError: naming the parameters that need a rule.
        ValueError: for a rule or leaf that matches nothing.
    """
    shapes = shapes_by_path(params)
    found = findings(params, leaves, rules, strict=strict is not False)
    if strict:
        speak_of_doubt(found, shapes, strict)
    hidden = sum(entry.leaf.role == "hidden" for entry in found.values())
    assumed = sum(entry.assumed for entry in found.values())
    summary = f"{hidden} of {len(found)} parameters are hidden matrices; {assumed} assumed"
    if not hidden:
        # Most often a model of vectors alone by mistake; the reasons in the table show which names were not known.
        summary = f"no hidden matrix among {len(found)} parameters: nothing for Muon to do"
    return Description(tuple(_row(path, shapes[path], entry) for path, entry in found.items()), summary)


def _row(path: str, shape: tuple[int, ...], found: Finding) -> tuple[str, ...]:
    """Write one parameter's row, strings in the order of `COLUMNS`."""
    leaf = found.leaf

    def axes(of: tuple[int, ...]) -> str:
        """Join axes by commas, "-" for none."""
        return ",".join(map(str, of)) or "-"

    batch = axes(leaf.batch(len(shape))) if leaf.output else "-"
    why = found.reason + (f", split {leaf.split.sizes} of {leaf.split.side}" if leaf.split else "")
    why += " (assumed)" if found.assumed else ""
    return path, "x".join(map(str, shape)) or "scalar", leaf.role, axes(leaf.reduction), axes(leaf.output), batch, why
