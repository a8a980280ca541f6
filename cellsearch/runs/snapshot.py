"""A run as it stands in its folder, read from its store."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cellsearch import options
from cellsearch.errors import NoCandidateError, RunError, amount, checked_arguments, command
from cellsearch.history import History
from cellsearch.job import Naive
from cellsearch.store import Environment, Records, Store, Timing
from cellsearch.store.lookup import Course
from cellsearch.store.naive import read_naive
from cellsearch.trial import BASELINE, Status, Trial

if TYPE_CHECKING:
    from cellsearch.experiment import Experiment
    from cellsearch.tasks.base import Arrays
    from cellsearch.tasks.own_data import Given

__all__ = ["ABLATIONS", "FINALS", "Snapshot", "ablation_files", "finals_file", "safe_name"]

FINALS = "finals.json"
"""The file of a run's folder that holds the table of its finals."""
ABLATIONS = "ablation"
"""The folder of a run's folder that holds the tables of ablations of its cells."""


def finals_file(name: str) -> str:
    """The file of a run's folder that holds the table of its finals on these tasks, or this
    suite.
    """
    # Earlier tables are kept under names that end in a number.
    return f"finals-{safe_name(name, taken=r'(^|-)[0-9]+$')}.json"


def ablation_files(run: Path) -> dict[int, Path]:
    """The tables of ablations in a run's folder, by the number of the trial."""
    found = {}
    for path in (run / ABLATIONS).glob("trial-*.json"):
        if number := re.fullmatch(r"trial-([0-9]{1,9})\.json", path.name):
            found[int(number[1])] = path
    return dict(sorted(found.items()))


def safe_name(name: str, *, taken: str = "") -> str:
    """What a file is called after ``name``: what it had better not be called is replaced, and a
    digest of the name tells it from others.

    taken: a pattern of names that mean something else; ``""``: none do.
    """
    safe = re.sub(r"[^A-Za-z0-9_+-]+", "_", name)[:60]
    if safe != name or (taken and re.search(taken, safe)):
        safe += f"_{sha256(name.encode()).hexdigest()[:8]}"
    return safe


_EXPECTED = {"name": str, "task": str, "strategy": str, "training": Mapping}
"""What every resolved experiment says, and as what."""


