"""The section of a report about where the leaders come from. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import islice

from cellsearch.history import History
from cellsearch.reporting.charts import Point, tree_chart
from cellsearch.reporting.course import figures
from cellsearch.reporting.lineage import Relative, ancestors
from cellsearch.reporting.page import number, table
from cellsearch.trial import Trial

__all__ = ["Step", "chain", "pedigree_chart", "pedigree_section"]

ANCESTORS = 60
"""So many of the winner are listed."""
DRAWN = 60
"""So many are drawn."""
OTHERS = 4
STEPS = 12
"""Further leaders, and the steps of the way of each, that are listed."""
LENGTH = 300
"""Characters of a reason, at most."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way to a cell."""

    trial: Trial
    """What the step made."""
    gain: float
    """Score of its better parent minus its own, above 0 is better; NaN without parents that have
    one."""


def chain(trial: Trial, history: History, most: int = STEPS) -> list[Step]:
    """The way to a trial from its better parent, its better parent in turn, ...; the trial
    first, at most ``most`` steps.
    """
    found: list[Step] = []
    seen: set[int] = set()
    current: Trial | None = trial
    while current is not None and current.number not in seen and len(found) < most:
        seen.add(current.number)
        parents = _parents(current, history)
        found.append(Step(current, gain(current, parents)))
        current = parents[0] if parents else None
    return found


def gain(trial: Trial, parents: Iterable[Trial]) -> float:
    """Score of the best of the parents minus that of the trial; NaN where there is none."""
    before = min((parent.score for parent in parents), default=math.inf)
    return before - trial.score if math.isfinite(before) and trial.is_scored else math.nan


def _parents(trial: Trial, history: History) -> list[Trial]:
    """Those that there are, the better first."""
    known = (history.by_number.get(n) for n in trial.proposal.parents)
    return sorted((t for t in known if t is not None), key=lambda t: (t.score, t.number))


def pedigree_chart(family: Iterable[Relative], best: int) -> tuple[str, str] | None:
    """Caption and chart of a family: each trial where it was proposed and what it reached, joined
    with its parents; ``None`` for a single one.
    """
    shown = [one.trial for one in family if one.trial.is_scored]
    if len(shown) < 2:
        return None
    place = {trial.number: k for k, trial in enumerate(shown)}
    points = [
        Point(
            trial.number,
            trial.score,
            f"{trial.name}: score {trial.score:.4f}, {trial.proposal.origin}",
            "dot" + (" baseline" * trial.is_baseline or " winner" * (trial.number == best)),
            trial.name if trial.is_baseline or trial.number == best else "",
        )
        for trial in shown
    ]
    edges = [
        (place[parent], place[trial.number], f"{trial.name}: {trial.proposal.origin}")
        for trial in shown
        for parent in dict.fromkeys(trial.proposal.parents)
        if parent in place
    ]
    caption = "Ancestors of the winner"
    return caption, tree_chart(caption, points, edges, x_label="trial", y_label="score")


def pedigree_section(history: History) -> str:
    """The section; ``""`` without a found cell."""
    best = history.best(baselines=False)
    if best is None:
        return ""
    family = list(islice(ancestors(best, history), ANCESTORS))
    drawn = pedigree_chart(family[:DRAWN], best.number)
    rows: list[tuple[str, tuple[str, ...]]] = []
    for one in family:
        trial, parents = one.trial, _parents(one.trial, history)
        css = "baseline" if trial.is_baseline else "winner" if trial.number == best.number else ""
        texts = (
            trial.name,
            str(one.depth),
            number(trial.score),
            _signed(gain(trial, parents)),
            str(trial.proposal.origin),
            ", ".join(str(n) for n in trial.proposal.parents) or "none",
            _short(trial.proposal.reason),
        )
        rows.append((css, texts))
    columns = [("cell", False), ("generations before", True), ("score", True), ("gain", True)]
    columns += [("by", False), ("from trials", False), ("reason", False)]
    if not any(texts[-1] for _, texts in rows):  # no column for what nobody said
        columns, rows = columns[:-1], [(css, texts[:-1]) for css, texts in rows]
    more = (
        f'<p class="soft">Only the nearest {ANCESTORS} are shown.</p>'
        if len(family) == ANCESTORS
        else ""
    )
    note = "Gain: score of the better parent minus that of the cell; above 0 it became better."
    return (
        "<h2>Where the winner comes from</h2>"
        f"{figures([drawn]) if drawn else ''}{table(columns, rows)}"
        f'<p class="soft">{note}</p>{more}{_others(history, best)}'
    )


def _others(history: History, best: Trial) -> str:
    """The ways to the other leaders, a line each."""
    found = (t for t in history.ranked if not t.is_baseline and t.number != best.number)
    lines = []
    for trial in islice(found, OTHERS):
        way = chain(trial, history)
        parts = [f"{step.trial.name} ({number(step.trial.score)})" for step in way]
        origins = [str(step.trial.proposal.origin) for step in way]
        text = parts[0] + "".join(
            f" ← {origin} ← {part}" for origin, part in zip(origins, parts[1:], strict=False)
        )
        if not way[-1].trial.proposal.parents:
            text += f" ← {origins[-1]}"
        lines.append(f"<li>{escape(text)}</li>")
    if not lines:
        return ""
    head = "<h3>The other leaders, by their better parent</h3>"
    return f'{head}<ol class="ways">{"".join(lines)}</ol>'


def _signed(value: float) -> str:
    return f"{value:+.4f}" if math.isfinite(value) else "–"


def _short(text: str) -> str:
    return text if len(text) <= LENGTH else f"{text[:LENGTH]} ..."
