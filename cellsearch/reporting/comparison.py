"""Several runs beside one another: what a comparison holds, and its table, figure and page. All
text is escaped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from cellsearch.errors import amount
from cellsearch.reporting.charts import Line, Point, line_chart, strip_chart
from cellsearch.reporting.compared import ComparedGroup, SharedCell, deviation, mean
from cellsearch.reporting.figures import series, series_rules
from cellsearch.reporting.notebook import framed
from cellsearch.reporting.page import number, page, table

__all__ = ["AXES", "BY_SEED", "SHARED_COLUMNS", "RunComparison", "spent_text"]

AXES: Mapping[str, str] = {
    "trials": "trials",
    "seconds": "seconds of searching",
    "compute": "optimizer steps × multiply-adds",
}
"""What runs are compared by, and what the axis is called."""
SHARES = (0.25, 0.5)
"""At these shares of the budget the table shows the scores besides those at its end."""
MOST_SEEDS = 8
"""So many scores are listed one by one."""
MOST_SHARED = 12
"""So many shared cells are listed."""
MOST_POINTS = 400
"""Points of a drawn line, at most."""
MOST_LETTERS = 22
"""Letters of a name beside a chart."""
DRAWN = 3
"""So many shared cells are drawn on the page."""


@dataclass(frozen=True)
class RunComparison:
    """Several runs of one task: how fast each kind of search came how far."""

    axis: str
    """What they are compared by, of :data:`AXES`."""
    task: str
    """Name of the task that all of them searched for."""
    metric: str
    """Name of its number."""
    at: float
    """How much each was given: scores are compared as they were then."""
    groups: tuple[ComparedGroup, ...]
    """Best first."""
    control: str
    """Name of the group that the others are tested against."""
    sentences: tuple[str, ...]
    """What the tests say, in words."""
    baselines: Mapping[str, float]
    """Mean score of each baseline over the runs."""
    cells: int
    """How many different cells the runs have found together."""
    shared: tuple[SharedCell, ...]
    """Those that more than one run has found: found by most groups first, then by mean score."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""

    def header(self) -> tuple[str, ...]:
        """The headings of :meth:`rows`."""
        shares = (f"at {share:.0%}".replace("%", " %") for share in SHARES)
        end = f"best score at {spent_text(self.at)} {_UNITS[self.axis]}"
        tests = ("beats the control", "p (Holm)")
        return ("", "runs", *shares, end, "deviation", "by seed", *tests)

    def rows(self) -> list[tuple[str, ...]]:
        """A row of text for each group."""
        return [self._row(group) for group in self.groups]

    def _row(self, group: ComparedGroup) -> tuple[str, ...]:
        ends = group.scores(self.at)
        name = f"{group.name} (control)" if group.name == self.control else group.name
        beats = "–"
        if not math.isnan(group.superiority):
            beats = f"{group.superiority:.2f} ({group.low:.2f} to {group.high:.2f})"
        return (
            name,
            str(len(group.runs)),
            *(number(mean(group.scores(share * self.at))) for share in SHARES),
            number(mean(ends)),
            number(deviation(ends)),
            seeds_text(ends),
            beats,
            number(group.p, 3),
        )

    def shared_rows(self) -> list[tuple[str, ...]]:
        """A row of text for each of the first shared cells; see :data:`SHARED_COLUMNS`."""
        return [
            (
                f"{cell.found[0][0]}:{cell.found[0][1]}",
                str(len(cell.found)),
                ", ".join(cell.groups),
                number(cell.mean),
                number(cell.spread),
                ", ".join(f"{self._short(run)}:{trial}" for run, trial, _ in cell.found[1:4])
                + (", ..." if len(cell.found) > 4 else ""),
            )
            for cell in self.shared[:MOST_SHARED]
        ]

    def _short(self, path: str) -> str:
        """The folder of a run as seen from the one that all of them lie in."""
        paths = [run.path for group in self.groups for run in group.runs]
        common = os.path.commonpath([os.path.dirname(os.path.abspath(p)) for p in paths])
        return os.path.relpath(os.path.abspath(path), common)

    @property
    def overlap(self) -> str:
        """How many cells are shared, in words."""
        across = sum(len(cell.groups) > 1 for cell in self.shared)
        return (
            f"{amount(self.cells, 'different cell')} with a score, baselines left out; "
            f"{len(self.shared):,} of them in more than one run, {across:,} in more than one group"
        )

    def to_document(self) -> dict[str, Any]:
        """Plain data; ``None`` for numbers that do not exist."""
        groups = [
            {
                **asdict(group),
                "scores": group.scores(self.at),
                "mean": mean(group.scores(self.at)),
                "deviation": deviation(group.scores(self.at)),
            }
            for group in self.groups
        ]
        shared = [
            {
                "key": cell.genome.key,
                "cell": cell.genome.to_text(),
                "found": [dict(zip(("run", "trial", "score"), f, strict=True)) for f in cell.found],
                "groups": cell.groups,
            }
            for cell in self.shared
        ]
        plain = {k: getattr(self, k) for k in ("axis", "task", "metric", "at", "control", "cells")}
        plain |= {"baselines": dict(self.baselines), "notes": self.notes}
        return {**plain, "sentences": self.sentences, "groups": groups, "shared": shared}

    def to_svg(self) -> str:
        """The curves as a chart for a page: mean over the runs of each group, from the worst to the
        best of them as a band, baselines dashed.
        """
        ceiling = self._ceiling()
        lines = [_line(g, series(k), self.at, ceiling) for k, g in enumerate(self.groups)]
        lines += [
            Line(((0.0, score), (self.at, score)), name, "line baseline")
            for name, score in self.baselines.items()
            if score <= ceiling
        ]
        return line_chart(
            "Best score so far", lines, x_label=AXES[self.axis], y_label=f"score ({self.metric})"
        )

    def _ceiling(self) -> float:
        """Above this nothing is drawn: the first cells of a search say little, and would press
        everything else together.
        """
        early = [mean(group.scores(0.1 * self.at)) for group in self.groups]
        ends = [score for g in self.groups for score in g.scores(self.at) if score < math.inf]
        known = [score for score in (*early, *self.baselines.values()) if math.isfinite(score)]
        if not known or not ends:
            return math.inf
        return max(*known, *ends) + 0.1 * (max(*known, *ends) - min(ends))

    def _ends(self) -> str:
        """The end of each run as a dot, a row for each group."""
        rows = [
            (
                _cut(group.name),
                [
                    Point(score, 0.0, f"{run.path}: {score:.6g}", f"dot {series(k)}")
                    for run, score in zip(group.runs, group.scores(self.at), strict=True)
                    if score < math.inf
                ],
            )
            for k, group in enumerate(self.groups)
        ]
        return strip_chart(
            "Score of each run at the end", rows, x_label=f"best score ({self.metric})"
        )

    def to_html(self) -> str:
        """One self-contained page."""
        return page(f"{self.task}, compared", self._body(DRAWN), series_rules())

    def _repr_html_(self) -> str:
        return framed(self._body(0))

    def _body(self, drawn: int) -> str:
        runs = amount(sum(len(group.runs) for group in self.groups), "run")
        head = self.header()
        marked = [
            (
                "winner" if group.p <= 0.05 and group.superiority > 0.5 else "",
                row[:BY_SEED] + row[BY_SEED + 1 :],  # these are drawn, and listed below
            )
            for group, row in zip(self.groups, self.rows(), strict=True)
        ]
        columns = [(text, k > 0) for k, text in enumerate(head) if k != BY_SEED]
        shared = self.shared_rows()
        return "\n".join(
            [
                f"<h1>{escape(self.task)}, {runs} compared</h1>",
                f'<p class="soft">best validation score so far, lower is better · compared at '
                f"{escape(spent_text(self.at))} {escape(AXES[self.axis])} · lines are means, bands "
                "reach from the worst run to the best</p>",
                *(f"<p>{escape(sentence)}</p>" for sentence in self.sentences),
                *(f'<p class="soft">{escape(note)}</p>' for note in self.notes),
                '<div class="charts">',
                f"<figure><figcaption>Best so far</figcaption>{self.to_svg()}</figure>",
                f"<figure><figcaption>Each run at the end</figcaption>{self._ends()}</figure>",
                "</div>",
                f"<h2>Groups</h2>{table(columns, marked)}",
                f"<h2>Cells that runs share</h2><p>{escape(self.overlap)}.</p>",
                table(
                    [(text, right) for text, right in SHARED_COLUMNS], [("", row) for row in shared]
                )
                if shared
                else "",
                *map(_drawn, self.shared[:drawn]),
                self._list_of_runs(),
            ]
        )

    def _list_of_runs(self) -> str:
        rows = [
            ("", (group.name, run.path, str(run.seed), str(run.trials), number(run.best(self.at))))
            for group in self.groups
            for run in group.runs
        ]
        heads = [("group", False), ("run", False), ("seed", True), ("trials", True)]
        listed = table([*heads, ("score", True)], rows)
        return f"<h2>Runs</h2>{listed}"


