"""What finals found: a row a cell, and what the rows mean in words.

A training that failed is the worst result there is, and counts: it ties with other failures at the
end of the ranks, a cell with one has no mean over its seeds, stands below all cells without, and
is called better than nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cellsearch.errors import checked_arguments
from cellsearch.files import read_plain
from cellsearch.finals.effect import Effect
from cellsearch.finals.statistics import (
    SIGNIFICANCE,
    holm,
    mean_and_deviation,
    rank_test,
    smallest_p,
)
from cellsearch.job import Naive
from cellsearch.plain import plain, read_as
from cellsearch.reporting.finals import finals_section
from cellsearch.reporting.notebook import framed

__all__ = [
    "EQUAL_WEIGHTS",
    "WITHIN_LIMITS",
    "FinalRow",
    "FinalTable",
    "judge",
    "mostly_lower",
    "verdict",
]

EQUAL_WEIGHTS = "at equal model weights"
WITHIN_LIMITS = "with each as large as the device allows"
"""On which terms cells are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class FinalRow:
    """One cell's final. Rows with equal numbers are equal, those with the same NaN among them."""

    name: str
    """Of the finalist."""
    baseline: bool
    """Whether found cells are compared against it."""
    hidden_size: int
    """H at which the whole model has as many weights as the others."""
    parameters: int
    """Trainable weights of the whole model."""
    learning_rate: float
    """The one that the sweep chose."""
    scores: tuple[float, ...]
    """Test score of each seed whose training did not fail, lower is better."""
    metrics: tuple[float, ...]
    """The task's own number on test data for each of these seeds."""
    step_ms: float
    """Milliseconds of a training step."""
    failures: int
    """Trainings that failed."""
    p: float = math.nan
    """Corrected p-value of the comparison with the best baseline; NaN for baselines."""
    cell_parameters: int = 0
    """Trainable weights of the recurrent layer alone; 0 where they were not written down."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Further errors on test data by name, of each predicted column for example: the mean over the
    seeds whose training did not fail."""
    device: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What it costs on a device (``flash_bytes``, ...) and the mean test score with int8
    weights (``int8``), as far as they were measured."""
    rate_inside: bool | None = None
    """Whether the sweep tried rates on both sides of the chosen one; ``None``: nobody knows."""
    sweep: tuple[tuple[float, float, int], ...] = ()
    """What the sweep tried: rate, mean validation score (infinity where a training failed), and
    number of trainings."""
    effect: Effect | None = None
    """How much better than the best baseline, with intervals; ``None`` for baselines."""
    note: str = ""
    """What is to be known of it beside its numbers, where it is no cell."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FinalRow):
            return NotImplemented
        return self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def _facts(self) -> tuple[object, ...]:
        """All fields, those that may be NaN as text: NaN is equal to nothing, itself included."""
        exact = self.name, self.baseline, self.hidden_size, self.parameters, self.learning_rate
        measured = repr((self.scores, self.metrics, self.step_ms, self.p, self.effect))
        swept = self.rate_inside, self.sweep
        return *exact, measured, self.failures, self.cell_parameters, *swept

    @property
    def mean(self) -> float:
        """Mean test score over all seeds; NaN where a training failed, because a mean over the
        others could not be compared with that of another cell.
        """
        return math.nan if self.failures else mean_and_deviation(self.scores)[0]

    @property
    def deviation(self) -> float:
        """Standard deviation of the test score over all seeds; NaN where a training failed."""
        return math.nan if self.failures else mean_and_deviation(self.scores)[1]

    @property
    def trainings(self) -> int:
        """How many seeds there were, failures included."""
        return len(self.scores) + self.failures

    @property
    def results(self) -> tuple[float, ...]:
        """A result for every seed; infinity for a training that failed."""
        return (*self.scores, *(math.inf for _ in range(self.failures)))

    @property
    def place(self) -> tuple[float, float]:
        """What rows are ordered by, best first: the share of trainings that failed, then the mean
        of the others.
        """
        mean = mean_and_deviation(self.scores)[0] if self.scores else math.inf
        return self.failures / max(1, self.trainings), mean


