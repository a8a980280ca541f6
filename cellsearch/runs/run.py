"""A run as commands read it: everything from its store, nothing of the search that wrote it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellsearch import options as tomltext
from cellsearch.errors import InputFileError, NoCandidateError
from cellsearch.reporting.progress import cell_name
from cellsearch.store import Environment, Store, Timing
from cellsearch.trial import History, Trial

__all__ = ["RunData", "read_run", "trial_record"]

_FINALS = ("name", "baseline", "mean", "deviation", "scores", "failures", "parameters", "hidden_size", "learning_rate", "p")


@dataclass(frozen=True)
class RunData:
    """A run at one moment. ``settings``: the resolved experiment text; ``writer``: who searches in
    it now, ``""`` for nobody.
    """

    folder: Path
    history: History
    settings: str
    created: float
    timings: tuple[Timing, ...]
    environments: tuple[Environment, ...]
    answered: int
    writer: str

    @property
    def experiment(self) -> Mapping[str, Any]:
        """The resolved experiment as plain values."""
        return tomltext.parse(self.settings, str(self.folder / "experiment.toml"))

    @property
    def ended(self) -> Mapping[int, float]:
        """Seconds of searching until each trial ended: pauses between two sittings of a resumed run
        are left out.
        """
        times: dict[int, float] = {}
        elapsed, before = 0.0, self.created
        openings = [environment.opened for environment in self.environments[1:]]
        for timing in sorted((t for t in self.timings if t.ended is not None), key=lambda t: t.ended or 0.0):
            ended = timing.ended or 0.0
            opened = max((o for o in openings if before < o <= ended), default=before)
            elapsed += ended - max(before, opened)
            before = ended
            times[timing.trial] = elapsed
        return times

    def finals(self) -> Mapping[str, Any] | None:
        """What ``cellsearch finals`` wrote into the run's folder; ``None`` before it ran. Raises
        :class:`InputFileError`.
        """
        path = self.folder / "finals.json"
        if not path.is_file():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            rows, sentence = [{name: row[name] for name in _FINALS} for row in document["rows"]], str(document["sentence"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputFileError(f"this is no table of finals ({error})", where=str(path), hint="delete it, or run finals again") from error
        return {"rows": rows, "sentence": sentence}

    def best(self, *, baselines: bool = False) -> Trial:
        """The best cell that was found. Raises :class:`NoCandidateError` if there is none."""
        trial = self.history.best(baselines=baselines)
        if trial is None and any(t.is_intermediate and t.score < math.inf for t in self.history):
            raise NoCandidateError(
                "the run has no pruned cell yet: those with a score have connections still to be removed",
                where=str(self.folder),
                hint="search on with more --trials",
            )
        if trial is None:
            raise NoCandidateError(
                f"the run has no cell with a score among {len(self.history)} trials",
                where=str(self.folder),
                hint=f"cellsearch ls {self.folder} says what became of them",
            )
        return trial


def read_run(folder: Path) -> RunData:
    """Read a run, also while it is being searched. Raises :class:`RunError` if there is none in
    this folder.
    """
    with Store.read(folder) as store:
        history = store.history()
        repeated = sum(trial.duplicate_of is not None for trial in history)
        return RunData(
            folder=folder,
            history=history,
            settings=store.experiment,
            created=store.created,
            timings=store.timings(),
            environments=store.environments(),
            answered=len(store.duplicates()) + repeated,
            writer=Store.writer(folder),
        )


def trial_record(trial: Trial) -> dict[str, Any]:
    """A trial as plain data for ``--json``; numbers that do not exist are null."""
    result = trial.result
    return {
        "number": trial.number,
        "name": cell_name(trial),
        "origin": trial.proposal.origin,
        "parents": list(trial.proposal.parents),
        "baseline": trial.is_baseline,
        "intermediate": trial.is_intermediate,
        "status": trial.status.value,
        "score": trial.score,
        "metric": result.metric if result else None,
        "steps": result.steps if result else None,
        "seconds": result.seconds if result else None,
        "parameters": result.parameters if result else None,
        "cell_parameters": result.cell_parameters if result else None,
        "nodes": len(trial.genome.nodes),
        "checkpoint": result.checkpoint if result else None,
        "failure": {"kind": trial.failure.kind, "message": trial.failure.message} if trial.failure else None,
        "duplicate_of": trial.duplicate_of,
    }
