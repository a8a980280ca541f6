"""What an ablation has found: the whole cell, and what each removal costs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from cellsearch.ablation.interval import difference_interval, mean_and_deviation
from cellsearch.errors import amount, checked_arguments
from cellsearch.files import read_plain
from cellsearch.plain import plain, read_as
from cellsearch.reporting.ablation import ablation_section
from cellsearch.reporting.notebook import framed

__all__ = ["AblationCost", "AblationRow", "AblationTable"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class AblationRow:
    """One cell of an ablation: the whole, or what a removal has left of it."""

    name: str
    """What was removed, as :class:`cellsearch.space.removals.Removal` says it; of the whole cell,
    what it is called."""
    kind: str
    """``"gate"``, ``"value"``, ``"state"``, ``"function"``, ``"connection"``; ``""``: the whole."""
    meaning: str
    """What the removal means, in words."""
    cell: str
    """The cell that was trained, as text."""
    scores: tuple[float, ...]
    """Validation score of each training that ended, lower is better."""
    failures: tuple[str, ...] = ()
    """What each of the other trainings failed with: ``"nan"``, ``"time"``, ..."""
    also: tuple[str, ...] = ()
    """Other removals that leave the same cell."""
    known: str = ""
    """The zoo cell that computes the same; ``""``: none."""
    cell_weights: int = 0
    """Trainable weights of the cell; 0 where no training ended."""
    parameters: int = 0
    """Trainable weights of the whole model; 0 where no training ended."""
    seconds: float = 0.0
    """Of all trainings that ended, together."""

    @property
    def trainings(self) -> int:
        """How many there were, failed ones included."""
        return len(self.scores) + len(self.failures)

    @property
    def mean(self) -> float:
        """Of the scores; infinity where a training failed, NaN before there were any."""
        return math.inf if self.failures else mean_and_deviation(self.scores)[0]

    @property
    def deviation(self) -> float:
        """Sample standard deviation of the scores; NaN for fewer than two, or a failure."""
        return math.nan if self.failures else mean_and_deviation(self.scores)[1]

    def to_document(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "removed": self.name,
            "kind": self.kind,
            "meaning": self.meaning,
            "cell": self.cell,
            "scores": list(self.scores),
            "failures": list(self.failures),
            "also": list(self.also),
            "known": self.known,
            "cell_weights": self.cell_weights,
            "parameters": self.parameters,
            "seconds": self.seconds,
            "mean": self.mean,
            "deviation": self.deviation,
        }

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """What :meth:`to_document` has written."""
        return cls(
            name=str(document["removed"]),
            kind=str(document["kind"]),
            meaning=str(document["meaning"]),
            cell=str(document["cell"]),
            scores=tuple(float(score) for score in document["scores"]),
            failures=tuple(map(str, document["failures"])),
            also=tuple(map(str, document["also"])),
            known=str(document["known"]),
            cell_weights=int(document["cell_weights"]),
            parameters=int(document["parameters"]),
            seconds=float(document["seconds"]),
        )


@dataclass(frozen=True, slots=True)
class AblationCost:
    """What a removal costs: the mean score without, minus that of the whole cell."""

    difference: float
    """In units of the score, above 0 is worse; infinity where a training failed without, NaN where
    one of the whole cell did."""
    low: float
    """Lower end of its 95 % interval (Welch); NaN where there is none."""
    high: float
    """Upper end."""
    percent: float
    """The difference in percent of the score of the whole cell; NaN where that is 0."""

    @property
    def said(self) -> str:
        """``"fails"``, ``"costs"``, ``"pays"`` where the interval is on one side of 0, and
        ``"unclear"``.
        """
        if math.isinf(self.difference):
            return "fails"
        if self.low > 0:
            return "costs"
        return "pays" if self.high < 0 else "unclear"


@dataclass(frozen=True)
class AblationTable:
    """What an ablation has found."""

    label: str
    """What the cell is called."""
    task: str
    """Name of the task."""
    metric: str
    """Of its number."""
    steps: int
    """Optimizer steps of each training."""
    hidden_size: int
    """H of all of them."""
    seeds: int
    """Trainings of each cell."""
    whole: AblationRow
    """The cell as it is."""
    removed: tuple[AblationRow, ...]
    """What is left of it, in any order."""
    idle: tuple[str, ...] = ()
    """Removals that leave a cell which computes the same."""
    impossible: tuple[tuple[str, str], ...] = ()
    """Removals that leave no cell, each with the reason."""

    @cached_property
    def rows(self) -> tuple[tuple[AblationRow, AblationCost], ...]:
        """Each removal with what it costs, the most expensive first: those of which trainings
        failed, those that failed most often at their head, then by the difference.
        """
        costs = [(row, self._cost(row)) for row in self.removed]

        def order(pair: tuple[AblationRow, AblationCost]) -> tuple[float, float, str]:
            row, _ = pair
            share = len(row.failures) / max(1, row.trainings)
            mean = mean_and_deviation(row.scores)[0] if row.scores else math.inf
            return -share, -mean, row.name

        return tuple(sorted(costs, key=order))

    def _cost(self, row: AblationRow) -> AblationCost:
        if self.whole.failures or not self.whole.scores:
            return AblationCost(math.nan, math.nan, math.nan, math.nan)
        if row.failures:
            return AblationCost(math.inf, math.nan, math.nan, math.inf)
        difference, low, high = difference_interval(row.scores, self.whole.scores)
        base = abs(self.whole.mean)
        return AblationCost(difference, low, high, 100 * difference / base if base else math.nan)

    @property
    def trainings(self) -> int:
        """How many trainings there were, failed ones included."""
        return sum(row.trainings for row in (self.whole, *self.removed))

    @property
    def seconds(self) -> float:
        """Of all trainings that ended, together."""
        return math.fsum(row.seconds for row in (self.whole, *self.removed))

    @property
    def sentence(self) -> str:
        """What it says, in words."""
        if not self.rows:
            return f"Nothing can be taken out of {self.label}."
        if self.whole.failures:
            failed = f"{len(self.whole.failures)} of {amount(self.whole.trainings, 'training')}"
            return f"{failed} of the whole cell failed, so nothing can be said of its parts."
        row, cost = self.rows[0]
        text = f"Without {row.name} ({row.meaning})"
        if row.failures:
            text += f" {len(row.failures)} of {amount(row.trainings, 'training')} failed."
        else:
            text += f" the score is {cost.percent:+.1f} %"
            if not math.isnan(cost.low):
                text += f" (difference {cost.difference:+.4f}, 95 %: {cost.low:+.4f} to "
                text += f"{cost.high:+.4f})"
            text += ": nothing costs more."
        counts = dict.fromkeys(("fails", "costs", "pays", "unclear"), 0)
        for _, one in self.rows:
            counts[one.said] += 1
        parts = [
            f"{counts['fails']} fail",
            f"{counts['costs']} cost something",
            f"{counts['pays']} make it better",
            f"of {counts['unclear']} it cannot be told",
        ]
        said = ", ".join(part for part, n in zip(parts, counts.values(), strict=True) if n)
        return f"{text} Of {amount(len(self.rows), 'removal')}, {said}.{self._gates}"

    @property
    def _gates(self) -> str:
        """The gates alone, the most expensive first; ``""`` for fewer than two."""
        gates = [(row.name, cost) for row, cost in self.rows if row.kind == "gate"]
        if len(gates) < 2:
            return ""
        said = [
            f"{name} ({'fails' if cost.said == 'fails' else f'{cost.percent:+.1f} %'})"
            for name, cost in gates
        ]
        return f" The gates, the most expensive first: {', '.join(said)}."

    @property
    def protocol(self) -> str:
        """How all of them were trained, in words."""
        return (
            f"{self.label} on {self.task}: {amount(self.seeds, 'training')} of each cell from "
            f"scratch, {amount(self.steps, 'step')}, H = {self.hidden_size}, validation data; the "
            "rest as it was, so a removal takes weights away too. An interval holds the true "
            "difference in 95 of 100 cases: of many, some miss it."
        )

    def to_document(self) -> dict[str, Any]:
        """As plain data; rows with the most expensive removal first."""
        rows = [
            {
                **row.to_document(),
                "cost": cost.difference,
                "low": cost.low,
                "high": cost.high,
                "percent": cost.percent,
                "said": cost.said,
            }
            for row, cost in self.rows
        ]
        document: dict[str, Any] = plain(
            {
                "format": FORMAT,
                "cell": self.label,
                "task": self.task,
                "metric_name": self.metric,
                "steps": self.steps,
                "hidden_size": self.hidden_size,
                "seeds": self.seeds,
                "trainings": self.trainings,
                "seconds": self.seconds,
                "sentence": self.sentence,
                "protocol": self.protocol,
                "whole": self.whole.to_document(),
                "rows": rows,
                "idle": list(self.idle),
                "impossible": dict(self.impossible),
            }
        )
        return document

    def _repr_html_(self) -> str:
        return framed(ablation_section(self.to_document()))

    def to_json(self) -> str:
        """:meth:`to_document` as text."""
        return json.dumps(self.to_document(), indent=1) + "\n"

    @classmethod
    @checked_arguments
    def read(cls, path: str | Path) -> Self:
        """A table that was written as JSON. Raises :class:`InputFileError` for a damaged file."""
        place = Path(path)
        with read_as("table of an ablation", place, "make it again"):
            document = json.loads(read_plain(place))
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}")
            return cls(
                label=str(document["cell"]),
                task=str(document["task"]),
                metric=str(document["metric_name"]),
                steps=int(document["steps"]),
                hidden_size=int(document["hidden_size"]),
                seeds=int(document["seeds"]),
                whole=AblationRow.of_document(document["whole"]),
                removed=tuple(AblationRow.of_document(row) for row in document["rows"]),
                idle=tuple(map(str, document["idle"])),
                impossible=tuple((str(k), str(v)) for k, v in document["impossible"].items()),
            )
