"""What each operator of a search paid: how many children it made, how many of them were better than
the better of their parents, and by how much; and whether crossover pays more than mutation alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, isfinite
from statistics import fmean

from cellsearch.history import History
from cellsearch.reporting.page import number, table
from cellsearch.trial import IMPORTED, Origin

__all__ = [
    "OPERATOR_COLUMNS",
    "Paid",
    "families",
    "operator_row",
    "operators",
    "operators_section",
    "p_value",
    "paid",
    "verdict",
]

CROSSOVER, MUTATE = "crossover", "mutate"
"""Kinds of origin of children of two parents and of one, as the strategies name them."""


@dataclass(frozen=True, slots=True)
class Paid:
    """The children of one operator."""

    operator: str
    """Kind of origin and, where it has one, its detail."""
    tried: int
    """Children that were trained, or rejected before."""
    failed: int
    """Those of them without a score."""
    better: int
    """Those with a better score than each of their parents."""
    gain: float
    """Mean of what the score was better than that of the better parent, over children with a score;
    negative: worse. Not a number where there is none."""
    best: float
    """The best score of a child; infinity without one."""

    @property
    def share(self) -> float:
        """Of the children the better ones."""
        return self.better / self.tried if self.tried else 0.0

    def to_document(self) -> dict[str, object]:
        """As plain data."""
        return {
            "operator": self.operator,
            "tried": self.tried,
            "failed": self.failed,
            "better": self.better,
            "share": self.share,
            "gain": self.gain if isfinite(self.gain) else None,
            "best": self.best if isfinite(self.best) else None,
        }


def paid(operator: str, children: Sequence[tuple[float, float]]) -> Paid:
    """The record of children: the score of each, infinity for a failure, and that of its better
    parent.
    """
    gains = [before - score for score, before in children if isfinite(score)]
    return Paid(
        operator,
        tried=len(children),
        failed=len(children) - len(gains),
        better=sum(gain > 0 for gain in gains),
        gain=fmean(gains) if gains else float("nan"),
        best=min((score for score, _ in children), default=float("inf")),
    )


def families(history: History) -> dict[str, list[tuple[float, float]]]:
    """The children of each operator that have ended, as :func:`paid` takes them; children of
    parents without a rank, duplicates and imported trials are left out.
    """
    scores: dict[int, float] = {}
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    names: dict[str, str] = {}
    for trial, origin, parents, score, ended in history.descents():
        scores[trial] = score
        if not (ended and parents):
            continue
        before = min([scores.get(n, float("inf")) for n in parents])
        if not isfinite(before):
            continue
        if origin not in names:  # few, of many trials
            named = Origin(origin.kind, origin.detail)
            names[origin] = named if origin.kind and origin.kind != IMPORTED else ""
        if names[origin]:
            found[names[origin]].append((score, before))
    return dict(found)


def operators(history: History) -> list[Paid]:
    """Each operator of a search, and all of a kind together where it has several; those that were
    tried most come first.
    """
    by_operator = families(history)
    kinds: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, children in by_operator.items():
        kind = Origin.parse(name).kind
        kinds[kind] += children
        names[kind].append(name)
    rows: list[Paid] = []
    for kind in sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind)):
        rows.append(paid(kind, kinds[kind]))
        if names[kind] != [kind]:
            single = [
                paid(name if name != kind else f"{kind} alone", by_operator[name])
                for name in names[kind]
            ]
            rows += sorted(single, key=lambda row: (-row.tried, row.operator))
    return rows


def p_value(first: Paid, second: Paid) -> float:
    """Fisher's exact test, two-sided, that children of both are better alike often."""
    wins, tries, total = (
        first.better + second.better,
        first.tried,
        first.tried + second.tried,
    )

    def chance(k: int) -> int:
        return comb(tries, k) * comb(total - tries, wins - k)

    seen = chance(first.better)
    possible = range(max(0, wins - (total - tries)), min(wins, tries) + 1)
    return sum(c for k in possible if (c := chance(k)) <= seen) / comb(total, wins)


def verdict(rows: Sequence[Paid]) -> str:
    """Whether crossover paid more than mutation, in a sentence; ``""`` where one was not tried."""
    by_name = {row.operator: row for row in rows}
    crossed, mutants = by_name.get(CROSSOVER), by_name.get(MUTATE)
    if crossed is None or mutants is None:
        return ""
    p = p_value(crossed, mutants)
    word = "more often than" if crossed.share > mutants.share else "less often than"
    word = word if p < 0.05 else "about as often as"
    return (
        f"children of two parents (crossover) are better than both in {crossed.better} of "
        f"{crossed.tried}, mutants better than their parent in {mutants.better} of "
        f"{mutants.tried}: crossover pays {word} mutation (p = {p:.2g}, Fisher's exact test)"
    )


OPERATOR_COLUMNS = (
    *("operator", "children", "failed", "better than each parent", "share", "mean gain"),
    "best score",
)


def operator_row(row: Paid) -> tuple[str, ...]:
    """The texts of :data:`OPERATOR_COLUMNS`."""
    return (
        row.operator,
        str(row.tried),
        str(row.failed),
        str(row.better),
        f"{row.share:.0%}",
        number(row.gain),
        number(row.best),
    )


def operators_section(history: History) -> str:
    """The section of a report; ``""`` where nothing descends from anything."""
    rows = operators(history)
    if not rows:
        return ""
    columns = [(name, name != OPERATOR_COLUMNS[0]) for name in OPERATOR_COLUMNS]
    cells = [("", operator_row(row)) for row in rows]
    said = verdict(rows)
    note = f'<p class="soft">{said[0].upper()}{said[1:]}.</p>' if said else ""
    return f"<h2>What each operator paid</h2>{table(columns, cells)}{note}"