@dataclass(frozen=True, repr=False, eq=False)
class Snapshot:
    """What a run's store held at one moment. It is not locked, and does not follow a search that
    goes on.
    """

    path: Path
    """The folder of the run."""
    trials: History
    """Every trial; a duplicate shows the results of the trial that answers it."""
    settings: str
    """The resolved experiment as TOML text."""
    created: float
    """When the run was made, in seconds since 1970."""
    environments: tuple[Environment, ...]
    """The machines and versions that searched in it, in order."""
    answered: int
    """How many proposals were answered from the history instead of being trained."""
    writer: str
    """Who searches in it at that moment, in words; ``""`` for nobody."""
    _store: Store
    """From which the rest is read when it is asked for, as of that moment."""
    remembered: Mapping[str, Any]
    """What it remembers of the user's own data, as plain data."""
    data: Given = None
    """Where these data lie now, as the caller said it; ``None``: where the run knows."""

    @classmethod
    @checked_arguments
    def read(cls, path: str | Path, data: Given = None) -> Self:
        """Read a run, also while it is being searched.

        data: where the user's own data lie now, if not where the run knows.

        Raises :class:`RunError` if there is none in this folder, :class:`InputFileError` for a
        damaged store.
        """
        folder = Path(path)
        store = Store.read(folder)
        store.hold()
        trials = Records(store.lookup).view()
        return cls(
            path=folder,
            trials=trials,
            settings=store.experiment,
            created=store.created,
            environments=store.environments(),
            answered=store.answered + trials.totals.statuses[Status.DUPLICATE],
            writer=Store.writer(folder),
            _store=store,
            remembered=store.data,
            data=data,
        )

    @cached_property
    def timings(self) -> tuple[Timing, ...]:
        """When and where each job ran."""
        return self._store.timings()

    @property
    def _settings_name(self) -> str:
        return str(self.path / "experiment.toml")

    @cached_property
    def declared(self) -> Mapping[str, Any]:
        """The resolved experiment as plain values. Raises :class:`RunError` for a run without one,
        which was ended while it was made.
        """
        declared = options.parse_toml(self.settings, self._settings_name)
        for key, kind in _EXPECTED.items():
            if not isinstance(declared.get(key), kind):
                raise RunError(
                    f"the experiment that the store holds is not whole: it has no {key}",
                    where=str(self.path),
                    hint="search with the experiment again; that goes on with a run that was "
                    "ended while it was made",
                )
        return declared

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment. Raises :class:`ConfigError` if it needs something that is not installed
        here, such as a strategy of another package.
        """
        from cellsearch.experiment import parse_experiment  # needs torch, as listing a run does not

        return parse_experiment(self.declared, source=self._settings_name, folder=self.path)

    def load_arrays(self) -> Arrays:
        """The data of the task, from where they lie now. Raises :class:`ConfigError` for data that
        are not there, :class:`RunError` for others than those of the run.
        """
        from cellsearch.search.own_data import placed  # these load torch
        from cellsearch.training import prepare

        task = self.declared["task"]
        options = self.declared.get("task_options", {})
        where = placed(task, options, self.path, self.remembered, self.data)
        return prepare(task, where).arrays

    @cached_property
    def metric(self) -> str:
        """Name of the task's own number."""
        if self._store.metric:
            return self._store.metric
        from cellsearch.tasks.suite import metric_of  # loads torch, as listing a run does not

        best = next(iter(self.trials.top(1)), None)
        return metric_of(self.declared["task"], best.result if best is not None else None)

    @cached_property
    def naive(self) -> tuple[Naive, ...]:
        """What is reached without a cell on the validation data, best first; nothing where the task
        does not say it. Raises :class:`InputFileError` for a damaged file.
        """
        return read_naive(self.path)

    @cached_property
    def ended(self) -> Mapping[int, float]:
        """Seconds of searching until each trial ended: pauses between two sittings of a resumed run
        are left out.
        """
        times: dict[int, float] = {}
        elapsed, before = 0.0, self.created
        openings = [environment.opened for environment in self.environments[1:]]
        over = self._store.lookup.rows("SELECT ended, trial FROM rungs WHERE ended IS NOT NULL")
        for ended, trial in sorted(over):
            opened = max([o for o in openings if before < o <= ended], default=before)
            elapsed += ended - max(before, opened)
            before = ended
            times[trial] = elapsed
        return times

    def course(self) -> Iterator[Course]:
        """The trials that have ended, in order of number, as the indexes of the store know them."""
        return self._store.lookup.course()

    def cells(self) -> Iterator[tuple[str, int, float]]:
        """Key of the genome, number and score of each trial that has a place among the results,
        baselines left out, in order of number; also from the indexes.
        """
        return self._store.lookup.cells()

    @property
    def counts(self) -> dict[str, int]:
        """How many trials were ``asked_for``, how many have each status, and how many proposals
        were ``answered`` from the history.
        """
        count = {status.value: self.trials.totals.statuses[status] for status in Status}
        return {"asked_for": int(self.declared["trials"]), **count, "answered": self.answered}

    @checked_arguments
    def find(self, number: int) -> Trial:
        """The record of a trial. Raises :class:`RunError` if the run has none of this number."""
        trial = self.trials.by_number.get(number)
        if trial is None:
            raise RunError(
                f"the run has no trial {number}",
                where=str(self.path),
                hint=f"{command('ls', self.path)} lists its {len(self.trials)} trials",
            )
        return trial

    @checked_arguments
    def find_best(self, *, baselines: bool = False) -> Trial:
        """The record of the best cell that was found; ``baselines``: or of a control that is
        better. Raises :class:`NoCandidateError` if there is none.
        """
        trial = self.trials.best(baselines=baselines)
        if trial is not None:
            return trial
        if any(t.is_intermediate and t.score < math.inf for t in self.trials):
            raise NoCandidateError(
                "the run has no pruned cell yet: those with a score have connections still to be "
                "removed",
                where=str(self.path),
                hint="search on with more --trials",
            )
        raise NoCandidateError(
            f"the run has no cell with a score among {amount(len(self.trials), 'trial')}",
            where=str(self.path),
            hint=f"{command('ls', self.path)} says what became of them",
        )

    @checked_arguments
    def better_baselines(self, trial: Trial) -> tuple[Trial, ...]:
        """The baselines whose score is better than that of a trial, best first."""
        controls = [t for t in self.trials.of_kind(BASELINE) if t.is_scored]
        controls.sort(key=lambda control: (control.score, control.number))
        return tuple(t for t in controls if t.score < trial.score and t.number != trial.number)

    @checked_arguments
    def doubt(self, trial: Trial) -> str:
        """Why a trial is not the improvement that one may take it for, in words: it failed, has no
        score yet, or a baseline is better; ``""`` where nothing speaks against it.
        """
        name = f"trial {trial.number}"
        if trial.failure is not None:
            return f"{name} failed ({trial.failure.kind}): {trial.failure.message}"
        if not trial.score < math.inf:
            return f"{name} has no score: it is {trial.status.value}"
        better = self.better_baselines(trial)
        naive = next((one for one in self.naive if one.score < trial.score), None)
        if naive is not None and not trial.is_baseline:
            return (
                f"{name} (score {trial.score:.6g}) is worse than what needs no cell: {naive.name} "
                f"({naive.score:.6g})"
            )
        if trial.is_baseline or not better:
            return ""
        listed = " and ".join(f"{control.name} ({control.score:.6g})" for control in better)
        plural = "s" * (len(better) > 1)
        return f"{name} (score {trial.score:.6g}) is worse than the baseline{plural} {listed}"

    @checked_arguments
    def has_weights(self, trial: Trial) -> bool:
        """Whether the run has kept the checkpoint of a trial: it keeps those of its best and its
        newest.
        """
        result = trial.result
        return (
            result is not None
            and bool(result.checkpoint)
            and (self.path / result.checkpoint).is_file()
        )

    @property
    def kept(self) -> tuple[int, ...]:
        """The numbers of the trials whose weights are kept."""
        return tuple(trial.number for trial in self.trials if self.has_weights(trial))
