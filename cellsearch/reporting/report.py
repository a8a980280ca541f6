"""The report of a run: one self-contained HTML file, without network, server or script. All text is
escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from cellsearch.errors import amount
from cellsearch.reporting.charts import Line, Point, line_chart, scatter_chart
from cellsearch.reporting.page import cell, leaderboard, number, page, table
from cellsearch.trial import History, Status, Trial

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
    headline: tuple[str, str] = ("", "")
    """What the finals say in a few words, and of whom; empty before they ran."""
    data: str = ""
    """The user's own file that was learned from; ``""`` for none."""
    asked_for: int = 0
    """How many trials the experiment asks for; 0: that is not known."""

    @property
    def history(self) -> History:
        """The trials as a history."""
        return History(self.trials)


def render_report(report: Report) -> str:
    """The whole page as text."""
    history = report.history
    body = "\n".join(
        [
            _head(report, history),
            _charts(report, history),
            "<h2>Leaderboard</h2>" + leaderboard(history, report.metric, LEADERBOARD),
            _finals(report),
            _pruned(history),
            _top_cells(report, history),
            _lineage(report, history),
            _failures(history),
            _settings(report),
        ]
    )
    return page(report.name, body)


def _head(report: Report, history: History) -> str:
    best = history.best(baselines=False)
    baseline = min(
        (t for t in history.scored if t.is_baseline), key=lambda t: t.score, default=None
    )
    counts = {status: sum(t.status is status for t in history) for status in Status}
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
        "one training a cell, validation data: a lead within the noise of the seed "
        "means nothing</p>"
        f'<div class="tiles">{cards}</div>'
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
    done = sum(t.status.finished and not (t.is_rejected or t.is_imported) for t in history)
    if done < report.asked_for:
        return f"{done} of {amount(report.asked_for, 'trial')} done"
    return f"{amount(done, 'trial')} done"


def _charts(report: Report, history: History) -> str:
    found = sorted((t for t in history.ranked if not t.is_baseline), key=lambda t: t.number)
    by_trial = _best_so_far([(float(t.number), t.score) for t in found])
    by_time = _best_so_far(
        sorted((report.ended[t.number], t.score) for t in found if t.number in report.ended)
    )
    baselines = [t for t in history.scored if t.is_baseline]
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
    points = []
    for trial in _without_outliers(history.ranked):
        css = "dot baseline" if trial.is_baseline else "dot winner" if trial is best else "dot"
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
                trial.name if trial.is_baseline or trial is best else "",
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
    drawn = "".join(
        f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"
        for caption, svg in figures
    )
    return f'<h2>Progress</h2><div class="charts">{drawn}</div>'


def _best_so_far(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    curve: list[tuple[float, float]] = []
    best = math.inf
    for x, score in points:
        best = min(best, score)
        curve.append((x, best))
    return curve


def _without_outliers(trials: Sequence[Trial]) -> list[Trial]:
    """Leave out scores so bad that they would squeeze all others into a line (they stay in the
    leaderboard).
    """
    scores = sorted(t.score for t in trials)
    if len(scores) < 8:
        return list(trials)
    low, middle = scores[0], scores[len(scores) // 2]
    limit = middle + 4 * max(middle - low, 1e-9)
    return [t for t in trials if t.score <= limit or t.is_baseline]


def _finals(report: Report) -> str:
    if report.finals is None:
        return ""
    rows = []
    for row in report.finals["rows"]:
        texts = (
            row["name"],
            number(row["mean"]),
            number(row["deviation"]),
            str(len(row["scores"])),
            str(row["failures"]),
            f"{row['cell_weights']:,}" if row.get("cell_weights") else "–",
            f"{row['parameters']:,}" if row["parameters"] else "–",
            str(row["hidden_size"]),
            f"{row['learning_rate']:g}",
            number(row["p"], 3),
        )
        rows.append(("baseline" if row["baseline"] else "", texts))
    columns = (
        "cell",
        f"test {report.metric}",
        "deviation",
        "trainings",
        "failed",
        "cell weights",
        "model weights",
        "H",
        "rate",
        "p",
    )
    drawn = table([(c, c != "cell") for c in columns], rows)
    note = "Retrained from scratch with equally many weights; test data read once a training."
    return (
        f"<h2>Finals</h2><p>{escape(report.finals['sentence'])}</p>{drawn}<p "
        f'class="soft">{note}</p>'
    )


def _pruned(history: History) -> str:
    rows = []
    for trial in sorted(history.ranked, key=lambda t: t.number):
        gap = history.gap(trial)
        if gap is not None and trial.result is not None:
            parent = history.by_number[trial.proposal.parents[0]]
            weights = f"{trial.result.cell_parameters:,}"
            rows.append(
                (
                    "",
                    (
                        trial.name,
                        weights,
                        number(trial.score),
                        parent.name,
                        number(parent.score),
                        f"{gap:+.4f}",
                    ),
                )
            )
    if not rows:
        return ""
    columns = ("cell", "weights", "score", "from", "score with gates", "gap")
    note = (
        "Score of the discrete cell, trained from scratch under one budget, minus the "
        "score of the cell with connection gates that it was "
        "pruned from, which had the trainings of all rounds before it."
    )
    drawn = table([(c, c not in ("cell", "from")) for c in columns], rows)
    return f'<h2>Pruned cells</h2>{drawn}<p class="soft">{note}</p>'


def _top_cells(report: Report, history: History) -> str:
    found = [t for t in history.ranked if not t.is_baseline][:TOP_CELLS]
    if not found:
        return ""
    return "<h2>The best cells</h2>" + "".join(cell(trial, report.metric) for trial in found)


def _lineage(report: Report, history: History) -> str:
    best = history.best(baselines=False)
    if best is None:
        return ""
    items = []
    for depth, trial in _ancestors(best, history):
        parents = ", ".join(str(n) for n in trial.proposal.parents) or "none"
        text = (
            f"{trial.name} · score {number(trial.score)} · {trial.proposal.origin} · "
            f"parents: {parents}"
        )
        items.append(f'<li style="margin-left:{min(depth, 12) * 18}px">{escape(text)}</li>')
    return f'<h2>Where the winner comes from</h2><ol class="lineage">{"".join(items)}</ol>'


def _ancestors(trial: Trial, history: History) -> list[tuple[int, Trial]]:
    """The trial and everything it descends from, each once, with its distance."""
    seen = {trial.number}
    level = [trial]
    found: list[tuple[int, Trial]] = []
    depth = 0
    while level:
        found += [(depth, t) for t in level]
        above: list[Trial] = []
        for above_it in (n for t in level for n in t.proposal.parents):
            parent = history.by_number.get(above_it)
            if parent is not None and above_it not in seen:
                seen.add(above_it)
                above.append(parent)
        level, depth = above, depth + 1
    return found


def _failures(history: History) -> str:
    failed = [t for t in history if t.failure is not None]
    if not failed:
        return ""
    rows = [
        ("failed", (str(t.number), t.failure.kind, t.failure.message[:300]))
        for t in failed
        if t.failure is not None
    ]
    drawn = table([("trial", True), ("reason", False), ("message", False)], rows)
    causes = ", ".join(f"{count} {kind}" for kind, count in history.causes().items())
    return (
        f"<details><summary>{amount(len(failed), 'failed trial')}: {escape(causes)}</summary>"
        f"{drawn}</details>"
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
