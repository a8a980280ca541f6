"""How a diagnosis is shown: tables, a page, one SVG. All text is escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cellsearch.diagnostics import Diagnosis
from cellsearch.reporting.charts import HEIGHT, WIDTH, Line, Point, line_chart, scatter_chart
from cellsearch.reporting.page import number, page, stylesheet, table

__all__ = ["Diagnosed", "gate_rows", "summary_rows", "to_html", "to_svg"]

DISTANCES = (1, 10, 30, 100)
_CLASSES = ("line", "line baseline", "line second")
_DOTS = ("dot", "dot baseline", "dot second")
_CSS = """
.chart polyline.second { stroke: var(--good); stroke-dasharray: 2 3; stroke-width: 1.8; }
.chart .name.second { fill: var(--good); }
.chart .dot.second { fill: var(--good); fill-opacity: 1; }
"""
_COLOURS = {
    "panel": "#ffffff",
    "ink": "#1d2126",
    "soft": "#646b75",
    "rule": "#e3e5e8",
    "accent": "#2f6fd0",
    "base": "#b06a00",
    "good": "#1d8049",
    "bad": "#b3261e",
}
"""What the names of colours of a page stand for in a file of its own."""
_SVG_CSS = "text { font-size: 15px; font-family: system-ui, sans-serif; }\n"


@dataclass(frozen=True)
class Diagnosed:
    """One cell with its diagnosis."""

    name: str
    """What to call it."""
    score: float
    """Its validation score, lower is better."""
    metric: float
    """The task's own number on validation data."""
    found: Diagnosis
    """What was measured."""


def summary_rows(cells: Sequence[Diagnosed]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: one row a cell."""
    reach = max(len(cell.found.gradient) for cell in cells)
    shown = [distance for distance in DISTANCES if distance < reach] + [reach]
    headers = [
        "cell",
        "metric",
        *(f"gradient at {d}" for d in shown),
        "memory",
        "spectral radius",
        "largest singular value",
    ]
    rows = []
    for cell in cells:
        found = cell.found
        norms = [f"{found.gradient[d - 1]:.2g}" if d <= len(found.gradient) else "–" for d in shown]
        memory = f"> {len(found.gradient) - 1}" if found.memory is None else f"{found.memory:.1f}"
        rows.append(
            [
                cell.name,
                number(cell.metric),
                *norms,
                memory,
                f"{found.spectrum.radius:.3f}",
                f"{found.spectrum.singular_values[0]:.3f}",
            ]
        )
    return headers, rows


def gate_rows(cells: Sequence[Diagnosed]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: one row a gate."""
    rows = [
        [
            cell.name,
            str(gate.layer),
            gate.node,
            f"{gate.closed:.1%}",
            f"{gate.open:.1%}",
            f"{gate.mean:.2f}",
        ]
        for cell in cells
        for gate in cell.found.gates
    ]
    return ["cell", "layer", "gate", "below 0.1", "above 0.9", "mean"], rows


def _charts(cells: Sequence[Diagnosed]) -> list[tuple[str, str]]:
    """Captions and SVGs."""
    charts = [
        (
            "Gradient over the distance",
            "distance T − t",
            "log₁₀ of the norm of ∂h_T / ∂s_t",
            [_gradient(cell) for cell in cells],
        ),
        (
            "Singular values of a step",
            "number",
            "singular value",
            [list(enumerate(c.found.spectrum.singular_values, 1)) for c in cells],
        ),
        (
            "Eigenvalues of a step",
            "number",
            "modulus",
            [list(enumerate(c.found.spectrum.moduli, 1)) for c in cells],
        ),
    ]
    losses = [
        [(t, loss) for t, loss in enumerate(cell.found.positions, 1) if loss is not None]
        for cell in cells
    ]
    if any(losses):
        charts.append(("Loss over the position", "position", "loss", losses))
    drawn = []
    for caption, x_label, y_label, curves in charts:
        lines = [
            Line(tuple((float(x), y) for x, y in curve), cell.name, css)
            for cell, css, curve in zip(cells, _CLASSES, curves, strict=False)
        ]
        drawn.append((caption, line_chart(caption, lines, x_label=x_label, y_label=y_label)))
    points = [
        Point(
            gate.closed,
            gate.open,
            f"{cell.name}: gate {gate.node} of layer {gate.layer}, mean {gate.mean:.2f}",
            css,
            gate.node,
        )
        for cell, css in zip(cells, _DOTS, strict=False)
        for gate in cell.found.gates
    ]
    if points:
        caption = "Saturation of gates"
        drawn.append(
            (
                caption,
                scatter_chart(
                    caption,
                    points,
                    x_label="share below 0.1 (closed)",
                    y_label="share above 0.9 (open)",
                ),
            )
        )
    return drawn


def _gradient(cell: Diagnosed) -> list[tuple[int, float]]:
    """Without distances from which nothing at all arrives."""
    return [
        (distance, math.log10(norm))
        for distance, norm in enumerate(cell.found.gradient, 1)
        if norm > 0
    ]


def to_html(title: str, protocol: str, cells: Sequence[Diagnosed]) -> str:
    """One self-contained page."""
    figures = "".join(
        f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"
        for caption, svg in _charts(cells)
    )
    tables = "".join(
        f"<h2>{heading}</h2>{_table(*rows)}"
        for heading, rows in (("Measures", summary_rows(cells)), ("Gates", gate_rows(cells)))
    )
    body = (
        f'<h1>{escape(title)}</h1><p class="soft">{escape(protocol)}</p><div '
        f'class="charts">{figures}</div>{tables}'
    )
    return page(title, body, _CSS)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return '<p class="soft">None of these cells has a gate.</p>'
    return table([(header, False) for header in headers], [("", row) for row in rows])


def to_svg(title: str, protocol: str, cells: Sequence[Diagnosed]) -> str:
    """All charts in one SVG file, two in a row."""
    rules = _SVG_CSS + _chart_rules()
    charts = _charts(cells)
    height = 70 + (len(charts) + 1) // 2 * (HEIGHT + 40)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {height}" '
        f'width="{2 * WIDTH}" height="{height}">',
        f"<title>{escape(title)}</title><style>{rules}</style>",
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="20" y="28" '
        f'style="font-size:20px">{escape(title)}</text>',
        f'<text x="20" y="50" style="font-size:13px" fill="#646b75">{escape(protocol)}</text>',
    ]
    for k, (caption, svg) in enumerate(charts):
        x, y = k % 2 * WIDTH, 70 + k // 2 * (HEIGHT + 40)
        parts.append(f'<text x="{x + 20}" y="{y + 20}" font-weight="600">{escape(caption)}</text>')
        opening, closing = svg.index(">") + 1, svg.rindex("</svg>")
        placed = f'<g class="chart" transform="translate({x} {y + 30})">'
        parts.append(f"{placed}{svg[opening:closing]}</g>")
    return "".join(parts) + "</svg>\n"


def _chart_rules() -> str:
    """The rules of charts, with colours instead of the names that a page gives them, and without
    the size that they have on a page.
    """
    lines = [line for line in stylesheet().splitlines() if line.startswith(".chart ")]
    rules = "\n".join(line for line in lines if not line.startswith(".chart {")) + _CSS
    return re.sub(r"var\(--(\w+)\)", lambda found: _COLOURS[found[1]], rules)
