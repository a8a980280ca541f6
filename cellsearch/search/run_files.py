"""Files of a run beside its store: which checkpoints it keeps and where, and ``best.cell``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from cellsearch.errors import amount
from cellsearch.files import remove_abandoned, write_atomically
from cellsearch.history import History
from cellsearch.job import JobId
from cellsearch.search.events import BestChanged, SearchEvent
from cellsearch.trial import Trial

__all__ = ["BestCell", "Checkpoints", "inheritable"]

_BEST = 10
_NEWEST = 64
_MARGIN = 20
_FILE = re.compile(r"trial-(\d+)(\.r\d+)?\.safetensors")


def inheritable(history: History, number: int) -> bool:
    """Whether the next trial may start from the weights of this one: it is one of the best 10 or of
    the newest 64.

    Decided by the history that the strategy saw, not by which files are there, so that it does not
    depend on who was faster.
    """
    trial = history.by_number.get(number)
    if trial is None or trial.result is None or not trial.result.checkpoint:
        return False
    return number >= len(history) - _NEWEST or any(
        best.number == number for best in history.top(_BEST)
    )


class Checkpoints:
    """The folder ``checkpoints`` of a run: ``trial-00012.safetensors``, and
    ``trial-00012.r1.safetensors`` after a higher rung.

    A rung has a file of its own, because a killed job of a higher rung starts again from the file
    of the rung below.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._folder = (run / "checkpoints").absolute()
        self._prefix = os.path.join(self._folder, "trial-")

    def path(self, job: JobId) -> str:
        """Where the checkpoint of a job is written."""
        return f"{self._prefix}{job.trial:05d}{f'.r{job.rung}' if job.rung else ''}.safetensors"

    def relative(self, path: str) -> str:
        """The path as the store keeps it: relative to the run, so that a run can be moved; ``""``
        stays.
        """
        if not path:
            return ""
        try:
            return Path(path).absolute().relative_to(self._run.absolute()).as_posix()
        except ValueError:  # an evaluation that keeps its checkpoints elsewhere
            return path

    def absolute(self, path: str) -> str:
        """The path as a job gets it."""
        return str((self._run / path).absolute()) if path else ""

    def clean(self) -> None:
        """Remove what killed processes have left half-written. Called while nobody trains."""
        remove_abandoned(self._run)
        if self._folder.is_dir():
            for file in self._folder.glob("trial-*.tmp"):
                if not file.is_dir():
                    file.unlink(missing_ok=True)

    def sweep(self, history: History, pinned: Collection[str]) -> None:
        """Delete the files of trials that are neither among the best nor the newest nor unfinished.

        history: what the last decision knew, so that no later decision can want a file that is
        gone (the best of a longer history are among the best of a shorter one and those that came
        since; a margin covers trials that fall back at a higher rung).
        pinned: paths relative to the run that jobs under way read.
        """
        if not self._folder.is_dir():
            return
        kept = (*history.top(_BEST + _MARGIN), *history.unfinished)
        keep = {trial.number for trial in kept}
        newest = {
            trial.number: trial.result.checkpoint for trial in kept if trial.result is not None
        }
        for file in self._folder.iterdir():
            match = _FILE.fullmatch(file.name)
            if match is None:
                continue
            number, path = int(match[1]), self.relative(str(file))
            if number in keep:
                # Of a trial that is kept, files of lower rungs go once the higher one has its
                # result.
                obsolete = (
                    bool(newest.get(number))
                    and history.by_number[number].status.finished
                    and path != newest[number]
                )
            else:
                obsolete = number < len(history) - _NEWEST
            if obsolete and path not in pinned:
                file.unlink(missing_ok=True)


class BestCell:
    """Remembers the best trial so far, and keeps ``best.cell`` true, which holds its cell.

    run: the folder.
    name: the experiment's, which the file mentions.
    tell: learns of each new best trial.
    """

    def __init__(self, run: Path, name: str, *, tell: Callable[[SearchEvent], None]) -> None:
        self._file = run / "best.cell"
        self._name = name
        self._tell = tell
        self._trial: Trial | None = None

    @property
    def trial(self) -> Trial | None:
        """The best trial that the strategy proposed; the best baseline if there is none; ``None``
        while nothing has a score.
        """
        return self._trial

    def update(self, trials: Iterable[Trial]) -> None:
        """Compare with these. A trial in flight to a higher rung does not count until it is
        done.
        """
        candidates = [trial for trial in trials if trial.ranks]
        if self._trial is not None:
            candidates.append(self._trial)
        if not candidates:
            return
        best = min(candidates, key=lambda trial: (trial.is_baseline, trial.score, trial.number))
        if self._trial is not None and best.number == self._trial.number:
            return
        self._trial = best
        result = best.result
        assert result is not None
        doc = (
            f"Best cell of {self._name}: trial {best.number}, score {result.score:.6g} "
            f"after {amount(result.steps, 'step')}."
        )
        write_atomically(self._file, best.genome.to_text(doc))
        self._tell(BestChanged(best))
