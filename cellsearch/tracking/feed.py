"""The trials of a run in the order in which they ended, as a tracker is told of them: read from the
store, which is never locked, so also of a run that another process searches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path

from cellsearch import options
from cellsearch.errors import RunError
from cellsearch.store import Store
from cellsearch.tracking.base import CurvePoint, TrackedCell, TrackedRun, TrackedTrial
from cellsearch.trial import Status, Trial

__all__ = ["Feed", "tracked_run"]

CURVES = 200
"""Learning curves that a tracker is given, besides those of baselines and of each new best."""


def tracked_run(path: Path) -> TrackedRun:
    """What a tracker is told of the run first. Raises :class:`RunError` for a run without an
    experiment, which was ended while it was made.
    """
    with Store.read(path) as store:
        settings, created = store.experiment, store.created
    declared = options.parse_toml(settings, str(path / "experiment.toml"))
    if "trials" not in declared or "name" not in declared:
        raise RunError(
            "the experiment that the store holds is not whole",
            where=str(path),
            hint="search with the experiment again",
        )
    return TrackedRun(
        path=path.absolute(),
        name=str(declared["name"]),
        question=str(declared.get("question", "")),
        settings=settings,
        options=dict(_flat(declared)),
        created=created,
        asked_for=int(declared["trials"]),
    )


def _flat(table: object, path: str = "") -> list[tuple[str, str]]:
    if not isinstance(table, dict):
        text = ", ".join(map(str, table)) if isinstance(table, list | tuple) else str(table)
        return [(path, text)]
    return [
        pair for key, value in table.items() for pair in _flat(value, f"{path}.{key}".lstrip("."))
    ]


class Feed:
    """Follows the run in folder ``path`` from where somebody was told of it.

    told: the numbers of the trials that were told of, in that order; ``None``: all that have ended.
    """

    def __init__(self, path: Path, told: Sequence[int] | None) -> None:
        self._path = path
        self._store = Store.read(path)
        self._seen = self._store.lookup.count
        self._pending = (
            set(range(self._seen)) - set(told)
            if told is not None
            else set(self._store.lookup.unfinished)
        )
        self._step = 0
        self._best = math.inf
        self._failed = self._curves = 0
        self.leader: TrackedCell | None = None
        """The best found cell of those that were told of."""

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    @property
    def counted(self) -> int:
        """How many of the trials that the experiment asks for have ended."""
        return self._store.lookup.totals().ended

    @property
    def writer(self) -> str:
        """Who searches in the run, in words; ``""``: nobody."""
        return Store.writer(self._path)

    def ended(self) -> list[int]:
        """The numbers of trials that have ended and were not told of, in the order in which they
        did.
        """
        lookup = self._store.lookup
        count = lookup.count  # before what is unfinished: what comes between is too
        unfinished = set(lookup.unfinished)
        self._pending.update(range(self._seen, count))
        self._seen = max(self._seen, count)
        found = sorted(self._pending - unfinished)
        self._pending.difference_update(found)
        times = {number: self._ended_at(number) for number in found}
        return sorted(
            (n for n in found if times[n] is not None), key=lambda n: (times[n] or 0.0, n)
        )

    def _ended_at(self, number: int) -> float | None:
        """When it ended; ``None`` for a duplicate, which was answered and not trained."""
        rows = self._store.lookup.rows("SELECT max(ended) FROM rungs WHERE trial = ?", number)
        return None if rows[0][0] is None else float(rows[0][0])

    def tell(self, number: int) -> tuple[TrackedTrial, TrackedCell | None]:
        """What is told of the next trial, and its cell if it is the best so far. Called for all
        that were told of as well, in the same order, because what comes next counts on from them.
        """
        trial = self._store.trial(number)
        is_better = trial.standing < self._best
        self._best = min(self._best, trial.standing)
        self._failed += trial.status is Status.FAILED
        shown = trial.is_baseline or is_better or self._curves < CURVES
        self._curves += shown
        told = TrackedTrial(
            step=self._step,
            time=self._ended_at(number) or 0.0,
            number=number,
            name=trial.name,
            is_baseline=trial.is_baseline,
            values=self._values(trial),
            curve=tuple(starmap(CurvePoint, trial.curve)) if shown else (),
        )
        self._step += 1
        cell = self._cell(trial, told) if is_better else None
        if trial.ranks and not trial.is_baseline and self._leads(trial):
            self.leader = self._cell(trial, told)
        return told, cell

    def _leads(self, trial: Trial) -> bool:
        return self.leader is None or (trial.score, trial.number) < (
            self.leader.score,
            self.leader.trial.number,
        )

    def _values(self, trial: Trial) -> dict[str, float]:
        values = {"search/best_score": self._best, "search/failed": float(self._failed)}
        result = trial.result
        if result is not None and trial.status is not Status.FAILED:
            values |= {
                "trial/score": result.score,
                "trial/metric": result.metric,
                "trial/cell_weights": float(result.cell_parameters),
                "trial/seconds": result.seconds,
                "trial/steps": float(result.steps),
            }
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def _cell(self, trial: Trial, told: TrackedTrial) -> TrackedCell:
        result = trial.result
        assert result is not None
        kept = self._path.absolute() / result.checkpoint if result.checkpoint else None
        return TrackedCell(
            trial=told,
            genome=trial.genome,
            origin=str(trial.proposal.origin),
            reason=trial.proposal.reason,
            score=trial.score,
            weights=result.cell_parameters,
            checkpoint=kept if kept is not None and kept.is_file() else None,
        )
