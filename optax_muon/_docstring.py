"""The docstring of a named optimizer, completed by what all of them share and by what its card counts."""

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

WIDTH = 116  # of a paragraph, so that `help` stays within 120 columns


class Shared(NamedTuple):
    """What the docstring of every optimizer says of an argument.

    Attributes:
        usually: where the docstring says nothing of its own.
        always: after what either says.
    """

    usually: str
    always: str = ""


class Prose(NamedTuple):
    """What a docstring says for the card.

    Attributes:
        text: the docstring, complete.
        paper: its references, in one line.
        deviations: its paragraph that begins with "Differs from", in one line; "none" without one.
    """

    text: str
    paper: str
    deviations: str


def completed(make: Callable[..., Any], shared: Mapping[str, Shared], state: str) -> Prose:
    """Put what ``shared`` says of arguments that the docstring leaves out into its Args, and ``state`` behind them.

    Raises:
        TypeError: where an argument is described nowhere, or one is described that the function does not have.
    """
    if make.__doc__ is None:  # python -OO
        return Prose("", "", "none")
    # Python 3.13 strips the margin when it compiles and 3.11 does not; cleandoc makes both alike.
    before, said, after = _cut(inspect.cleandoc(make.__doc__))
    names = list(inspect.signature(make).parameters)
    unknown, missing = set(said) - set(names), [name for name in names if name not in said and name not in shared]
    if unknown or missing:
        raise TypeError(f"{make.__name__}: Args describes {sorted(unknown)} in vain, and not {missing}")
    # In the order of the signature, whatever the docstring's own.
    entries = [_entry(name, said.get(name), shared.get(name, Shared(""))) for name in names]
    text = "\n".join([before.rstrip("\n"), "", "Args:", *entries, "", _wrapped(state), "", after.strip("\n")]) + "\n"
    paper = _matched(r"(?<=^References:\n)(?:    .*\n?)+", after)
    return Prose(text, _one_line(paper), _one_line(_matched(r"^Differs from (?:.+\n?)+", after)) or "none")


def _cut(doc: str) -> tuple[str, dict[str, str], str]:
    """What stands before the Args, its entries by name, and what stands behind."""
    before, _, rest = doc.partition("\nArgs:\n")
    block = _matched(r"(?:    .*\n?|\n(?=    ))*", rest)  # indented lines, and empty ones between them
    # A name stands four columns in; what continues an entry stands eight in, so a colon there begins none.
    entries = re.finditer(r"^    (\w+): .*(?:\n {8}.*)*", block, re.MULTILINE)
    return before, {entry[1]: entry[0] for entry in entries}, rest[len(block) :]


def _entry(name: str, own: str | None, shared: Shared) -> str:
    """Write one argument's entry: the docstring's own words, else the shared ones, and what is always said."""
    # Left as it is written, with its own line breaks, where there is nothing to add.
    if own is not None and not shared.always:
        return own
    words = f"{own or f'{name}: {shared.usually}'} {shared.always}".split()
    return _wrapped(" ".join(words), "    ", "        ")


def _wrapped(text: str, first: str = "", then: str = "") -> str:
    """Fill a paragraph."""
    # A hyphen may be a minus or part of a name, and is no place to break.
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=then, break_on_hyphens=False)


def _matched(pattern: str, text: str) -> str:
    """Return the first match, or nothing."""
    found = re.search(pattern, text, re.MULTILINE)
    return found[0] if found else ""


def _one_line(text: str) -> str:
    """Join lines, without the full stop, for a cell of a table."""
    return " ".join(text.split()).rstrip(".")
