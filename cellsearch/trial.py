"""What is remembered of one candidate: its proposal, its budgets and results, what became of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, Self

from cellsearch import _moved
from cellsearch.genome.graph import Genome
from cellsearch.job import Budget, Connection, Failure, JobId, Result

__all__ = [
    "BASELINE",
    "ENQUEUED",
    "IMPORTED",
    "IN_FLIGHT",
    "SUPERNET",
    "TOLD",
    "Budget",
    "Connection",
    "Failure",
    "Origin",
    "Proposal",
    "Result",
    "Rung",
    "Status",
    "StoredProposal",
    "Trial",
    "mean_result",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """What was here before the history had a module of its own."""
        return _moved.value(__name__, name)


class Status(StrEnum):
    """What became of a trial."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    DUPLICATE = "duplicate"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to the trial."""
        return self not in IN_FLIGHT


IN_FLIGHT = (Status.WAITING, Status.RUNNING)
"""What a trial may be while it is not finished."""
_TRAINED = (Status.COMPLETED, Status.STOPPED)

BASELINE = "baseline"
"""Kind of origin of a control that the experiment asked for; its detail is the name of the cell."""
ENQUEUED = "enqueued"
"""Kind of origin of a cell that a person asked for."""
IMPORTED = "imported"
"""Kind of origin of a trial whose result was taken over; its detail is the name of the run."""
SUPERNET = "supernet"
"""Kind of origin of a cell that only serves to find others."""
TOLD = "told"
"""Kind of origin of a cell that somebody outside of the search proposed (``cellsearch tell``)."""


class Origin(str):
    """How a proposal came about, as a value: the text that stores and tables hold, such as
    ``"mutate:op@2"``, and its parts. Whoever compares it with text goes on as before.

    Made of its parts, or by :meth:`parse` of any text.
    """

    __slots__ = ()

    def __new__(cls, kind: str, detail: str = "", place: str = "") -> Origin:
        """The origin with these parts; of a kind alone that holds separators, what they part."""
        mark = "" if detail[:1] in _UNMARKED else ":"
        return super().__new__(cls, f"{kind}{mark}{detail}{'@' if place else ''}{place}")

    @classmethod
    def parse(cls, text: str) -> Origin:
        """The origin of this text, ``kind``, ``kind:detail``, ``kind:detail@place`` or alike."""
        return cls(text)

    @property
    def kind(self) -> str:
        """What made it: ``"baseline"``, ``"seed"``, ``"mutate"``, ``"crossover"``, ``"grow"``."""
        return _origin_parts(str(self))[0]

    @property
    def detail(self) -> str:
        """With what: the cell, the operator; ``"+operator"`` of a crossover that mutates too."""
        return _origin_parts(str(self))[1]

    @property
    def place(self) -> str:
        """Where: the place in the cell, or the island."""
        return _origin_parts(str(self))[2]


_SEPARATOR = re.compile("[:+@]")
_UNMARKED = ("", ":", "+", "@")
"""Beginnings of a detail that no colon parts from the kind."""


@lru_cache(maxsize=1024)
def _origin_parts(text: str) -> tuple[str, str, str]:
    """Kind, detail and place, of which :class:`Origin` makes the text again."""
    start = _SEPARATOR.search(text)
    if start is None:
        return text, "", ""
    kind, rest = text[: start.start()], text[start.start() :]
    named, _, place = rest.partition("@")
    detail = named if place else rest
    if detail.startswith(":") and detail[1:2] not in _UNMARKED:
        detail = detail[1:]
    return kind, detail, place


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Proposal:
    """What a strategy hands over."""

    genome: Genome
    """The candidate."""
    parents: tuple[int, ...]
    """Numbers of the trials that it came from."""
    origin: Origin
    """How it came from them; may be given as text, such as ``"mutate:op"``."""
    inherit: int | None
    """Trial from whose checkpoint equally named weights are taken over; ``None``: from scratch."""
    reason: str
    """Why, in words of whoever proposed it; ``""``: nothing was said."""

    def __init__(
        self,
        genome: Genome,
        parents: tuple[int, ...] = (),
        origin: Origin | str = "",
        inherit: int | None = None,
        reason: str = "",
    ) -> None:
        values = (genome, parents, Origin.parse(origin), inherit, reason)
        for name, value in zip(_PROPOSED, values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def key(self) -> str:
        """The key of the candidate."""
        return self.genome.key

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proposal):
            return NotImplemented
        return self._facts() == other._facts() and self.genome == other.genome

    def __hash__(self) -> int:
        return hash((self.genome, self._facts()))

    def _facts(self) -> tuple[tuple[int, ...], Origin, int | None, str]:
        return self.parents, self.origin, self.inherit, self.reason


