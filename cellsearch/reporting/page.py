"""What pages and notebooks are made of: numbers for people, tables, the section about a cell. All
text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from cellsearch.errors import amount
from cellsearch.genome.device import INT8
from cellsearch.history import History
from cellsearch.job import Naive
from cellsearch.trial import Trial

__all__ = [
    "cell",
    "cost_columns",
    "cost_text",
    "leaderboard",
    "number",
    "page",
    "precision_note",
    "stylesheet",
    "table",
    "trial_table",
]

_PAGE = """<!DOCTYPE html>
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
_WEIGHTS = (("cell weights", True), ("model weights", True))
_COLUMNS = (
    ("nodes", True),
    ("steps", True),
    ("seconds", True),
    ("status", False),
    ("origin", False),
)


_COSTS = {
    "flash_bytes": "flash (bytes)",
    "ram_bytes": "RAM (bytes)",
    "macs_per_step": "multiply-adds a step",
    "state_bytes": "state (bytes)",
    INT8: "score with int8 weights",
}


def cost_columns(measured: Iterable[Mapping[str, float]]) -> dict[str, str]:
    """Which costs on a device were measured, and what their columns are called."""
    known = {name for numbers in measured for name in numbers}
    return {name: heading for name, heading in _COSTS.items() if name in known}


def cost_text(name: str, measured: Mapping[str, float]) -> str:
    """The text of such a column."""
    value = measured.get(name, math.nan)
    if name == INT8 or not math.isfinite(value):
        return number(value)
    return f"{value:,.0f}"


def page(title: str, body: str, css: str = "") -> str:
    """A whole self-contained page. ``body``: HTML; ``css``: rules besides the common ones."""
    return _PAGE.format(title=escape(title), css=stylesheet() + css, body=body)


def stylesheet() -> str:
    """The rules of every page."""
    return resources.files("cellsearch.reporting").joinpath("report.css").read_text("utf-8")


def number(value: float | None, digits: int = 4) -> str:
    """A number for people; a dash for none."""
    return f"{value:.{digits}f}" if value is not None and math.isfinite(value) else "–"


def table(columns: Sequence[tuple[str, bool]], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table.

    columns: heading, and whether it holds numbers.
    rows: CSS class, and the text of each column.
    """
    kinds = [' class="number"' if numbers else "" for _, numbers in columns]
    head = "".join(
        f"<th{kind}>{escape(text)}</th>" for (text, _), kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        f'<tr class="{css}">'
        + "".join(f"<td{kind}>{escape(text)}</td>" for text, kind in zip(texts, kinds, strict=True))
        + "</tr>"
        for css, texts in rows
    )
    drawn = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{drawn}</div>'


def leaderboard(history: History, metric: str, most: int, naive: Sequence[Naive] = ()) -> str:
    """The best trials, at most ``most``, as a table. ``metric``: name of the task's number, which
    has a column of its own where it is not the score. ``naive``: what is reached without a cell,
    best first.
    """
    more = len(history.ranked) - most
    note = f'<p class="soft">Not shown: {amount(more, "more trial")}.</p>' if more > 0 else ""
    return trial_table(history.top(most), metric, history.best(baselines=False), naive) + note


def trial_table(
    trials: Iterable[Trial], metric: str, best: Trial | None, naive: Sequence[Naive] = ()
) -> str:
    """Trials with a result as a table, in the order given; ``best`` is marked. ``naive``: what is
    reached without a cell, best first.
    """
    shown = [trial for trial in trials if trial.result is not None]
    apart = any(t.result is not None and t.result.metric != t.score for t in shown)
    costs = cost_columns(trial.metrics for trial in shown)
    several = any(trial.repeats for trial in shown)
    more = len(costs) + several
    rows: list[tuple[str, Sequence[str]]] = []
    left = list(naive)

    def put_naive(below: float) -> None:
        while left and left[0].score < below:
            one = left.pop(0)
            own = (number(one.metric), number(one.score)) if apart else (number(one.score),)
            rows.append(("naive", ("", one.name, *own, *["–"] * (5 + more), "no cell", "naive")))

    for rank, trial in enumerate(shown, start=1):
        put_naive(trial.score)
        result = trial.result
        assert result is not None
        texts = (
            str(rank),
            trial.name,
            *([number(result.metric)] if apart else []),
            number(trial.score),
            *([str(trial.trainings)] if several else []),
            f"{result.cell_parameters:,}",
            f"{result.parameters:,}",
            *(cost_text(name, trial.metrics) for name in costs),
            str(len(trial.genome.nodes)),
            str(result.steps),
            f"{result.seconds:.1f}",
            trial.status.value,
            str(trial.proposal.origin),
        )
        rows.append(
            (
                "baseline"
                if trial.is_baseline
                else "winner"
                if best is not None and trial.number == best.number
                else "",
                texts,
            )
        )
    put_naive(math.inf)
    columns = [("#", True), ("cell", False)]
    columns += [(metric, True), ("score", True)] if apart else [(f"score ({metric})", True)]
    heads = [(heading, True) for heading in costs.values()]
    columns += [("trainings", True)] if several else []
    return table([*columns, *_WEIGHTS, *heads, *_COLUMNS], rows)


def cell(trial: Trial, metric: str) -> str:
    """The section about a trial: its numbers, equations, and drawing."""
    genome, result = trial.genome, trial.result
    facts = [
        amount(len(genome.nodes), "node"),
        str(trial.proposal.origin),
    ]
    if result is not None:
        said = [
            f"{metric} {number(result.metric)}",
            amount(result.cell_parameters, "cell weight"),
            amount(result.parameters, "model weight"),
            *(
                f"{heading} {cost_text(name, result.metrics)}"
                for name, heading in cost_columns([result.metrics]).items()
            ),
        ]
        facts = said + facts
    return (
        f'<section class="cell"><div><h3>Trial {trial.number}</h3><p '
        f'class="soft">{escape(" · ".join(facts))}</p>'
        f"<pre>{escape(genome.to_text())}</pre></div><div>{genome.to_svg()}</div></section>"
    )


def precision_note(declared: Mapping[str, Any]) -> str:
    """What the scores of a run were trained in, in words; ``""`` in float32. ``declared``: its
    resolved experiment as plain values.
    """
    precision = declared.get("training", {}).get("precision", "float32")
    return "" if precision == "float32" else f"scores of trainings with products in {precision}"
