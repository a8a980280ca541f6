"""The report of a run: one self-contained HTML file, without network, server or script. All text is
escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

from cellsearch.reporting.charts import Line, Point, line_chart, scatter_chart
from cellsearch.trial import History, Status, Trial

__all__ = ["Report", "render_report"]

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · cellsearch</title>
<style>
{css}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

TOP_CELLS = 5
LEADERBOARD = 40


@dataclass(frozen=True)
class Report:
    """What a report shows. ``ended``: seconds from the start of the run to the end of each trial,
    by number.

    ``settings``: the resolved experiment text; ``environment``: versions and machine; ``metric``:
    name of the task's number; ``finals``: what ``cellsearch finals`` wrote (``rows`` and
    ``sentence``), ``None`` before it ran.
    """

    name: str
    question: str
    task: str
    metric: str
    strategy: str
    trials: Sequence[Trial]
    ended: Mapping[int, float] = field(default_factory=dict)
    settings: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    finals: Mapping[str, Any] | None = None

    @property
    def history(self) -> History:
        """The trials as a history."""
        return History(self.trials)


def render_report(report: Report) -> str:
    """The whole page as text."""
    history = report.history
    css = resources.files("cellsearch.reporting").joinpath("report.css").read_text("utf-8")
    body = "\n".join(
        [
            _head(report, history),
            _charts(report, history),
            _leaderboard(report, history),
            _finals(report),
            _pruned(history),
            _top_cells(report, history),
            _lineage(report, history),
            _failures(history),
            _settings(report),
        ]
    )
    return PAGE.format(title=escape(report.name), css=css, body=body)


def _number(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


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
                _number(best.result.metric),
                f"best {report.metric} (validation), trial {best.number}",
            ),
        )
    if best is not None and baseline is not None:
        change = (best.score / baseline.score - 1) * 100 if baseline.score else math.nan
        tiles.insert(1, (f"{change:+.2f} %", f"score relative to {baseline.name}, same budget"))
    cards = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
        for value, text in tiles
    )
    return (
        f"<h1>{escape(report.name)}</h1><p>{escape(report.question)}</p>"
        f'<p class="soft">strategy {escape(report.strategy)} · task '
        f"{escape(report.task)} · lower score is better · "
        "one training a cell, validation data: a lead within the noise of the seed "
        "means nothing</p>"
        f'<div class="tiles">{cards}</div>'
    )


def _charts(report: Report, history: History) -> str:
    found = sorted(
        (t for t in history.ranked if not t.is_baseline), key=lambda t: t.number
    )  # a supernet is no find
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
            f"{trial.name}: score {trial.score:.4f}, {parameters:,} cell parameters, "
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
            "Score against parameters",
            scatter_chart(
                "Score against parameters",
                points,
                x_label="parameters of the cell",
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


def _table(columns: Sequence[tuple[str, bool]], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table. ``columns``: heading and whether it holds numbers; ``rows``: CSS class and the text
    of each column.
    """
    kinds = [' class="number"' if number else "" for _, number in columns]
    head = "".join(
        f"<th{kind}>{escape(text)}</th>" for (text, _), kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        f'<tr class="{css}">'
        + "".join(f"<td{kind}>{escape(text)}</td>" for text, kind in zip(texts, kinds, strict=True))
        + "</tr>"
        for css, texts in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _leaderboard(report: Report, history: History) -> str:
    best = history.best(baselines=False)
    rows = []
    for rank, trial in enumerate(history.ranked[:LEADERBOARD], start=1):
        result = trial.result
        if result is None:
            continue
        texts = (
            str(rank),
            trial.name,
            _number(result.metric),
            _number(trial.score),
            f"{result.cell_parameters:,}",
            str(len(trial.genome.nodes)),
            str(result.steps),
            f"{result.seconds:.1f}",
            trial.status.value,
            str(trial.proposal.origin),
        )
        rows.append(("baseline" if trial.is_baseline else "winner" if trial is best else "", texts))
    numbers = ("#", report.metric, "score", "cell parameters", "nodes", "steps", "seconds")
    columns = (
        "#",
        "cell",
        report.metric,
        "score",
        "cell parameters",
        "nodes",
        "steps",
        "seconds",
        "status",
        "origin",
    )
    more = len(history.ranked) - LEADERBOARD
    note = f'<p class="soft">{more} more trials are not shown.</p>' if more > 0 else ""
    return "<h2>Leaderboard</h2>" + _table([(c, c in numbers) for c in columns], rows) + note


def _finals(report: Report) -> str:
    if report.finals is None:
        return ""

    def text(value: float | None, digits: int = 4) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    rows = []
    for row in report.finals["rows"]:
        texts = (
            row["name"],
            text(row["mean"]),
            text(row["deviation"]),
            str(len(row["scores"])),
            str(row["failures"]),
            f"{row['parameters']:,}",
            str(row["hidden_size"]),
            f"{row['learning_rate']:g}",
            text(row["p"], 3),
        )
        rows.append(("baseline" if row["baseline"] else "", texts))
    columns = (
        "cell",
        f"test {report.metric}",
        "deviation",
        "trainings",
        "failed",
        "weights",
        "H",
        "rate",
        "p",
    )
    table = _table([(c, c != "cell") for c in columns], rows)
    note = "Retrained from scratch with equally many weights; test data read once a training."
    return (
        f"<h2>Finals</h2><p>{escape(report.finals['sentence'])}</p>{table}<p "
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
                        _number(trial.score),
                        parent.name,
                        _number(parent.score),
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
    table = _table([(c, c not in ("cell", "from")) for c in columns], rows)
    return f'<h2>Pruned cells</h2>{table}<p class="soft">{note}</p>'


def _top_cells(report: Report, history: History) -> str:
    found = [t for t in history.ranked if not t.is_baseline][:TOP_CELLS]
    if not found:
        return ""
    return "<h2>The best cells</h2>" + "".join(_cell(report, trial) for trial in found)


def _cell(report: Report, trial: Trial) -> str:
    genome = trial.genome
    facts = [
        f"{len(genome.nodes)} node{'s' * (len(genome.nodes) != 1)}",
        str(trial.proposal.origin),
    ]
    if trial.result is not None:
        facts = [
            f"{report.metric} {_number(trial.result.metric)}",
            f"{trial.result.cell_parameters:,} parameters",
            *facts,
        ]
    return (
        f'<section class="cell"><div><h3>Trial {trial.number}</h3><p '
        f'class="soft">{escape(" · ".join(facts))}</p>'
        f"<pre>{escape(genome.to_text())}</pre></div><div>{genome.to_svg()}</div></section>"
    )


def _lineage(report: Report, history: History) -> str:
    best = history.best(baselines=False)
    if best is None:
        return ""
    items = []
    for depth, trial in _ancestors(best, history):
        parents = ", ".join(str(n) for n in trial.proposal.parents) or "none"
        text = (
            f"{trial.name} · score {_number(trial.score)} · {trial.proposal.origin} · "
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
        for number in (n for t in level for n in t.proposal.parents):
            parent = history.by_number.get(number)
            if parent is not None and number not in seen:
                seen.add(number)
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
    table = _table([("trial", True), ("reason", False), ("message", False)], rows)
    return f"<details><summary>{len(failed)} failed trials</summary>{table}</details>"


def _settings(report: Report) -> str:
    environment = "\n".join(
        f"{name}: {value}" for name, value in sorted(report.environment.items())
    )
    return (
        f"<h2>Settings</h2><details "
        f"open><summary>experiment</summary><pre>{escape(report.settings)}</pre></details>"
        f"<details><summary>environment</summary><pre>{escape(environment)}</pre></details>"
    )
