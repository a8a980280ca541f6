"""Curves of benchmarks as SVG files that stand alone: means over seeds, and one standard error
around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cellsearch.finals.statistics import mean_and_deviation
from cellsearch.reporting.charts import Line, line_chart

_COLOURS = ("#888888", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d")
_STYLE = (
    "text{font:11px sans-serif;fill:#777} .grid{stroke:#7774} .axis{stroke:#777} "
    "polyline{fill:none;stroke-width:1.8}"
    ".band{stroke:none;opacity:.15} .level{stroke:#777;stroke-dasharray:4 3} "
    "text.level{stroke:none}"
)


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
    Eight curves at most.
    """
    if len(curves) > len(_COLOURS):
        raise ValueError(f"{len(curves)} curves, but there are {len(_COLOURS)} colours")
    lines = [_line(name, seeds, f"s{k}", ceiling) for k, (name, seeds) in enumerate(curves.items())]
    end = float(max(len(seed) for seeds in curves.values() for seed in seeds))
    lines += [
        Line(((0.0, level), (end, level)), name, "level") for name, level in (levels or {}).items()
    ]
    style = _STYLE
    for k, colour in enumerate(_COLOURS):
        style += (
            f"polyline.s{k}{{stroke:{colour}}} .band.s{k}{{fill:{colour}}} "
            f"text.s{k}{{fill:{colour}}}"
        )
    chart = line_chart(title, lines, x_label=x_label, y_label=y_label)
    return chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        "<title>", f"<style>{style}</style><title>", 1
    )


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
