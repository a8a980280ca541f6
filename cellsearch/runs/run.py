"""The door to a finished run, or to one that is being searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellsearch.runs.snapshot import Snapshot
from cellsearch.runs.trial import RunTrial
from cellsearch.trial import as_frame

__all__ = ["Run", "open_run"]


def open_run(path: str | Path) -> Run:
    """The run in this folder, as it stands now. It is only read, and never locked: a search may go
    on in it, and :func:`open_run` again shows what has come since.

    Raises :class:`RunError` if there is none, :class:`InputFileError` for a damaged store.
    """
    return Run.read(path)


class Run(Snapshot):
    """What a search has left, and all that one does with it. :func:`open_run` makes one."""

    def best(self, *, baselines: bool = False) -> RunTrial:
        """The best cell that was found; ``baselines``: or a control that is better. Raises
        :class:`NoCandidateError` if there is none.
        """
        return RunTrial(self, self.find_best(baselines=baselines))

    def trial(self, number: int) -> RunTrial:
        """One trial. Raises :class:`RunError` if the run has none of this number."""
        return RunTrial(self, self.find(number))

    def to_rows(self) -> list[dict[str, Any]]:
        """The history as a table: the rows of :meth:`cellsearch.trial.History.to_rows`, and
        ``ended``, the seconds of searching until the trial ended.
        """
        return [{**row, "ended": self.ended.get(row["number"])} for row in self.trials.to_rows()]

    def to_frame(self, library: str = "") -> Any:
        """:meth:`to_rows` as a pandas or polars frame, see
        :meth:`cellsearch.trial.History.to_frame`.
        """
        return as_frame(self.to_rows(), library)

    def __repr__(self) -> str:
        counts = self.counts
        done = counts["completed"] + counts["stopped"]
        best = self.trials.best(baselines=False)
        score = f", best {best.score:.6g} ({best.name})" if best is not None else ""
        return f"<run {self.path}: {done} of {counts['asked_for']} trials trained{score}>"
