"""The processes in which trackers follow a search, from the side of the search: it starts them,
lets them be, and does not wait long for them at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cellsearch.errors import checked_arguments, command
from cellsearch.tracking.follow import FOLDER
from cellsearch.tracking.registry import require

__all__ = ["Trackers"]

PATIENCE = 20.0
"""Seconds that trackers have at the end to tell what is left."""
_LOOK_SECONDS = 0.05


class Trackers:
    """The trackers of a run, each in a process of its own that reads the store and ends with the
    search, or with its process. Leaving the ``with`` block waits until all is told, but not long.

    path: the folder of the run, which must be there.
    names: of the trackers.
    patience: seconds that they have at the end.

    Raises :class:`ConfigError` for an unknown tracker or one whose library is missing.
    """

    @checked_arguments
    def __init__(
        self, path: str | Path, names: Sequence[str], *, patience: float = PATIENCE
    ) -> None:
        self._path = Path(path)
        self._patience = patience
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._names = tuple(dict.fromkeys(names))
        for name in self._names:
            require(name)

    def __enter__(self) -> Self:
        folder = self._path / FOLDER
        for name in self._names:
            folder.mkdir(exist_ok=True)
            with open(folder / f"{name}.log", "ab") as log:
                self._running[name] = subprocess.Popen(
                    [sys.executable, "-m", "cellsearch.tracking", str(self._path), name],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the search
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            _let_go(process)  # this says that the search has ended
        until = time.monotonic() + (self._patience if error is None else min(self._patience, 3.0))
        while time.monotonic() < until and any(p.poll() is None for p in self._running.values()):
            time.sleep(_LOOK_SECONDS)

    def failures(self) -> list[str]:
        """What to say of those that have failed, in words, once for each."""
        said = []
        for name, process in list(self._running.items()):
            if process.poll():
                del self._running[name]
                _let_go(process)
                said.append(self._words(name, f"failed: {self._last_line(name)}"))
        return said

    def left_over(self) -> list[str]:
        """After the end: as :meth:`failures`, and those that did not end in time, which are
        ended.
        """
        said = self.failures()
        for name, process in self._running.items():
            if process.poll() is None:
                process.kill()
                process.wait()
                said.append(self._words(name, "did not answer in time and was ended"))
        self._running.clear()
        return said

    def _words(self, name: str, what: str) -> str:
        again = command("track", self._path, "--to", name)
        return f"the tracker {name} {what}; the run is whole, and `{again}` tells it what it missed"

    def _last_line(self, name: str) -> str:
        with open(self._path / FOLDER / f"{name}.log", "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close our end of its standard input."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
