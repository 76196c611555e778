"""One process at a time in a run's folder."""

import datetime
import json
import os
import pathlib
import socket
from typing import IO

from gpt.errors import OptionError

try:
    import fcntl
except ImportError:  # not on Windows, where a folder is not guarded
    fcntl = None

NAME = "run.lock"


class Lock:
    """Holds a folder for this process; a lock whose process is gone is no lock, since the system lets go of it.

    Raises:
        OptionError: on entering, where another process holds the folder; it names that process.
    """

    def __init__(self, folder: pathlib.Path):
        self.path, self.file = folder / NAME, None

    def __enter__(self) -> "Lock":
        while self.file is None:
            file = self.path.open("a+")
            self._hold(file)
            # Whoever held it before may have removed the file between the two lines above.
            if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                self.file = file
            else:
                file.close()
        self.file.truncate(0)
        self.file.write(json.dumps(identity()) + "\n")
        self.file.flush()
        return self

    def __exit__(self, *error: object) -> None:
        if self.file is not None:
            self.path.unlink(missing_ok=True)  # still held: nobody else can remove another one's
            self.file.close()

    def _hold(self, file: IO[str]) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = _described(file.read())
            file.close()
            raise OptionError(
                f"{self.path.parent} is in use by {holder}: wait for it, or choose another --out"
            ) from None


def identity() -> dict[str, str | int]:
    """Say which process this is."""
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "start": began}


def _described(text: str) -> str:
    try:
        held = json.loads(text)
        return f"process {held['pid']} on {held['host']}, since {held['start']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