_PROPOSED = ("genome", "parents", "origin", "inherit", "reason")


class StoredProposal(Proposal):
    """A proposal that was written down; its genome is read when somebody asks for it."""

    __slots__ = ("_key", "_source", "_text")

    _text: str
    _source: str
    _key: str

    @classmethod
    def of(
        cls,
        text: str,
        parents: tuple[int, ...],
        origin: str,
        inherit: int | None,
        *,
        source: str,
        key: str = "",
        reason: str = "",
    ) -> Self:
        """What was written down.

        text: JSON form of the genome.
        source: what errors call it.
        key: of the genome; ``""`` where only the genome can tell.
        reason: why it was proposed, in words.
        """
        made = cls.__new__(cls)
        values = (parents, Origin.parse(origin), inherit, reason, text, source, key)
        names = (*_PROPOSED[1:], "_text", "_source", "_key")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(made, name, value)
        return made

    @property
    def genome(self) -> Genome:
        """The candidate. Raises :class:`CellSyntaxError` for a damaged text."""
        slot = Proposal.__dict__["genome"]
        try:
            found: Genome = slot.__get__(self)
        except AttributeError:
            found = Genome.from_json(self._text, source=self._source)
            slot.__set__(self, found)
        return found

    @genome.setter
    def genome(self, genome: Genome) -> None:  # of a copy that is made with other values
        Proposal.__dict__["genome"].__set__(self, genome)

    @property
    def key(self) -> str:
        """The key of the candidate."""
        return getattr(self, "_key", "") or self.genome.key

    def __reduce__(self) -> tuple[object, ...]:
        return Proposal, (self.genome, *self._facts())

    def __repr__(self) -> str:
        return (
            f"<proposal {self.origin or 'without origin'}, parents {self.parents}: {self.genome!r}>"
        )


@dataclass(frozen=True, slots=True)
class Rung:
    """One granted budget and what it gave."""

    budget: Budget
    """What was granted."""
    result: Result | None = None
    """What training gave; ``None`` while it has not ended, or when it failed."""


