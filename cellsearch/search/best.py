"""The best trial of a run and the file ``best.cell``, which always holds its cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from cellsearch.files import write_atomically
from cellsearch.search.events import BestChanged, SearchEvent
from cellsearch.trial import Status, Trial

__all__ = ["BestCell"]


class BestCell:
    """Remembers the best trial so far and keeps ``best.cell`` in the folder ``run`` true. ``name``:
    that of the experiment.
    """

    def __init__(self, run: Path, name: str, *, tell: Callable[[SearchEvent], None]) -> None:
        self._file = run / "best.cell"
        self._name = name
        self._tell = tell
        self._trial: Trial | None = None

    @property
    def trial(self) -> Trial | None:
        """The best trial that the strategy proposed; the best baseline if there is none; ``None``
        if nothing has a score.
        """
        return self._trial

    def update(self, trials: Iterable[Trial]) -> None:
        """Compare with these. A trial in flight to a higher rung does not count until it is
        done.
        """
        candidates = [trial for trial in trials if _counts(trial)]
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
            f"after {result.steps} steps."
        )
        write_atomically(self._file, best.genome.to_text(doc))
        self._tell(BestChanged(best))


def _counts(trial: Trial) -> bool:
    return (
        trial.status in (Status.COMPLETED, Status.STOPPED)
        and math.isfinite(trial.score)
        and not trial.is_intermediate
    )
