"""The report of a run: one self-contained HTML file, without network, server or script. All text is
escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import islice
from typing import Any

from cellsearch.errors import amount
from cellsearch.history import History
from cellsearch.job import Naive
from cellsearch.reporting.ablation import ablations_section
from cellsearch.reporting.checklist import AboutRun, checklist_section
from cellsearch.reporting.citing import citation_section
from cellsearch.reporting.costs import costs_section
from cellsearch.reporting.course import course_section
from cellsearch.reporting.curves import curves_chart, learning_curves
from cellsearch.reporting.failures import failures_section
from cellsearch.reporting.finals import errors_table, finals_on_section, finals_section
from cellsearch.reporting.operators import operators_section
from cellsearch.reporting.page import (
    cell,
    leaderboard,
    number,
    page,
    precision_note,
    table,
    trial_table,
)
from cellsearch.reporting.pedigree import pedigree_section
from cellsearch.reporting.reasons import reasons
from cellsearch.reporting.workers import WorkerLine
from cellsearch.reporting.workload import workers_section
from cellsearch.trial import BASELINE, SUPERNET, Status, Trial

__all__ = ["Report", "render_report"]

TOP_CELLS = 5
LEADERBOARD = 40


@dataclass(frozen=True)
class Report:
    """What a report shows."""

    name: str
    """Of the experiment."""
    question: str
    """What the experiment asks; ``""`` for nothing in particular."""
    task: str
    """Name of the task."""
    metric: str
    """Name of the task's number."""
    strategy: str
    """Name of the strategy."""
    trials: Sequence[Trial]
    """Every trial, finished or not."""
    ended: Mapping[int, float] = field(default_factory=dict)
    """Seconds from the start of the run to the end of each trial, by number."""
    settings: str = ""
    """The resolved experiment as text."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions and machine."""
    finals: Mapping[str, Any] | None = None
    """The table of finals (``rows`` and ``sentence``); ``None`` before they ran."""
    finals_on: Sequence[Mapping[str, Any]] = ()
    """Those of finals on other tasks."""
    ablations: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """What ablations of its cells have found, by the number of the trial."""
    headline: tuple[str, str] = ("", "")
    """What the finals say in a few words, and of whom; empty before they ran."""
    naive: Sequence[Naive] = ()
    """What is reached without a cell, best first."""
    data: str = ""
    """The user's own file that was learned from; ``""`` for none."""
    objectives: tuple[str, ...] = ()
    """What the strategy minimises, where that is more than the score."""
    front: Sequence[Trial] = ()
    """The found cells that no other is better than in all objectives."""
    asked_for: int = 0
    """How many trials the experiment asks for; 0: that is not known."""
    declared: Mapping[str, Any] = field(default_factory=dict)
    """The resolved experiment as plain values; empty: it is not known."""
    machines: Sequence[Mapping[str, str]] = ()
    """Versions and machine of each sitting."""
    work: Sequence[WorkerLine] = ()
    """What each worker did."""
    paper: str = ""
    """Where the strategy was published."""

    @property
    def history(self) -> History:
        """The trials as a history."""
        return self.trials if isinstance(self.trials, History) else History(self.trials)

    @property
    def about(self) -> AboutRun:
        """What is known of the run besides its trials."""
        return AboutRun(
            declared=self.declared,
            machines=self.machines,
            data=self.data,
            finals=self.finals,
            finals_on=self.finals_on,
            ablations=self.ablations,
            searched=max(self.ended.values(), default=0.0),
            trained=sum(line.busy for line in self.work),
            paper=self.paper,
        )


def render_report(report: Report) -> str:
    """The whole page as text."""
    history = report.history
    best = history.best(baselines=False)
    about = report.about
    body = "\n".join(
        [
            _head(report, history),
            course_section(history, report.ended, curves_chart(learning_curves(history))),
            "<h2>Leaderboard</h2>" + leaderboard(history, report.metric, LEADERBOARD, report.naive),
            _channels(report, history),
            _front(report, history),
            finals_section(report.finals, report.metric),
            *map(finals_on_section, report.finals_on),
            ablations_section(report.ablations, best.number if best is not None else None),
            _pruned(history),
            _top_cells(report, history),
            costs_section(history),
            pedigree_section(history),
            reasons(history),
            operators_section(history),
            failures_section(history),
            workers_section(report.work),
            checklist_section(about, history),
            citation_section(about, history, report.metric),
            _settings(report),
        ]
    )
    return page(report.name, body)


