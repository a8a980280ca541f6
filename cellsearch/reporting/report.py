"""The report of a run: one self-contained HTML file, without network, server or script. All text is
escaped.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import islice
from typing import Any

from cellsearch.errors import amount
from cellsearch.history import History
from cellsearch.job import Naive
from cellsearch.reporting.ablation import ablations_section
from cellsearch.reporting.charts import Line, Point, line_chart, scatter_chart
from cellsearch.reporting.finals import errors_table, finals_on_section, finals_section
from cellsearch.reporting.lineage import ancestors
from cellsearch.reporting.operators import operators_section
from cellsearch.reporting.page import (
    cell,
    leaderboard,
    number,
    page,
    table,
    trial_table,
)
from cellsearch.reporting.reasons import reasons
from cellsearch.trial import BASELINE, SUPERNET, Status, Trial

__all__ = ["Report", "render_report"]

TOP_CELLS = 5
LEADERBOARD = 40
ANCESTORS = 200
FAILURES = 200
"""So many ancestors of the winner and so many failed trials are listed."""
DOTS = 1500
SPOTS = (40, 24)
"""Above so many cells a chart has one dot for each of so many spots, across and down."""


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

    @property
    def history(self) -> History:
        """The trials as a history."""
        return self.trials if isinstance(self.trials, History) else History(self.trials)


def render_report(report: Report) -> str:
    """The whole page as text."""
    history = report.history
    best = history.best(baselines=False)
    body = "\n".join(
        [
            _head(report, history),
            _charts(report, history),
            "<h2>Leaderboard</h2>" + leaderboard(history, report.metric, LEADERBOARD, report.naive),
            _channels(report, history),
            _front(report, history),
            finals_section(report.finals, report.metric),
            *map(finals_on_section, report.finals_on),
            ablations_section(report.ablations, best.number if best is not None else None),
            _pruned(history),
            _top_cells(report, history),
            _lineage(report, history),
            reasons(history),
            operators_section(history),
            _failures(history),
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
        "means nothing</p>"
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


def _charts(report: Report, history: History) -> str:
    sizes = history.sizes()
    controls = {t.number for t in history.of_kind(BASELINE)}
    found = [(number, score) for number, score, _ in sizes if number not in controls]
    by_trial = _best_so_far([(float(number), score) for number, score in found])
    by_time = _best_so_far(
        sorted((report.ended[number], score) for number, score in found if number in report.ended)
    )
    baselines = [t for t in history.of_kind(BASELINE) if t.is_scored]
    figures = []
    for caption, curve, label in (
        ("Best so far, by trial", by_trial, "trial"),
        ("Best so far, by time", by_time, "seconds since the start"),
    ):
        lines = [Line(tuple(curve), "best found", steps=True)]
        if curve:
            ends = (curve[0][0], curve[-1][0])
            lines += [
                Line(tuple((x, t.score) for x in ends), t.name, "line baseline") for t in baselines
            ]
        figures.append((caption, line_chart(caption, lines, x_label=label, y_label="score")))
    best = history.best(baselines=False)
    drawn, left_out = _thinned(_without_outliers(sizes, controls), controls)
    points = []
    for trial in (history.by_number[place] for place in drawn):
        is_best = best is not None and trial.number == best.number
        css = "dot baseline" if trial.is_baseline else "dot winner" if is_best else "dot"
        result = trial.result
        parameters = result.cell_parameters if result is not None else 0
        title = (
            f"{trial.name}: score {trial.score:.4f}, {parameters:,} cell weights, "
            f"{trial.proposal.origin}"
        )
        points.append(
            Point(
                parameters,
                trial.score,
                title,
                css,
                trial.name if trial.is_baseline or is_best else "",
            )
        )
    figures.append(
        (
            "Score against cell weights",
            scatter_chart(
                "Score against cell weights",
                points,
                x_label="cell weights",
                y_label="score",
            ),
        )
    )
    charts = "".join(
        f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"
        for caption, svg in figures
    )
    note = (
        f"{left_out:,} cells are not drawn: where many lie on one spot, the best of them stands "
        "for all. No cell is left out that is better than all with as many parameters or fewer."
    )
    said = f'<p class="soft">{note}</p>' if left_out else ""
    return f'<h2>Progress</h2><div class="charts">{charts}</div>{said}'


def _best_so_far(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points where the best score changes, and the last one: the line through all of them."""
    curve: list[tuple[float, float]] = []
    best = math.inf
    for x, score in points:
        if score < best:
            best = score
            curve.append((x, best))
    if curve and curve[-1][0] != points[-1][0]:
        curve.append((points[-1][0], best))
    return curve