@dataclass(frozen=True, slots=True)
class FinalTable:
    """What finals found."""

    rows: tuple[FinalRow, ...]
    """One a cell, best first."""
    sentence: str
    """What they mean, in words."""
    naive: tuple[Naive, ...] = ()
    """What is reached on test data without a cell, best first."""
    terms: str = EQUAL_WEIGHTS
    """On which terms the cells were compared."""

    @property
    def headline(self) -> tuple[str, str]:
        """What :attr:`sentence` says in a few words, and of whom; empty for no comparison."""
        found = next((row for row in self.rows if not row.baseline and row.scores), None)
        return ("", "") if found is None else self.headline_of(found.name)

    @checked_arguments
    def headline_of(self, name: str) -> tuple[str, str]:
        """:attr:`headline` of the cell of this name; empty for one that did not take part."""
        best = next((row for row in self.rows if row.baseline and row.scores), None)
        found = next((row for row in self.rows if row.name == name and not row.baseline), None)
        return ("", "") if best is None or found is None else _headline(found, best)

    def to_document(self) -> dict[str, Any]:
        """Plain data; ``None`` for numbers that do not exist."""
        rows = [
            {
                **asdict(row),
                "cell_weights": row.cell_parameters or None,
                "model_weights": row.parameters,
                "mean": row.mean,
                "deviation": row.deviation,
            }
            for row in self.rows
        ]
        for row in rows:
            for name in ("device", "effect", "sweep", "note"):  # most runs are not about a device
                if not row[name]:
                    del row[name]
        terms = {"terms": self.terms} if self.terms != EQUAL_WEIGHTS else {}
        naive = {"naive": plain([asdict(one) for one in self.naive])} if self.naive else {}
        return {"rows": plain(rows), "sentence": self.sentence, **terms, **naive}

    def beside(self, naive: Sequence[Naive]) -> FinalTable:
        """The table with what is reached without a cell; the sentence says whether the best found
        cell is worse.
        """
        if not naive:
            return self
        ordered = tuple(sorted(naive, key=lambda one: one.score))
        found = next((row for row in self.rows if not row.baseline and row.scores), None)
        said = ""
        if found is not None and (found.failures or not found.mean < ordered[0].score):
            said = (
                f" {found.name} is not better than what needs no cell: {ordered[0].name} reaches "
            )
            said += f"{ordered[0].score:.4f}."
        return replace(self, sentence=self.sentence + said, naive=ordered)

    def _repr_html_(self) -> str:
        return framed(finals_section(self.to_document(), "metric"))

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.to_document(), allow_nan=False)

    @classmethod
    @checked_arguments
    def read(cls, path: Path) -> FinalTable:
        """Read a file that holds :meth:`to_json`; one with failures is judged again, because
        version 0.1 left them out of the means. Raises :class:`InputFileError` for another file.
        """
        hint = "run finals with --again (in Python, again=True), which puts it aside"
        with read_as("table of finals", path, hint):
            return cls.of_document(json.loads(read_plain(path)))

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> FinalTable:
        """The table that :meth:`to_document` made plain data of; what that raises which is damaged
        is one of :data:`cellsearch.plain.DAMAGE`.
        """
        table = cls(
            tuple(map(_stored, document["rows"])),
            str(document["sentence"]),
            tuple(_stored_naive(row) for row in document.get("naive", ())),
            str(document.get("terms", EQUAL_WEIGHTS)),
        )
        if any(row.failures for row in table.rows):
            return judge(table.rows, table.terms).beside(table.naive)
        return table


def _stored(row: Mapping[str, Any]) -> FinalRow:
    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    return FinalRow(
        name=str(row["name"]),
        baseline=bool(row["baseline"]),
        hidden_size=int(row["hidden_size"]),
        parameters=int(row["parameters"]),
        learning_rate=number(row["learning_rate"]),
        scores=tuple(map(number, row["scores"])),
        metrics=tuple(map(number, row["metrics"])),
        step_ms=number(row["step_ms"]),
        failures=int(row["failures"]),
        p=number(row["p"]),
        cell_parameters=int(row.get("cell_parameters", 0)),
        errors={str(name): number(value) for name, value in row.get("errors", {}).items()},
        device={str(name): number(value) for name, value in row.get("device", {}).items()},
        rate_inside=row.get("rate_inside"),
        sweep=tuple(
            (float(rate), math.inf if score is None else float(score), int(count))
            for rate, score, count in row.get("sweep", ())
        ),
        effect=Effect.read(row["effect"]) if row.get("effect") else None,
        note=str(row.get("note", "")),
    )


def _stored_naive(row: Mapping[str, Any]) -> Naive:
    errors = {str(name): float(value) for name, value in row["errors"].items()}
    return Naive(str(row["name"]), float(row["score"]), float(row["metric"]), errors)


