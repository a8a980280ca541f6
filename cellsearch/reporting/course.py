"""The course of a search in a report: the best so far, and scores against sizes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from operator import itemgetter

from cellsearch.history import History
from cellsearch.reporting.charts import Line, Point, line_chart, scatter_chart
from cellsearch.trial import BASELINE, Origin

__all__ = ["best_so_far", "course_section", "figures"]

DOTS = 1500
SPOTS = (40, 24)
"""Above so many cells a chart has one dot for each of so many spots, across and down."""


Size = tuple[int, float, int]
"""Number, score and weights of a trial."""


def figures(drawn: Sequence[tuple[str, str]]) -> str:
    """Charts beside one another, each with its caption."""
    parts = "".join(
        f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"
        for caption, svg in drawn
    )
    return f'<div class="charts">{parts}</div>'


def course_section(
    history: History, ended: Mapping[int, float], further: tuple[str, str] | None = None
) -> str:
    """The section.

    ended: seconds from the start of the run to the end of each trial.
    further: caption and drawing of another chart.
    """
    sizes = history.sizes()
    controls = {t.number for t in history.of_kind(BASELINE)}
    found = [(number, score) for number, score, _ in sizes if number not in controls]
    by_trial = best_so_far([(float(number), score) for number, score in found])
    by_time = best_so_far(
        sorted((ended[number], score) for number, score in found if number in ended)
    )
    baselines = [t for t in history.of_kind(BASELINE) if t.is_scored]
    charts = []
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
        charts.append((caption, line_chart(caption, lines, x_label=label, y_label="score")))
    best = history.best(baselines=False)
    drawn, left_out = _thinned(_without_outliers(sizes, controls), controls)
    points = _points(
        drawn,
        {trial.number: trial.name for trial in history.of_kind(BASELINE)},
        history.origins([number for number, _, _ in drawn]),
        best.number if best is not None else None,
    )
    charts.append(
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
    if further is not None:
        charts.append(further)
    note = (
        f"{left_out:,} cells are not drawn: where many lie on one spot, the best of them stands "
        "for all. No cell is left out that is better than all with as many weights or fewer."
    )
    said = f'<p class="soft">{note}</p>' if left_out else ""
    return f"<h2>Progress</h2>{figures(charts)}{said}"


def _points(
    drawn: Sequence[Size],
    controls: Mapping[int, str],
    origins: Mapping[int, Origin],
    best: int | None,
) -> list[Point]:
    """The dots of scores against weights. ``controls``: the name of each baseline."""
    points = []
    for number, score, weights in drawn:
        name = controls.get(number, f"trial {number}")
        css = "dot baseline" if number in controls else "dot winner" if number == best else "dot"
        title = f"{name}: score {score:.4f}, {weights:,} cell weights, {origins[number]}"
        said = name if number in controls or number == best else ""
        points.append(Point(weights, score, title, css, said))
    return points


def best_so_far(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
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


def _thinned(sizes: Sequence[Size], controls: Collection[int]) -> tuple[list[Size], int]:
    """The trials that are drawn, best first, and how many are not.

    Of more than ``DOTS`` the controls and the Pareto front are drawn, and of the others the best of
    each spot of the chart.
    """
    ordered = sorted(sizes, key=itemgetter(1, 0))
    if len(ordered) <= DOTS:
        return ordered, 0
    low, high = ordered[0][1], ordered[-1][1]
    weighed = [weights for _, _, weights in ordered]
    smallest, largest = min(weighed), max(weighed)
    across, down = max(largest - smallest, 1) / SPOTS[0], ((high - low) or 1.0) / SPOTS[1]
    drawn: list[Size] = []
    spots: set[tuple[int, int]] = set()
    least: float = math.inf  # weights of the front so far
    for one in ordered:
        number, score, weights = one
        spot = (round((weights - smallest) / across), round((score - low) / down))
        if spot not in spots or weights < least or number in controls:
            drawn.append(one)
            spots.add(spot)
            least = min(least, weights)
    return drawn, len(ordered) - len(drawn)