def _head(report: Report, history: History) -> str:
    best = history.best(baselines=False)
    baseline = min(
        (t for t in history.of_kind(BASELINE) if t.is_scored), key=lambda t: t.score, default=None
    )
    counts = history.totals.statuses
    tiles = [
        (str(counts[Status.COMPLETED] + counts[Status.STOPPED]), "cells trained"),
        (str(counts[Status.DUPLICATE]), "duplicates answered"),
        (str(counts[Status.FAILED]), "failed"),
    ]
    if best is not None and best.result is not None:
        tiles.insert(
            0,
            (
                number(best.result.metric),
                f"best {report.metric} (validation), {best.name}{_failed_finals(report, best)}",
            ),
        )
    if any(report.headline):
        tiles.insert(1, report.headline)
    elif best is not None and baseline is not None:
        change = (best.score / baseline.score - 1) * 100 if baseline.score else math.nan
        word = "better" if change < 0 else "worse" if change > 0 else "equal"
        said = f"{word}: score relative to {baseline.name}, same budget, validation, one training"
        tiles.insert(1, (f"{change:+.2f} %", said))
    note = precision_note(report.declared)
    cards = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
        for value, text in tiles
    )
    return (
        f"<h1>{escape(report.name)}</h1><p>{escape(report.question)}</p>"
        f'<p class="soft">strategy {escape(report.strategy)} · task '
        f"{escape(report.task)}{escape(f' ({report.data})') if report.data else ''} · "
        f"{escape(_done(report, history))} · lower score is better · "
        f"{escape(_trainings(history))}, validation data: a lead within the noise of the seed "
        f"means nothing{escape(f' · {note}' if note else '')}</p>"
        f'<div class="tiles">{cards}</div>'
    )


def _trainings(history: History) -> str:
    """How often a cell was trained, in words."""
    if not any(trial.repeats for trial in [*history.of_kind(BASELINE), *history.top(1)]):
        return "one training a cell"
    return (
        f"leaders are trained again with new seeds ({history.repeated():.0%} of the training time) "
        "and rank by the mean"
    )


def _failed_finals(report: Report, trial: Trial) -> str:
    """How many final trainings of a cell failed, in words; ``""`` where none did."""
    rows = report.finals["rows"] if report.finals is not None else ()
    row = next((row for row in rows if row["name"] == trial.name), None)
    if row is None or not row["failures"]:
        return ""
    total = len(row["scores"]) + row["failures"]
    return f"; {row['failures']} of {amount(total, 'final training')} failed"


def _done(report: Report, history: History) -> str:
    """How many trials there are, and how many were asked for, of those that count."""
    done = history.totals.ended
    if done < report.asked_for:
        return f"{done} of {amount(report.asked_for, 'trial')} done"
    return f"{amount(done, 'trial')} done"


def _channels(report: Report, history: History) -> str:
    """The errors of each column in its own unit, of the best cell and of what needs no cell."""
    best = history.best(baselines=False)
    names = list(report.naive[0].errors) if report.naive else []
    if not names:
        return ""
    shown = [(t.name, t.result.metrics, "baseline") for t in history.of_kind(BASELINE) if t.result]
    if best is not None and best.result is not None:
        shown.insert(0, (best.name, best.result.metrics, "winner"))
    shown += [(one.name, one.errors, "naive") for one in report.naive]
    drawn = errors_table(shown)
    lost = best is not None and next((n for n in report.naive if n.score < best.score), None)
    said = (
        f"<p>The best cell is worse than what needs no cell: {escape(lost.name)} "
        f"({number(lost.score)} against {number(best.score)}).</p>"
        if lost and best is not None
        else ""
    )
    return f"<h2>Errors in the unit of each column</h2>{said}{drawn}"


def _front(report: Report, history: History) -> str:
    if not report.front:
        return ""
    said = f"No found cell is better than one of these in all of: {', '.join(report.objectives)}."
    drawn = trial_table(report.front, report.metric, history.best(baselines=False))
    return f'<h2>Pareto front</h2><p class="soft">{escape(said)}</p>{drawn}'


def _pruned(history: History) -> str:
    if not history.of_kind(SUPERNET):
        return ""
    gaps = ((trial, history.gap(trial)) for trial in history.ranked)
    best = list(islice(((t, gap) for t, gap in gaps if gap is not None), LEADERBOARD + 1))
    rows = []
    for trial, gap in sorted(best[:LEADERBOARD], key=lambda pair: pair[0].number):
        parent = history.by_number[trial.proposal.parents[0]]
        texts = (
            trial.name,
            f"{trial.result.cell_parameters:,}" if trial.result is not None else "",
            number(trial.score),
            parent.name,
            number(parent.score),
            f"{gap:+.4f}",
        )
        rows.append(("", texts))
    if not rows:
        return ""
    columns = ("cell", "weights", "score", "from", "score with gates", "gap")
    note = (
        "Score of the discrete cell, trained from scratch under one budget, minus the "
        "score of the cell with connection gates that it was "
        "pruned from, which had the trainings of all rounds before it."
    )
    if len(best) > LEADERBOARD:
        note += f" The best {LEADERBOARD} are shown, there are more."
    drawn = table([(c, c not in ("cell", "from")) for c in columns], rows)
    return f'<h2>Pruned cells</h2>{drawn}<p class="soft">{note}</p>'


def _top_cells(report: Report, history: History) -> str:
    found = list(islice((t for t in history.ranked if not t.is_baseline), TOP_CELLS))
    if not found:
        return ""
    return "<h2>The best cells</h2>" + "".join(cell(trial, report.metric) for trial in found)


def _settings(report: Report) -> str:
    environment = "\n".join(
        f"{name}: {value}" for name, value in sorted(report.environment.items())
    )
    return (
        f"<h2>Settings</h2><details "
        f"open><summary>experiment</summary><pre>{escape(report.settings)}</pre></details>"
        f"<details><summary>environment</summary><pre>{escape(environment)}</pre></details>"
    )
