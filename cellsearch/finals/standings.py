"""Cells over several tasks: how each stands, each pair compared, and both in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cellsearch.errors import amount
from cellsearch.finals.ranks import smallest_signed_rank_p
from cellsearch.finals.statistics import SIGNIFICANCE

__all__ = ["FinalComparison", "Standing", "tasks_sentence"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One cell over all tasks."""

    name: str
    """Of the cell."""
    baseline: bool
    """Whether found cells are compared against it."""
    mean_rank: float
    """Mean over the tasks of its rank among all cells, 1 is best."""
    won: float
    """Share of the tasks on which it is the best; a task with several of them counts in parts."""
    failures: int
    """Trainings that failed."""
    trainings: int
    """Of all tasks."""


@dataclass(frozen=True, slots=True)
class FinalComparison:
    """A found cell against a baseline over all tasks."""

    found: str
    """Name of the found cell."""
    against: str
    """Name of the baseline."""
    better: int
    """On how many tasks it is better: by the ranks of the seeds, with p at most .05 after Holm's
    correction for the found cells, and without a failure."""
    worse: int
    """On how many it is worse."""
    tasks: int
    """On how many both were trained."""
    ranks: float
    """Difference of the mean ranks, below 0 is better."""
    p: float
    """Of the signed-rank test over the tasks, after Holm's correction for all comparisons of the
    table."""


def tasks_sentence(
    standings: Sequence[Standing], comparisons: Sequence[FinalComparison], critical: float
) -> str:
    """The found cell with the best mean rank against each baseline, and whether the difference over
    the tasks is significant.

    critical: the critical difference of mean ranks.
    """
    best = next((one for one in standings if not one.baseline), None)
    if best is None:
        return "No found cell took part."
    mine = [one for one in comparisons if one.found == best.name]
    ranks = {one.name: one.mean_rank for one in standings}
    parts = [_against(one, ranks, critical, failed=best.failures > 0) for one in mine]
    if best.failures:
        parts.append(
            f"{best.failures} of {best.trainings} trainings of {best.name} failed; a failure is "
            "the worst result, and such a cell is not called better."
        )
    tasks, least = mine[0].tasks, len(comparisons) * smallest_signed_rank_p(mine[0].tasks)
    if least > SIGNIFICANCE and all(one.p > SIGNIFICANCE for one in mine):
        parts.append(
            f"With {amount(tasks, 'task')} no difference over the tasks could have been "
            f"significant by signed ranks (smallest possible p = {min(1.0, least):.3f})."
        )
    return " ".join(parts)


def _against(
    one: FinalComparison, ranks: Mapping[str, float], critical: float, *, failed: bool
) -> str:
    """One comparison in words."""
    text = (
        f"{one.found} is better than {one.against} on {one.better} of "
        f"{amount(one.tasks, 'task')}, worse on {one.worse}, mean rank {ranks[one.found]:.2f} "
        f"against {ranks[one.against]:.2f}; "
    )
    if one.p <= SIGNIFICANCE:
        lower = one.ranks < 0
        word = "not better, with failures" if lower and failed else "better" if lower else "worse"
        said = f"over the tasks it is {word}"
    else:
        said = "the difference over the tasks is not significant"
    beyond = "more" if abs(one.ranks) > critical else "not more"
    return (
        f"{text}{said} (signed ranks p = {one.p:.3f} after correction; {beyond} than the critical "
        f"difference of mean ranks, {critical:.2f})."
    )
