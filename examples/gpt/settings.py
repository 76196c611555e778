"""What a resumed run must share with the run that it goes on with."""

import argparse
import json
import pathlib
from collections.abc import Callable

from gpt.errors import OptionError
from gpt.files import replace_text

NAME = "settings.json"
# Where and how a run goes may change; so may what only says when to look at it, to save or to stop.
FREE = (
    "defaults",
    "recipe",
    "runs",
    "out",
    "resume",
    "eval_every",
    "save_every",
    "nonfinite_steps",
    "tensorboard",
    "writer",
    "profile",
    "devices",
    "distributed",
    "tensor",
    "remat",
    "compile_only",
    "preset",
    "data",  # the text's digest tells
)


def chosen(args: argparse.Namespace) -> dict:
    """Give the options that change the result."""
    return {k: v for k, v in vars(args).items() if k not in FREE}


def read(out: pathlib.Path, of_checkpoint: Callable[[], dict | None]) -> tuple[dict, bool]:
    """Give the settings of the run in a folder, and whether its file had to be done without.

    Args:
        out: the folder.
        of_checkpoint: reads the settings that the checkpoint holds, if any.

    Raises:
        OptionError: if neither says them.
    """
    path = out / NAME
    wrong = "is missing"
    if path.exists():
        try:
            found = json.loads(path.read_text())
            if isinstance(found, dict):
                return found, False
        except ValueError:
            pass
        wrong = "cannot be read"
    if held := of_checkpoint():
        return held, True
    raise OptionError(
        f"{path} {wrong}, and the checkpoint does not hold the settings either: write there the options that the run "
        'was started with, {"seed": 3} for instance; those that it does not name are at their defaults'
    )


def compare(saved: dict, now: dict, defaults: dict) -> None:
    """Raise where a resumed run would differ; an option that is younger than the run was at its default."""
    before = {k: saved.get(k, defaults.get(k)) for k in now}
    changed = [f"{k} {before[k]} -> {v}" for k, v in now.items() if before[k] != v]
    unknown = [k for k, v in saved.items() if k not in now and k not in FREE and v is not None]
    changed += [f"{k} {saved[k]} -> an option that is not known here" for k in unknown]
    if changed:
        raise OptionError(f"cannot resume with other settings: {', '.join(changed)}")


def write(out: pathlib.Path, settings: dict) -> None:
    """Save them beside the checkpoints."""
    replace_text(out / NAME, json.dumps(settings, indent=2) + "\n")
