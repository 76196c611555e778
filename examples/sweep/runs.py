"""Finished runs, remembered in a file, so that a long comparison goes on where it was stopped."""

import dataclasses
import json
import pathlib


@dataclasses.dataclass
class Runs:
    """Finished runs, one line of JSON each, found by what decides them; the file only grows."""

    file: pathlib.Path

    def __post_init__(self):
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.done = {_name(entry["key"]): entry for entry in map(json.loads, lines)}

    def recall(self, key: dict) -> dict | None:
        """Find a run by its key."""
        return self.done.get(_name(key))

    def add(self, key: dict, values: dict) -> dict:
        """Remember a run."""
        entry = {"key": key, **values}
        with self.file.open("a") as out:
            out.write(json.dumps(entry) + "\n")
        self.done[_name(key)] = entry
        return entry


def _name(key: dict) -> str:
    return json.dumps(key, sort_keys=True)