Size = tuple[int, float, int]
"""Number, score and weights of a trial."""


def _without_outliers(sizes: Sequence[Size], controls: Collection[int]) -> list[Size]:
    """Leave out scores so bad that they would squeeze all others into a line (they stay in the
    leaderboard).
    """
    scores = sorted(score for _, score, _ in sizes)
    if len(scores) < 8:
        return list(sizes)
    low, middle = scores[0], scores[len(scores) // 2]
    limit = middle + 4 * max(middle - low, 1e-9)
    return [one for one in sizes if one[1] <= limit or one[0] in controls]


def _thinned(sizes: Sequence[Size], controls: Collection[int]) -> tuple[list[int], int]:
    """The trials that are drawn, best first, and how many are not.

    Of more than ``DOTS`` the controls and the Pareto front are drawn, and of the others the best of
    each spot of the chart.
    """
    ordered = sorted(sizes, key=lambda one: (one[1], one[0]))
    if len(ordered) <= DOTS:
        return [number for number, _, _ in ordered], 0
    low, high = ordered[0][1], ordered[-1][1]
    smallest, largest = (of(weights for _, _, weights in ordered) for of in (min, max))
    across, down = max(largest - smallest, 1), (high - low) or 1.0
    drawn: list[int] = []
    spots: set[tuple[int, int]] = set()
    least: float = math.inf  # weights of the front so far
    for trial, score, weights in ordered:
        spot = (
            round((weights - smallest) / across * SPOTS[0]),
            round((score - low) / down * SPOTS[1]),
        )
        if trial in controls or weights < least or spot not in spots:
            drawn.append(trial)
        spots.add(spot)
        least = min(least, weights)
    return drawn, len(ordered) - len(drawn)


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


def _lineage(report: Report, history: History) -> str:
    best = history.best(baselines=False)
    if best is None:
        return ""
    items = []
    for relative in islice(ancestors(best, history), ANCESTORS):
        trial = relative.trial
        parents = ", ".join(str(n) for n in trial.proposal.parents) or "none"
        text = (
            f"{trial.name} · score {number(trial.score)} · {trial.proposal.origin} · "
            f"parents: {parents}"
        )
        reason = trial.proposal.reason
        why = f'<div class="soft">{escape(reason)}</div>' if reason else ""
        items.append(
            f'<li style="margin-left:{min(relative.depth, 12) * 18}px">{escape(text)}{why}</li>'
        )
    more = f'<p class="soft">Only the nearest {ANCESTORS} are shown.</p>'
    return (
        f'<h2>Where the winner comes from</h2><ol class="lineage">{"".join(items)}</ol>'
        f"{more if len(items) == ANCESTORS else ''}"
    )


def _failures(history: History) -> str:
    count = history.totals.statuses[Status.FAILED]
    failed = history.failed(FAILURES)
    if not failed:
        return ""
    rows = [
        ("failed", (str(t.number), t.failure.kind, t.failure.message[:300]))
        for t in failed
        if t.failure is not None
    ]
    drawn = table([("trial", True), ("reason", False), ("message", False)], rows)
    causes = ", ".join(f"{count} {kind}" for kind, count in history.causes().items())
    more = count - len(failed)
    note = f'<p class="soft">{more:,} more are not shown.</p>' if more > 0 else ""
    return (
        f"<details><summary>{amount(count, 'failed trial')}: {escape(causes)}</summary>"
        f"{drawn}{note}</details>"
    )


def _settings(report: Report) -> str:
    environment = "\n".join(
        f"{name}: {value}" for name, value in sorted(report.environment.items())
    )
    return (
        f"<h2>Settings</h2><details "
        f"open><summary>experiment</summary><pre>{escape(report.settings)}</pre></details>"
        f"<details><summary>environment</summary><pre>{escape(environment)}</pre></details>"
    )
