"""What finals on several tasks found: a table of each, and what all of them say together.

A cell of which a training failed stands below all without on that task, and is called better on
none.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from cellsearch.errors import checked_arguments
from cellsearch.files import read_plain
from cellsearch.finals.ranks import (
    critical_difference,
    friedman_test,
    mid_ranks,
    signed_rank_test,
)
from cellsearch.finals.standings import FinalComparison, Standing, tasks_sentence
from cellsearch.finals.statistics import SIGNIFICANCE, holm, rank_test
from cellsearch.finals.table import FinalRow, FinalTable, mostly_lower
from cellsearch.plain import plain, read_as
from cellsearch.reporting.finals import finals_on_section
from cellsearch.reporting.notebook import framed

__all__ = ["FinalTables", "TaskTable"]


@dataclass(frozen=True, slots=True)
class TaskTable:
    """Finals on one of the tasks."""

    name: str
    """What the task is called among them."""
    task: str
    """Name of the task itself."""
    metric: str
    """Of its number."""
    table: FinalTable
    """What they found."""


@dataclass(frozen=True)
class FinalTables:
    """What finals on several tasks found."""

    name: str
    """Of the suite, or of the tasks."""
    tasks: tuple[TaskTable, ...]
    """One a task."""

    @cached_property
    def standings(self) -> tuple[Standing, ...]:
        """Every cell over all tasks, best mean rank first."""
        ranks, names = self._ranks(), self._names()
        rows = {name: [_row(task, name) for task in self.tasks] for name in names}
        found = [
            Standing(
                name,
                rows[name][0].baseline,
                math.fsum(r[k] for r in ranks) / len(ranks),
                math.fsum((r[k] == min(r)) / r.count(min(r)) for r in ranks) / len(ranks),
                sum(row.failures for row in rows[name]),
                sum(row.trainings for row in rows[name]),
            )
            for k, name in enumerate(names)
        ]
        return tuple(sorted(found, key=lambda one: one.mean_rank))

    @cached_property
    def comparisons(self) -> tuple[FinalComparison, ...]:
        """Every found cell against every baseline, best mean rank first."""
        standing = {one.name: one for one in self.standings}
        pairs = [
            (f, b)
            for f in standing.values()
            for b in standing.values()
            if not f.baseline and b.baseline
        ]
        decided = {name: self._decided(name) for name in {b.name for _, b in pairs}}
        ps = holm([signed_rank_test(self._differences(f.name, b.name)) for f, b in pairs])
        return tuple(
            FinalComparison(
                f.name,
                b.name,
                *decided[b.name][f.name],
                len(self.tasks),
                f.mean_rank - b.mean_rank,
                p,
            )
            for (f, b), p in zip(pairs, ps, strict=True)
        )

    @property
    def critical_difference(self) -> float:
        """See :func:`cellsearch.finals.ranks.critical_difference`."""
        return critical_difference(len(self._names()), len(self.tasks))

    @property
    def friedman_p(self) -> float:
        """See :func:`cellsearch.finals.ranks.friedman_test`."""
        return friedman_test(self._ranks())

    @property
    def sentence(self) -> str:
        """What it all means, in words; of one task, what its table says."""
        if len(self.tasks) == 1:
            return self.tasks[0].table.sentence
        return tasks_sentence(self.standings, self.comparisons, self.critical_difference)

    def to_document(self) -> dict[str, Any]:
        """Plain data; ``None`` for numbers that do not exist."""
        tables = [
            {"name": t.name, "task": t.task, "metric": t.metric, "table": t.table.to_document()}
            for t in self.tasks
        ]
        together = {
            "standings": [asdict(one) for one in self.standings],
            "comparisons": [asdict(one) for one in self.comparisons],
            "critical_difference": self.critical_difference,
            "friedman_p": self.friedman_p,
        }
        several = together if len(self.tasks) > 1 else {}
        document = {"name": self.name, "tasks": tables, **several, "sentence": self.sentence}
        return dict(plain(document))

    def _repr_html_(self) -> str:
        return framed(finals_on_section(self.to_document()))

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.to_document(), allow_nan=False)

    @classmethod
    @checked_arguments
    def read(cls, path: Path) -> Self:
        """Read a file that holds :meth:`to_json`. Raises :class:`InputFileError` for another."""
        hint = "run these finals with --again (in Python, again=True), which puts it aside"
        with read_as("table of finals on several tasks", path, hint):
            document = json.loads(read_plain(path))
            tables = cls(str(document["name"]), tuple(map(_stored, document["tasks"])))
            if not tables.tasks:
                raise ValueError("it has no task")
        return tables

    def _names(self) -> list[str]:
        return [row.name for row in self.tasks[0].table.rows]

    def _ranks(self) -> list[list[float]]:
        """Of each cell on each task, in the order of :meth:`_names`."""
        return [
            mid_ranks([_place(_row(task, name)) for name in self._names()]) for task in self.tasks
        ]

    def _differences(self, found: str, baseline: str) -> list[float]:
        """On each task the difference of the mean scores, in shares of the larger one; infinity
        where trainings of one of them failed more often.
        """
        differences = []
        for task in self.tasks:
            failed, mine = _place(_row(task, found))
            other_failed, other = _place(_row(task, baseline))
            if failed != other_failed:
                differences.append(math.copysign(math.inf, failed - other_failed))
            else:
                largest = max(abs(mine), abs(other))
                differences.append((mine - other) / largest if largest else 0.0)
        return differences

    def _decided(self, baseline: str) -> dict[str, tuple[int, int]]:
        """On how many tasks each found cell is better than the baseline, and on how many worse."""
        better, worse = Counter[str](), Counter[str]()
        for task in self.tasks:
            base = _row(task, baseline)
            cells = [row for row in task.table.rows if not row.baseline]
            ps = holm([rank_test(cell.results, base.results) for cell in cells])
            for cell, p in zip(cells, ps, strict=True):
                if p <= SIGNIFICANCE:
                    lower = mostly_lower(cell, base)
                    better[cell.name] += lower and not cell.failures
                    worse[cell.name] += not lower
        return {name: (better[name], worse[name]) for name in self._names()}


def _row(task: TaskTable, name: str) -> FinalRow:
    return next(row for row in task.table.rows if row.name == name)


def _place(row: FinalRow) -> tuple[float, float]:
    """By what cells are ranked: the share of trainings that failed, then the mean, which those with
    a failure do not have.
    """
    share, mean = row.place
    return share, (mean if share == 0 else 0.0)


def _stored(document: Mapping[str, Any]) -> TaskTable:
    return TaskTable(
        str(document["name"]),
        str(document["task"]),
        str(document["metric"]),
        FinalTable.of_document(document["table"]),
    )
