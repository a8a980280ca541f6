"""Curves of benchmarks as SVG files that stand alone: means over seeds, and one standard error
around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cellsearch.finals.statistics import mean_and_deviation
from cellsearch.reporting.charts import Line, line_chart
from cellsearch.reporting.figures import paper_figure, series


def mean_curves(
    title: str,
    curves: Mapping[str, Sequence[Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    levels: Mapping[str, float] | None = None,
    ceiling: float = float("inf"),
) -> str:
    """One line for each name, from its curve of each seed: the values after 1, 2, ...

    A line begins where its mean is finite and at most ``ceiling``. ``levels``: dashed lines across.
    """
    lines = [
        _line(name, seeds, series(k), ceiling) for k, (name, seeds) in enumerate(curves.items())
    ]
    end = float(max(len(seed) for seeds in curves.values() for seed in seeds))
    lines += [
        Line(((0.0, level), (end, level)), name, "line baseline")
        for name, level in (levels or {}).items()
    ]
    return paper_figure(line_chart(title, lines, x_label=x_label, y_label=y_label), width=160)


def _line(name: str, seeds: Sequence[Sequence[float]], css: str, ceiling: float) -> Line:
    points, band = [], []
    for place, values in enumerate(zip(*seeds, strict=True), start=1):
        if all(abs(value) < float("inf") for value in values):
            mean, deviation = mean_and_deviation(values)
            error = deviation / len(values) ** 0.5
            if mean <= ceiling:
                points.append((float(place), mean))
                band.append((float(place), mean - error, min(mean + error, ceiling)))
    return Line(tuple(points), name, css, band=tuple(band))