def judge(rows: Sequence[FinalRow], terms: str = EQUAL_WEIGHTS) -> FinalTable:
    """Compare each found cell with the best baseline by ranks, and correct for the number of
    comparisons.
    """
    ordered = sorted(rows, key=lambda row: row.place)
    baselines = [row for row in ordered if row.baseline and row.scores]
    if not baselines:
        sentence = "No baseline could be trained, so nothing can be said."
        return FinalTable(tuple(ordered), sentence, terms=terms)
    best = baselines[0]
    found = [row for row in ordered if not row.baseline and row.scores]
    adjusted = holm([rank_test(row.results, best.results) for row in found])
    by_name = {row.name: p for row, p in zip(found, adjusted, strict=True)}
    judged = [
        replace(row, p=by_name[row.name], effect=Effect.of(row.results, best.results, best.name))
        if row.name in by_name
        else replace(row, p=math.nan, effect=None)
        for row in ordered
    ]
    winner = next((row for row in judged if row.name in by_name), None)
    sentence = (
        verdict(winner, best, len(found), terms)
        if winner is not None
        else "No found cell could be trained."
    )
    return FinalTable(tuple(judged), sentence, terms=terms)


@checked_arguments
def verdict(
    found: FinalRow, baseline: FinalRow, comparisons: int = 1, terms: str = EQUAL_WEIGHTS
) -> str:
    """One plain sentence: better, worse, or equal within noise; of a cell of which a training
    failed, that it is not better.
    """
    return _verdict(found, baseline, comparisons, terms) + _said(found)


def _said(found: FinalRow) -> str:
    """How large the effect is, if it was measured."""
    return f" {found.effect.sentence(found.name)}" if found.effect is not None else ""


def _verdict(found: FinalRow, baseline: FinalRow, comparisons: int, terms: str) -> str:
    if found.failures:
        return _failed(found, baseline)
    numbers = f"{_against(found, baseline)}, p = {found.p:.3f} after correction)"
    if found.p <= SIGNIFICANCE:
        lower = mostly_lower(found, baseline)
        word = "better" if lower else "worse"
        text = f"{found.name} is {word} than {baseline.name} {terms}: {numbers}."
        if lower != (found.mean < baseline.mean) and not baseline.failures:
            text += " That is said by ranks; single seeds far off turn the means around."
        return text
    text = f"{found.name} and {baseline.name} are equal within noise {terms}: {numbers}."
    least = min(1.0, comparisons * smallest_p(found.trainings, baseline.trainings))
    if least > SIGNIFICANCE:
        wide = ", and intervals are too narrow" if found.effect is not None else ""
        text += (
            f" With so few seeds no difference could have been significant (smallest "
            f"possible p = {least:.3f}){wide}: use more seeds."
        )
    return text


def _headline(found: FinalRow, baseline: FinalRow) -> tuple[str, str]:
    """:func:`verdict` in a few words, and what it is about."""
    about = f"{found.name} against {baseline.name} in the finals, test data"
    if found.failures:
        return "not better", f"{about}: {found.failures} of {found.trainings} trainings failed"
    if not found.p <= SIGNIFICANCE:
        return "equal within noise", about
    word = "better" if mostly_lower(found, baseline) else "worse"
    if baseline.failures or not baseline.mean:
        return word, about
    return f"{(found.mean / baseline.mean - 1) * 100:+.2f} %", f"{word}: score of {about}"


def mostly_lower(found: FinalRow, baseline: FinalRow) -> bool:
    """Whether a seed of ``found`` is below one of the baseline more often than above."""
    pairs = [(a, b) for a in found.results for b in baseline.results]
    return sum(a < b for a, b in pairs) > sum(a > b for a, b in pairs)


def _against(found: FinalRow, baseline: FinalRow) -> str:
    """Both in figures; the bracket stays open."""
    if baseline.failures:
        return (
            f"{found.mean:.4f} with every seed, where {baseline.failures} of "
            f"{baseline.trainings} trainings of {baseline.name} failed (which counts as the worst "
            "result"
        )
    difference = (found.mean / baseline.mean - 1) * 100 if baseline.mean else math.nan
    return f"{found.mean:.4f} against {baseline.mean:.4f} ({difference:+.2f} %"


def _failed(found: FinalRow, baseline: FinalRow) -> str:
    """What to say of a cell of which a training failed, whatever the others gave."""
    text = (
        f"{found.name} is not better than {baseline.name}: {found.failures} of {found.trainings} "
        f"trainings of {found.name} failed, and a failure is the worst result. "
    )
    if found.scores:
        mean = mean_and_deviation(found.scores)[0]
        text += (
            f"The mean of its other trainings, {mean:.4f}, leaves the failures out, and cannot be "
            "compared."
        )
    return text.rstrip()
