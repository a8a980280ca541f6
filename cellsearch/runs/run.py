"""The door to a finished run, or to one that is being searched."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellsearch import strategies
from cellsearch.ablation import AblationTable
from cellsearch.errors import RunError, SearchWarning, amount, checked_arguments
from cellsearch.files import write_atomically, write_new
from cellsearch.history import as_frame
from cellsearch.reporting.notebook import framed
from cellsearch.reporting.page import cell, leaderboard
from cellsearch.reporting.report import Report, render_report
from cellsearch.reporting.workers import Span, WorkerLine, worker_lines
from cellsearch.runs.snapshot import FINALS, Snapshot, ablation_files
from cellsearch.runs.trial import RunTrial
from cellsearch.trial import Trial

if TYPE_CHECKING:  # these load torch
    from cellsearch.executors.base import Executor
    from cellsearch.export.write import Exported, Form
    from cellsearch.finals import FinalTable, FinalTables
    from cellsearch.genome.graph import Genome
    from cellsearch.job import Outcome, Precision
    from cellsearch.runs.finals import FinalPlan
    from cellsearch.runs.finals_on import FinalPlans
    from cellsearch.runs.telling import ToldAnswer
    from cellsearch.tasks.own_data import Given

__all__ = ["Run", "open_run"]

_FILES = ("text", "path")
"""Task options that name a file of the user's own."""
SHOWN = 12
"""Rows of the table that a notebook shows."""


@checked_arguments
def open_run(path: str | Path, *, data: Given = None) -> Run:
    """The run in this folder, as it stands now. It is only read, and never locked: a search may go
    on in it, and :func:`open_run` again shows what has come since.

    data: where your own data lie now, for what reads them: a path, or paths by option. The run
        knows its data by their digest, and finds them itself where they have not moved.

    Raises :class:`RunError` if there is none, :class:`InputFileError` for a damaged store.
    """
    folder, colon, number = str(path).rpartition(":")
    if colon and number.isdecimal() and not Path(path).exists():
        raise RunError(
            "this names a trial, not a run",
            where=str(path),
            hint=f"cellsearch.open_run({folder!r}).trial({number})",
        )
    return Run.read(path, data)