def mean_result(results: Sequence[Result]) -> Result:
    """One result of several trainings of a cell: the first, with score, metric and further numbers
    that are means; a number that one of them lacks is left out.
    """
    first = results[0]
    return replace(
        first,
        score=_mean([result.score for result in results]),
        metric=_mean([result.metric for result in results]),
        metrics={
            name: _mean([result.metrics[name] for result in results])
            for name in first.metrics
            if all(name in result.metrics for result in results)
        },
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True)
class Trial:
    """One candidate's record.

    What follows from the fields is worked out once: histories share their trials, and a proposal
    looks at all of them.
    """

    number: int
    """Counts from 0."""
    proposal: Proposal
    """What was proposed, and how."""
    status: Status = Status.WAITING
    """What became of it so far."""
    rungs: tuple[Rung, ...] = ()
    """The budgets that it was granted, lowest first, with their results."""
    failure: Failure | None = None
    """Why it failed, if it did."""
    duplicate_of: int | None = None
    """Number of the trial that answers it, if it is a duplicate."""

    @property
    def genome(self) -> Genome:
        """The candidate."""
        return self.proposal.genome

    @property
    def name(self) -> str:
        """What a person calls the trial: the zoo cell of a baseline, else its number."""
        if self.is_baseline:
            return self.proposal.origin.detail.upper()
        return f"trial {self.number}"

    @cached_property
    def key(self) -> str:
        """The key of the candidate."""
        return self.proposal.key

    @property
    def newest_job(self) -> JobId:
        """The last training that it was granted."""
        return JobId(self.number, len(self.rungs) - 1)

    @property
    def result(self) -> Result | None:
        """The result of the highest rung that has one; of a training that was repeated with other
        seeds the first, with score, metric and further numbers that are means over all of them.
        """
        for number, rung in reversed([*enumerate(self.rungs)]):
            if rung.result is not None:
                return self._mean_result if self.is_repeat(number) else rung.result
        return None

    def is_repeat(self, rung: int) -> bool:
        """Whether a rung repeats the training of the one before, with another seed."""
        return rung > 0 and self.rungs[rung].budget.steps <= self.rungs[rung - 1].budget.steps

    @property
    def repeats(self) -> tuple[Rung, ...]:
        """The rungs that repeat a training with another seed."""
        return tuple(rung for k, rung in enumerate(self.rungs) if self.is_repeat(k))

    @property
    def curve(self) -> tuple[tuple[int, float], ...]:
        """Optimizer steps and finite scores of the validations, by steps, of all rungs that went on
        from one another; trainings that were repeated with another seed are left out.
        """
        found: dict[int, float] = {}
        for k, rung in enumerate(self.rungs):
            if rung.result is not None and not self.is_repeat(k):
                found |= {step: score for step, score in rung.result.curve if isfinite(score)}
        return tuple(sorted(found.items()))

    def scores_of(self, steps: int) -> tuple[float, ...]:
        """The scores of all trainings for so many steps."""
        done = (rung.result for rung in self.rungs if rung.budget.steps == steps)
        return tuple(result.score for result in done if result is not None)

    @property
    def trainings(self) -> int:
        """Over how many trainings, each with a seed of its own, the score is the mean."""
        return 1 + sum(rung.result is not None for rung in self.repeats)

    @cached_property
    def _mean_result(self) -> Result:
        first = self.rungs[len(self.rungs) - len(self.repeats) - 1].result
        assert first is not None
        again = (rung.result for rung in self.repeats)
        return mean_result([first, *(result for result in again if result is not None)])

    @property
    def metrics(self) -> Mapping[str, float]:
        """Further numbers of :attr:`result`; none without one."""
        return self.result.metrics if self.result is not None else {}

    @cached_property
    def score(self) -> float:
        """The score of the result; infinity without one."""
        result = None if self.status is Status.FAILED else self.result
        return float("inf") if result is None else result.score

    def score_at(self, rung: int) -> float | None:
        """The score that a rung gave; ``None`` while it has no result."""
        for done in self.rungs:
            if done.budget.rung == rung and done.result is not None:
                return done.result.score
        return None

    @property
    def is_scored(self) -> bool:
        """Whether its training has ended with a finite score; duplicates have none."""
        return self.status in _TRAINED and self.score < float("inf")

    @cached_property
    def standing(self) -> float:
        """By what the trial is ranked: the score of a trained cell that is a result of the search;
        infinity for everything else.
        """
        return self.score if self.is_scored and not self.is_intermediate else float("inf")

    @property
    def ranks(self) -> bool:
        """Whether the trial has a place among the results of the search."""
        return self.standing < float("inf")

    @cached_property
    def is_baseline(self) -> bool:
        """Whether the trial is a control that the experiment asked for (LSTM, GRU), not a proposal
        of the strategy.
        """
        return self.proposal.origin.kind == BASELINE

    @property
    def is_intermediate(self) -> bool:
        """Whether the trial only serves to find others: a full cell on its way of being pruned. It
        is not a result of the search.
        """
        return self.proposal.origin.kind == SUPERNET

    @property
    def is_imported(self) -> bool:
        """Whether the result was taken over from another run: it does not count against the trials
        of the experiment.
        """
        return self.proposal.origin.kind == IMPORTED

    @property
    def is_checked(self) -> bool:
        """Whether the trial must pass the checks before training.

        What a person named is trained whatever they say, and a supernet is trained to be pruned,
        not to be kept.
        """
        return self.proposal.origin.kind not in (BASELINE, ENQUEUED, SUPERNET)

    @property
    def is_rejected(self) -> bool:
        """Whether a check before training rejected it, at next to no cost: it does not count
        against the trials of the experiment.
        """
        return self.failure is not None and self.failure.kind == "prefilter"

    def to_row(self) -> dict[str, Any]:
        """The record as a row of a table; ``None`` for what is missing."""
        result, failure = self.result, self.failure
        return {
            "number": self.number,
            "name": self.name,
            "origin": str(self.proposal.origin),
            "parents": list(self.proposal.parents),
            "reason": self.proposal.reason,
            "baseline": self.is_baseline,
            "intermediate": self.is_intermediate,
            "status": self.status.value,
            "score": self.score if self.score < float("inf") else None,
            "metric": result.metric if result else None,
            "trainings": self.trainings if result else None,
            "steps": result.steps if result else None,
            "seconds": result.seconds if result else None,
            "parameters": result.parameters if result else None,
            "cell_parameters": result.cell_parameters if result else None,
            "cell_weights": result.cell_parameters if result else None,
            "model_weights": result.parameters if result else None,
            "nodes": len(self.genome.nodes),
            "checkpoint": result.checkpoint if result else None,
            "failure": failure.kind if failure else None,
            "message": failure.message if failure else None,
            "duplicate_of": self.duplicate_of,
        }

    def __repr__(self) -> str:
        said = f"score {self.score:.6g}" if self.score < float("inf") else ""
        said = f"{self.failure.kind}" if self.failure is not None else said
        parts = filter(None, (self.status.value, said, str(self.proposal.origin)))
        return f"<trial {self.number}: {', '.join(parts)}>"

    def with_(self, **changes: object) -> Trial:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]
