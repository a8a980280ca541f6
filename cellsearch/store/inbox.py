"""What was told a run from outside and no search has taken up yet: the folder ``told``, one file a
cell.

A search is the only writer of a store, and may be at work, or not, when somebody proposes a cell
(``cellsearch tell``). So a cell is put down as a file of its own, whole or not at all, which needs
no lock; whoever searches takes the files up in the order in which they came, and removes each when
the trial is in the store. Killed in between, the next search finds a cell that the run knows.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cellsearch.errors import InputFileError
from cellsearch.files import failpoint, read_plain, write_atomically
from cellsearch.genome.graph import Genome
from cellsearch.store.lock import require_plain

__all__ = ["INBOX", "MAX_REASON", "Inbox", "Letter", "ToldCell"]

INBOX = "told"
"""The folder in the run's."""
MAX_REASON = 10_000
"""Characters of a reason, at most."""
_MAX_LETTER = 4_194_304
_FORMAT = 1
_SUFFIX, _UNREADABLE = ".json", ".unreadable"


@dataclass(frozen=True, slots=True)
class ToldCell:
    """A cell that somebody outside of the search proposes."""

    genome: Genome
    """The cell."""
    reason: str = ""
    """Why, in words; ``""``: nothing was said."""
    parents: tuple[int, ...] = ()
    """Numbers of the trials that it came from, as the proposer says."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One file of an inbox."""

    path: Path
    """Where it lies."""

    def read(self) -> ToldCell:
        """The cell in it. Raises :class:`InputFileError` for a file that :meth:`Inbox.put` did not
        write.
        """
        where = str(self.path)
        require_plain(self.path.parent, (self.path.name,))
        try:
            if self.path.stat().st_size > _MAX_LETTER:
                raise InputFileError(f"larger than {_MAX_LETTER} bytes", where=where)
            document = json.loads(read_plain(self.path))
            reason, parents = document["reason"], document["parents"]
            cell = document["cell"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputFileError(
                f"this is not a told cell: {type(error).__name__}: {error}", where=where
            ) from error
        fits = isinstance(reason, str) and len(reason) <= MAX_REASON and isinstance(cell, str)
        if not fits or not isinstance(parents, list) or not all(type(n) is int for n in parents):
            raise InputFileError("this is not a told cell: a value has a wrong type", where=where)
        return ToldCell(Genome.from_json(cell, source=where), reason, tuple(parents))

    def remove(self) -> None:
        """It is taken up."""
        failpoint("inbox: taken up")
        with suppress(FileNotFoundError):
            self.path.unlink()

    def set_aside(self) -> None:
        """It cannot be read: leave it under another name, for people to look at."""
        with suppress(FileNotFoundError):
            self.path.replace(self.path.with_suffix(_UNREADABLE))


class Inbox:
    """The told cells of the run in ``folder`` that wait. Needs no lock."""

    def __init__(self, folder: Path) -> None:
        self._run = folder
        self.path = folder / INBOX

    def put(self, cells: Sequence[ToldCell]) -> list[Letter]:
        """Put down each cell, in this order. When it returns they survive the death of any process,
        and loss of power. Raises :class:`EnvironmentFailure` where nothing can be written,
        :class:`InputFileError` where something else than a folder is in the way.
        """
        require_plain(self._run, (), (INBOX,))
        letters = []
        for told in cells:
            text = json.dumps(
                {
                    "format": _FORMAT,
                    "reason": told.reason,
                    "parents": list(told.parents),
                    "cell": told.genome.to_json(),
                }
            )
            # time first: the order of names is that of arrival
            name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
            write_atomically(self.path / name, text, what="told cell")
            letters.append(Letter(self.path / name))
        return letters

    def letters(self) -> list[Letter]:
        """What waits, in the order in which it came."""
        try:
            names = os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [Letter(self.path / n) for n in sorted(names) if n.endswith(_SUFFIX)]

    def waiting(self) -> list[ToldCell]:
        """The told cells that wait and can be read, in the order in which they came."""
        found = []
        for letter in self.letters():
            with suppress(InputFileError):  # taken up meanwhile, or left for the search to report
                found.append(letter.read())
        return found
