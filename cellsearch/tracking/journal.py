"""What a tracker was told: the order of the trials, and how many of them it surely holds.

A file of lines that are appended: ``open IDENTITY``, ``trial NUMBER``, ``known COUNT``. The numbers
of trials are written before the tracker is told of them, so that a trial that is told of again,
because the process died before it was known, has the same step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cellsearch.errors import EnvironmentFailure, InputFileError
from cellsearch.files import ROOM

__all__ = ["ToldJournal"]


class ToldJournal:
    """The journal in ``file``, made if it is not there. One process at a time uses it.

    Raises :class:`InputFileError` for a file that is none, :class:`EnvironmentFailure` where it
    cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.identity = ""
        """What the tracker called what it writes; ``""`` before it was opened."""
        self.trials: list[int] = []
        """The numbers of the trials, by step."""
        self.known = 0
        """How many of them it surely holds."""
        if file.exists():
            self._read()

    def _read(self) -> None:
        text = self._file.read_bytes().decode("utf-8", "replace")
        whole = text[: text.rfind("\n") + 1]  # the last line may be torn
        for line in whole.splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "open":
                self.identity, self.trials, self.known = rest, [], 0
            elif kind == "trial" and rest.isdecimal():
                self.trials.append(int(rest))
            elif kind == "known" and rest.isdecimal() and int(rest) <= len(self.trials):
                self.known = int(rest)
            else:
                raise InputFileError(
                    f"this line is not one of a journal of trackers: {line!r:.60}",
                    where=str(self._file),
                    hint="remove the file: the tracker is told of everything again",
                )
        if len(whole) < len(text):
            with open(self._file, "r+b") as file:
                file.truncate(len(whole.encode()))

    def begin(self, identity: str) -> None:
        """The tracker writes something new: it holds nothing yet."""
        self.identity, self.trials, self.known = identity, [], 0
        self._append([f"open {identity}"])

    def add(self, numbers: Iterable[int]) -> None:
        """The tracker is about to be told of these trials."""
        added = list(numbers)
        self._append([f"trial {number}" for number in added])
        self.trials += added

    def confirm(self) -> None:
        """The tracker holds all of them."""
        if self.known < len(self.trials):
            self.known = len(self.trials)
            self._append([f"known {self.known}"])

    def _append(self, lines: list[str]) -> None:
        if not lines:
            return
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            self._file.parent.mkdir(exist_ok=True)
            descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise EnvironmentFailure(
                f"the journal of a tracker cannot be written: {error.strerror}",
                where=str(self._file),
                hint=ROOM,
            ) from error
