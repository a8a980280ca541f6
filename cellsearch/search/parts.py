"""What strategies, schedules and evaluations answer, checked where it arrives: others may have
written them, and nothing may be decided or stored that a run cannot go on from.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import SupportsIndex, cast

import numpy as np

from cellsearch.errors import CellsearchError, RunError, TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.job import Failure, Outcome, checked_result, plain_text
from cellsearch.schedules import Schedule
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.trial import BASELINE, ENQUEUED, IMPORTED, TOLD, Budget, Origin, Proposal, Trial

__all__ = [
    "checked_budget",
    "checked_outcome",
    "checked_proposal",
    "first_budget",
    "schedule_rungs",
]

_NOT_ITS_OWN = (BASELINE, ENQUEUED, IMPORTED, TOLD)
"""Kinds of origin that say that somebody else than the strategy wanted a trial."""
_MEND = "; mend it and give the same command again: nothing of this answer was stored"


def checked_proposal(
    strategy: Strategy,
    space: SearchSpace,
    history: History,
    rng: np.random.Generator,
    where: str,
) -> Proposal | None:
    """What the strategy proposes next, in plain values.

    where: the run.

    Raises :class:`RunError` that names the strategy for an answer that is not a proposal of a cell
    of the space, or names trials that are not there, and for whatever the strategy raises that is
    not an error of cellsearch.
    """
    with _naming(f"strategy {strategy.name!r}", where) as wrong:
        found: object = strategy.propose(space, history, rng)
        if found is None:
            return None
        if not isinstance(found, Proposal):
            raise wrong(f"proposed a {_kind(found)}", "return a cellsearch.trial.Proposal, or None")
        genome: object = found.genome
        if not isinstance(genome, Genome):
            raise wrong(f"proposed a {_kind(genome)} as genome", "propose a cellsearch.Genome")
        outside = space.contains(genome)
        if outside is not None:
            raise wrong(
                f"proposed a cell that is not in the space {space.name}: {outside}",
                "propose what the methods of the space return",
            )
        given: object = found.parents
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise wrong(f"proposed a {_kind(given)} as parents", "propose a tuple of trial numbers")
        known = range(len(history))
        parents = tuple(_number(one, "parent", known, wrong) for one in given)
        inherit: object = found.inherit
        if inherit is not None:
            inherit = _number(inherit, "trial to inherit from", known, wrong)
        origin = str(found.origin)
        kind = Origin.parse(origin).kind
        if plain_text(origin) != origin or kind in _NOT_ITS_OWN:
            raise wrong(
                f"proposed the origin {origin!r:.60}",
                f"propose plain text that does not begin with {', '.join(_NOT_ITS_OWN)}",
            )
        reason: object = found.reason
        if not isinstance(reason, str) or plain_text(reason) != reason:
            raise wrong(f"gave the reason {reason!r:.60}", "give plain text")
        return Proposal(genome, parents, origin, inherit, reason)


def first_budget(
    schedule: Schedule, full: int, history: History, trial: Trial, where: str
) -> Budget:
    """What the schedule grants a new trial. Raises :class:`RunError` where that is nothing; see
    :func:`checked_budget`.
    """
    budget = checked_budget(schedule, full, history, trial, where)
    if budget is None:
        raise RunError(
            f"the schedule {schedule.name!r} grants trial {trial.number} no training at all",
            where=where,
            hint="grant a trial without rungs its first budget" + _MEND,
        )
    return budget


def checked_budget(
    schedule: Schedule, full: int, history: History, trial: Trial, where: str
) -> Budget | None:
    """What the schedule grants a trial next, in plain numbers.

    full: optimizer steps of a full training.
    where: the run.

    Raises :class:`RunError` that names the schedule for an answer that is not the budget of the
    trial's next rung, with more steps than the last one and at most a full training, and for
    whatever the schedule raises that is not an error of cellsearch.
    """
    with _naming(f"schedule {schedule.name!r}", where) as wrong:
        found: object = schedule.next_budget(history, trial, full)
        if found is None:
            return None
        if not isinstance(found, Budget):
            raise wrong(f"granted a {_kind(found)}", "return a cellsearch.trial.Budget, or None")
        steps, rung = _whole(found.steps), _whole(found.rung)
        before = trial.rungs[-1].budget.steps if trial.rungs else 0
        if steps is None or not before < steps <= full:
            raise wrong(
                f"granted trial {trial.number} {found.steps!r:.40} steps",
                f"grant a whole number from {before + 1} to {full}, those of earlier rungs "
                "included, or None",
            )
        if rung != len(trial.rungs):
            raise wrong(
                f"granted trial {trial.number} the rung {found.rung!r:.40}",
                f"grant the next one, {len(trial.rungs)}",
            )
        return Budget(steps, rung)


def schedule_rungs(schedule: Schedule, full: int, where: str) -> tuple[int, ...]:
    """The budgets of the schedule in steps. Raises :class:`RunError` that names it where they are
    not whole numbers.
    """
    with _naming(f"schedule {schedule.name!r}", where) as wrong:
        found: object = schedule.rungs(full)
        steps = [_whole(one) for one in found] if isinstance(found, Iterable) else [None]
        if None in steps:
            raise wrong(f"has the rungs {found!r:.60}", "return a tuple of whole numbers")
        return tuple(one for one in steps if one is not None)


def checked_outcome(outcome: Outcome, where: str) -> Outcome:
    """What became of a job, in plain values: a failure instead of a score that is not finite or a
    result that cannot be stored.

    where: the run. Raises :class:`RunError` for neither or both of result and failure.
    """
    result, failure = outcome.result, outcome.failure
    if result is not None and failure is None:
        try:
            result = checked_result(result)
        except TrainingError as error:
            result, failure = None, Failure(error.kind, str(error))
    if result is not None and not math.isfinite(result.score):
        failure = Failure("nan", f"the score is {result.score}")
        result = None
    if (result is None) == (failure is None):
        raise RunError(
            f"the outcome of trial {outcome.trial} has neither or both of result and failure",
            where=where,
        )
    if failure is not None:
        failure = Failure(plain_text(str(failure.kind)), plain_text(str(failure.message)))
    worker = plain_text(outcome.worker)
    return replace(outcome, result=result, failure=failure, worker=worker)


_Wrong = Callable[[str, str], RunError]


@contextmanager
def _naming(part: str, where: str) -> Iterator[_Wrong]:
    """Whatever the part raises becomes an error that names it; given is what makes such an
    error.
    """

    def wrong(what: str, allowed: str) -> RunError:
        return RunError(f"the {part} {what}", where=where, hint=allowed + _MEND)

    try:
        yield wrong
    except (CellsearchError, KeyboardInterrupt):  # the user's own Ctrl-C among them
        raise
    except BaseException as error:
        said = f": {text}" if (text := _said(error)) else ""
        raise wrong(
            f"raised {_kind(error)}{said}", "--debug shows where (in Python, the traceback)"
        ) from error


def _said(error: BaseException) -> str:
    try:
        return plain_text(str(error))
    except Exception:  # noqa: BLE001  (the message is not ours either)
        return ""


def _kind(value: object) -> str:
    return type(value).__name__


def _number(value: object, what: str, known: range, wrong: _Wrong) -> int:
    number = _whole(value)
    if number is None or number not in known:
        there = f"0 to {len(known) - 1} are there" if known else "no trial is there yet"
        raise wrong(f"proposed {value!r:.40} as {what}", f"name a trial: {there}")
    return number


def _whole(value: object) -> int | None:
    """The value as Python's own whole number, numbers of numpy and whole floats too; ``None`` for
    everything else.
    """
    if type(value) is int:
        return value
    if isinstance(value, bool | np.bool_ | str | bytes):
        return None
    try:
        if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
            return int(number) if (number := float(value)).is_integer() else None
        return operator.index(cast(SupportsIndex, value))
    except Exception:  # noqa: BLE001  (whatever a foreign number does)
        return None