BY_SEED = 6
"""Which column of the table of groups holds scores one by one."""
SHARED_COLUMNS = (
    ("cell", False),
    ("runs", True),
    ("groups", False),
    ("mean score", True),
    ("worst − best", True),
    ("the same as", False),
)
"""Headings of :meth:`RunComparison.shared_rows`, and whether they are of numbers."""
_UNITS = {"trials": "trials", "seconds": "s", "compute": "steps × multiply-adds"}


def seeds_text(scores: Sequence[float]) -> str:
    """The scores one by one, or where they lie."""
    if len(scores) <= MOST_SEEDS:
        return " ".join(number(score) for score in scores)
    return f"{number(min(scores))} to {number(max(scores))}"


def spent_text(spent: float) -> str:
    """How much, for people."""
    return f"{spent:,.0f}" if 100 <= spent < 1e6 else f"{spent:.3g}"


def _line(group: ComparedGroup, css: str, at: float, ceiling: float) -> Line:
    """The line and the band of a group. Both are steps, so a band has two points at each."""
    places = {x for run in group.runs for x, _ in run.points if x <= at} | {at}
    every = sorted(places)
    stride = -(-len(every) // MOST_POINTS)
    kept = sorted({*every[::stride], every[-1]})
    points: list[tuple[float, float]] = []
    band: list[tuple[float, float, float]] = []
    for x in kept:
        scores = group.scores(x)
        middle = mean(scores)
        if not middle <= ceiling:
            continue
        if band:
            band.append((x, *band[-1][1:]))
        points.append((x, middle))
        band.append((x, min(scores), min(max(scores), ceiling)))
    several = len(group.runs) > 1
    return Line(
        tuple(points), _cut(group.name), css, steps=True, band=tuple(band) if several else ()
    )


def _cut(name: str) -> str:
    """A name as there is room for beside a chart."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


def _drawn(cell: SharedCell) -> str:
    run, trial, _ = cell.found[0]
    title = escape(f"{run}:{trial}")
    return (
        f'<section class="cell"><div><h3>{title}</h3><p class="soft">found by '
        f"{escape(amount(len(cell.found), 'run'))}: {escape(', '.join(cell.groups))}</p>"
        f"<pre>{escape(cell.genome.to_text())}</pre></div>"
        f"<div>{cell.genome.to_svg()}</div></section>"
    )