class Run(Snapshot):
    """What a search has left, and all that one does with it. :func:`open_run` makes one."""

    @checked_arguments
    def best(self, *, baselines: bool = False) -> RunTrial:
        """The best cell that was found; ``baselines``: or a control that is better. Raises
        :class:`NoCandidateError` if there is none; a :class:`cellsearch.errors.SearchWarning` says
        that a baseline is better than what was found.
        """
        found = self.find_best(baselines=baselines)
        if doubt := self.doubt(found):
            warnings.warn(f"the best cell of {self.path}, {doubt}", SearchWarning, stacklevel=3)
        return RunTrial(self, found)

    @checked_arguments
    def doubt(self, trial: Trial) -> str:
        """See :meth:`Snapshot.doubt`; what the finals have found speaks against a trial, too."""
        said = super().doubt(trial)
        table = self.finals() if not said else None
        word, about = table.headline_of(trial.name) if table is not None else ("", "")
        return f"{word}: {about}" if word == "not better" or about.startswith("worse") else said

    @checked_arguments
    def trial(self, number: int) -> RunTrial:
        """One trial. Raises :class:`RunError` if the run has none of this number."""
        return RunTrial(self, self.find(number))

    @checked_arguments
    def ask(self, *, best: int = 8, failed: int = 8) -> dict[str, Any]:
        """All that one needs to propose a cell for the run, as plain data: the task, what a cell
        may be and how it is written, the best cells, what failed and why.

        best, failed: so many of the best cells, and of the newest that failed or were refused.
        """
        from cellsearch.runs.asking import briefing

        return briefing(Run.read(self.path, self.data), best=best, failed=failed)

    @checked_arguments
    def tell(
        self,
        cells: Genome | str | Sequence[Genome | str],
        reason: str = "",
        parents: Sequence[int] = (),
    ) -> tuple[ToldAnswer, ...]:
        """Propose cells for the run: genomes, or texts as
        :func:`cellsearch.runs.telling.read_cells` reads them. They wait for the search that is at
        work in it, or the next one.

        reason: why, in words; of cells that do not say so themselves.
        parents: numbers of the trials that they came from.

        Returns what became of each, in order; a wrong cell is refused, its error in the answer.
        Raises :class:`InputFileError` for a text that is no list of cells at all.
        """
        from cellsearch.runs.telling import as_written, tell

        return tell(Run.read(self.path, self.data), as_written(cells, reason, parents))

    def finals(self) -> FinalTable | None:
        """The table that the last finals wrote; ``None`` before they ran. Raises
        :class:`InputFileError` for a damaged file.
        """
        path = self.path / FINALS
        if not path.is_file():
            return None
        from cellsearch.finals import FinalTable  # loads torch

        return FinalTable.read(path)

    def finals_on(self) -> dict[str, FinalTables]:
        """The tables that finals on other tasks wrote, by the name of the suite or of the tasks.
        Raises :class:`InputFileError` for a damaged file.
        """
        paths = sorted(self.path.glob("finals-*.json"))
        if not paths:
            return {}
        from cellsearch.finals import FinalTables  # loads torch

        found = {}
        for path in paths:
            if re.search(r"(^finals|-)-?[0-9]+$", path.stem) or path.suffixes != [".json"]:
                continue  # an earlier table, or finals that have not ended
            tables = FinalTables.read(path)
            found[tables.name] = tables
        return found

    def ablations(self) -> dict[int, AblationTable]:
        """The tables of the ablations of its cells, by the number of the trial. Raises
        :class:`InputFileError` for a damaged file.
        """
        return {n: AblationTable.read(path) for n, path in ablation_files(self.path).items()}

    @checked_arguments
    def plan_finals(
        self,
        *,
        top: int = 3,
        seeds: int = 5,
        against: Sequence[str] = ("lstm", "gru"),
        hidden_size: int | None = None,
        steps: int | None = None,
        sweep_seeds: int = 0,
        precision: Precision = "float32",
        again: bool = False,
        data: Given = None,
    ) -> FinalPlan:
        """Who takes part in finals, and how; see :func:`cellsearch.runs.finals.plan_finals`."""
        from cellsearch.runs.finals import plan_finals  # loads torch

        return plan_finals(
            self,
            top=top,
            seeds=seeds,
            against=against,
            hidden_size=hidden_size,
            steps=steps,
            sweep_seeds=sweep_seeds,
            precision=precision,
            again=again,
            data=data,
        )

    def run_finals(
        self,
        executor: Executor,
        on_outcome: Callable[[str, Outcome], None] | None = None,
        **options: Any,
    ) -> FinalTable:
        """Retrain the best cells and the baselines from scratch at equal weights with several
        seeds, read the test data once a training, and judge. The table is kept in the run's folder;
        a second time needs ``again=True``, and keeps the earlier one.

        executor: what trains; the caller closes it.
        on_outcome: told the name of the finalist and the outcome of each training.
        options: those of :meth:`plan_finals`.
        """
        return self.plan_finals(**options).run(executor, on_outcome)

    def plan_finals_on(self, **options: Any) -> FinalPlans:
        """Who takes part in finals on other tasks, or on a suite, and how; see
        :func:`cellsearch.runs.finals_on.plan_finals_on`.
        """
        from cellsearch.runs.finals_on import plan_finals_on  # loads torch

        return plan_finals_on(self, **options)

    def run_finals_on(
        self,
        executor: Executor,
        on_outcome: Callable[[str, Outcome], None] | None = None,
        **options: Any,
    ) -> FinalTables:
        """Judge the cells of this run on other tasks, each with a sweep, seeds and test data of its
        own, and on all of them together. Kept in the run's folder, apart from other finals.

        executor: what trains; the caller closes it.
        on_outcome: told ``TASK, CELL`` and the outcome of each training.
        options: those of :meth:`plan_finals_on`, ``on=["copy", "adding"]`` or
            ``suite="standard"`` among them.
        """
        return self.plan_finals_on(**options).run(executor, on_outcome)

    def work(self) -> tuple[WorkerLine, ...]:
        """What each worker did, in order: its trainings, and which of them ended its process."""
        lookup = self._store.lookup
        rows = lookup.rows(
            "SELECT coalesce(worker, ''), trial, rung, started, ended, checkpoint IS NULL "
            "FROM rungs WHERE ended IS NOT NULL AND started IS NOT NULL"
        )
        failures = dict(
            lookup.rows("SELECT number, failure_kind FROM trials WHERE failure_kind IS NOT NULL")
        )
        return tuple(
            worker_lines(
                (worker, Span(trial, rung, start, end, failures.get(trial, "") if failed else ""))
                for worker, trial, rung, start, end, failed in rows
            )
        )

    @checked_arguments
    def report(self, path: str | Path | None = None, *, force: bool = False) -> Path:
        """Write the report, one self-contained HTML file, and return where it is.

        path: left out, ``report.html`` in the run's folder, which is a product of the run and is
            always replaced.
        force: overwrite another file.
        """
        with _uncollected():
            text = render_report(self._report())
        if path is None:
            target = self.path / "report.html"
            write_atomically(target, text)
        else:
            target = Path(path)
            write_new(target, text, force=force)
        return target

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the strategy of the run minimises, where that is more than the score."""
        return tuple(self.declared.get("strategy_options", {}).get("objectives", ()))

    def front(self) -> tuple[Trial, ...]:
        """The found cells that no other is better than in all objectives of the strategy, or, where
        it has one alone, in score and weights.
        """
        from cellsearch.strategies.nsga2 import Nsga2  # loads numpy, as listing a run does not

        judge = Nsga2(objectives=self.objectives) if self.objectives else Nsga2()
        found = (t for t in self.trials.ranked if not t.is_baseline and not t.is_intermediate)
        return tuple(judge.front(self.experiment.space, found))

    @checked_arguments
    def export(self, path: str | Path, form: Form = "source", **options: Any) -> Exported:
        """Write the best cell that was found, see :meth:`RunTrial.export`."""
        return self.best().export(path, form, **options)

    @property
    def _paper(self) -> str:
        """Where the strategy was published; ``""`` for one of a package that is not here."""
        name = self.declared["strategy"]
        return strategies.get(name).paper if name in strategies.names() else ""

    def _report(self) -> Report:
        declared, finals = self.declared, self.finals()
        options = declared["task_options"]
        return Report(
            name=declared["name"],
            question=declared.get("question", ""),
            task=declared["task"],
            metric=self.metric,
            strategy=declared["strategy"],
            trials=self.trials,
            ended=self.ended,
            settings=self.settings,
            environment=self.environments[-1].fingerprint if self.environments else {},
            finals=finals.to_document() if finals is not None else None,
            finals_on=[tables.to_document() for tables in self.finals_on().values()],
            ablations={n: found.to_document() for n, found in self.ablations().items()},
            headline=finals.headline if finals is not None else ("", ""),
            naive=self.naive,
            data=next((str(options[key]) for key in _FILES if options.get(key)), ""),
            objectives=self.objectives,
            front=self.front() if self.objectives else (),
            asked_for=int(declared["trials"]),
            declared=declared,
            machines=[environment.fingerprint for environment in self.environments],
            work=self.work(),
            paper=self._paper,
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """The history as a table: the rows of :meth:`cellsearch.history.History.to_rows`, and
        ``ended``, the seconds of searching until the trial ended.
        """
        return [{**row, "ended": self.ended.get(row["number"])} for row in self.trials.to_rows()]

    @checked_arguments
    def to_frame(self, library: str = "") -> Any:
        """:meth:`to_rows` as a pandas or polars frame, see
        :meth:`cellsearch.history.History.to_frame`.
        """
        return as_frame(self.to_rows(), library)

    def _repr_html_(self) -> str:
        declared = self.declared
        best = self.trials.best(baselines=False)
        return framed(
            f"<h3>{escape(declared['name'])}</h3><p>{escape(declared.get('question', ''))}</p>"
            f"<p>{escape(repr(self))}</p>{leaderboard(self.trials, self.metric, SHOWN, self.naive)}"
            + (cell(best, self.metric) if best is not None else "")
        )

    def __repr__(self) -> str:
        counts = self.counts
        done = counts["completed"] + counts["stopped"]
        best = self.trials.best(baselines=False)
        score = f", best {best.score:.6g} ({best.name})" if best is not None else ""
        return f"<run {self.path}: {done} of {amount(counts['asked_for'], 'trial')} trained{score}>"


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for cycles, which a report of many trials has none of: looking through
    its millions of rows again and again takes a sixth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
