"""Which folder a run has, and that no other process has it."""

import argparse
import contextlib
import pathlib
from collections.abc import Iterator

from gpt.lock import Lock
from gpt.together import on_first


@contextlib.contextmanager
def claimed(args: argparse.Namespace) -> Iterator[pathlib.Path]:
    """Give the run's folder: the given one, the newest to resume, or a new one; hold it until the end.

    Raises:
        OptionError: if another process holds it.
        OSError: if it cannot be made or written.
    """
    with contextlib.ExitStack() as stack:
        number = on_first(lambda: _claim(args, stack))
        yield _named(args, number)


def _claim(args: argparse.Namespace, stack: contextlib.ExitStack) -> int:
    """Hold the folder for all processes; give its number, or 0 for a given one."""
    number = 0
    if args.out is None:
        numbers = _numbers(args.runs)
        number = numbers[-1] if args.resume and numbers else _new(args.runs, numbers)
    out = _named(args, number)
    out.mkdir(parents=True, exist_ok=True)
    stack.callback(_drop_if_empty, out)
    stack.enter_context(Lock(out))
    return number


def _named(args: argparse.Namespace, number: int) -> pathlib.Path:
    return args.runs / f"{number:03d}" if args.out is None else args.out


def _numbers(runs: pathlib.Path) -> list[int]:
    return sorted(int(path.name) for path in runs.glob("[0-9]*") if path.name.isdecimal())


def _new(runs: pathlib.Path, numbers: list[int]) -> int:
    """Make the first free folder: of two processes only one makes it."""
    number = numbers[-1] + 1 if numbers else 1
    while True:
        try:
            (runs / f"{number:03d}").mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return number


def _drop_if_empty(out: pathlib.Path) -> None:
    """Leave no folder behind a run that ended before it wrote anything."""
    with contextlib.suppress(OSError):
        out.rmdir()
