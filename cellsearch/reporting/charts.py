"""Charts as inline SVG, without any library: colours come from the page's CSS variables, so they
follow light and dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "Point", "line_chart", "scatter_chart", "strip_chart", "tree_chart"]

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 16, 44
FEW = 4
"""So many names of lines have room above their ends; more of them stand beside the axes."""
LETTER, APART = 7.4, 15
"""Width of a letter of a name, and distance of two names."""


@dataclass(frozen=True, slots=True)
class Point:
    """A dot."""

    x: float
    """Position on the horizontal axis."""
    y: float
    """Position on the vertical axis."""
    title: str = ""
    """Text shown when the pointer rests on it."""
    css: str = "dot"
    """CSS class: ``dot``, ``dot baseline``, ``dot winner``."""
    label: str = ""
    """Text beside it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A polyline."""

    points: tuple[tuple[float, float], ...]
    """x and y of each point, from left to right."""
    label: str = ""
    """Text at its right end."""
    css: str = "line"
    """CSS class: ``line``, ``line baseline``."""
    steps: bool = False
    """Whether it holds its value until the next point."""
    band: tuple[tuple[float, float, float], ...] = ()
    """x, lowest and highest value of the uncertainty around the line, drawn as an area."""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two bounds: about ``count`` of them, steps of 1, 2 or 5 times a power
    of ten.
    """
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


class _Frame:
    """Scales and axes of one chart."""

    def __init__(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        x_label: str,
        y_label: str,
        *,
        right: float = RIGHT,
    ) -> None:
        self.end = WIDTH - right
        self.x_low, self.x_high = _bounds(xs)
        self.y_low, self.y_high = _bounds(ys)
        self.x_label, self.y_label = x_label, y_label

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (self.end - LEFT)

    def y(self, value: float) -> float:
        return (
            HEIGHT
            - BOTTOM
            - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)
        )

    def axes(self, format_x: Callable[[float], str], format_y: Callable[[float], str]) -> list[str]:
        parts = []
        for value in ticks(self.y_low, self.y_high):
            y = self.y(value)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{self.end:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(
                f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" '
                f'text-anchor="end">{escape(format_y(value))}</text>'
            )
        for value in ticks(self.x_low, self.x_high):
            x = self.x(value)
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" '
                f'text-anchor="middle">{escape(format_x(value))}</text>'
            )
        base = HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{self.end:g}" y1="{base}" y2="{base}"/>')
        middle = (LEFT + self.end) / 2
        parts.append(
            f'<text class="label" x="{middle:.0f}" y="{HEIGHT - 6}" '
            f'text-anchor="middle">{escape(self.x_label)}</text>'
        )
        turn = f"translate(14 {(TOP + base) / 2:.0f}) rotate(-90)"
        parts.append(
            f'<text class="label" transform="{turn}" '
            f'text-anchor="middle">{escape(self.y_label)}</text>'
        )
        return parts


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def _number(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.3g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _empty(title: str) -> str:
    text = (
        f'<text class="label" x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">nothing '
        f"to show yet</text>"
    )
    return _svg(title, [text])


def line_chart(title: str, lines: Sequence[Line], *, x_label: str, y_label: str) -> str:
    """Polylines over common axes; ``steps`` lines hold their value until the next point."""
    drawn = [line for line in lines if line.points]
    points = [p for line in drawn for p in line.points]
    if not points:
        return _empty(title)
    heights = [y for _, y in points] + [y for line in drawn for _, *ends in line.band for y in ends]
    names = [line.label for line in drawn if line.label]
    beside = len(names) > FEW
    margin = 8 + LETTER * max(map(len, names)) if beside else RIGHT
    frame = _Frame([x for x, _ in points], heights, x_label, y_label, right=margin)
    parts = frame.axes(_number, _number)
    for line in drawn:
        if line.band:
            around = [(x, high) for x, _, high in line.band] + [
                (x, low) for x, low, _ in reversed(line.band)
            ]
            outline = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in around)
            parts.append(f'<polygon class="band {escape(line.css)}" points="{outline}"/>')
    for line in drawn:
        coordinates: list[str] = []
        before = line.points[0][1]
        for x, y in line.points:
            if line.steps:
                coordinates.append(f"{frame.x(x):.1f},{frame.y(before):.1f}")
            coordinates.append(f"{frame.x(x):.1f},{frame.y(y):.1f}")
            before = y
        parts.append(f'<polyline class="{escape(line.css)}" points="{" ".join(coordinates)}"/>')
    parts += _labels(frame, drawn, beside=beside)
    return _svg(title, parts)


def _labels(frame: _Frame, lines: Sequence[Line], *, beside: bool) -> list[str]:
    """Names at the right ends of the lines, or ``beside`` the axes; moved apart where they would
    overlap.
    """
    placed = sorted(
        ((frame.y(line.points[-1][1]), line) for line in lines if line.label),
        key=lambda item: item[0],
    )
    heights: list[float] = []
    for y, _ in placed:
        heights.append(max(y + 4 if beside else y - 5, heights[-1] + APART if heights else TOP + 8))
    lowest = float(HEIGHT - BOTTOM + APART)
    for k in reversed(range(len(heights))):
        heights[k] = min(heights[k], lowest - APART)
        lowest = heights[k]
    x, anchor = (frame.end + 4, "start") if beside else (frame.end - 2, "end")
    return [
        f'<text class="name {escape(line.css)}" x="{x:g}" y="{y:.1f}" '
        f'text-anchor="{anchor}">{escape(line.label)}</text>'
        for y, (_, line) in zip(heights, placed, strict=True)
    ]


def scatter_chart(title: str, points: Sequence[Point], *, x_label: str, y_label: str) -> str:
    """Dots over common axes."""
    return tree_chart(title, points, (), x_label=x_label, y_label=y_label)


def tree_chart(
    title: str,
    points: Sequence[Point],
    edges: Sequence[tuple[int, int, str]],
    *,
    x_label: str,
    y_label: str,
) -> str:
    """Dots over common axes, some of them joined.

    edges: places of two points, and what joins them, which is shown at the pointer.
    """
    if not points:
        return _empty(title)
    frame = _Frame([p.x for p in points], [p.y for p in points], x_label, y_label)
    parts = frame.axes(_number, _number)
    for start, end, text in edges:
        a, b = points[start], points[end]
        ends = f"{frame.x(a.x):.1f},{frame.y(a.y):.1f} {frame.x(b.x):.1f},{frame.y(b.y):.1f}"
        parts.append(
            f'<polyline class="edge" points="{ends}"><title>{escape(text)}</title></polyline>'
        )
    return _svg(title, [*parts, *(_dot(frame, point) for point in points)])


def _dot(frame: _Frame, point: Point) -> str:
    x, y = frame.x(point.x), frame.y(point.y)
    drawn = (
        f'<circle class="{escape(point.css)}" cx="{x:.1f}" cy="{y:.1f}" '
        f'r="4.5"><title>{escape(point.title)}</title></circle>'
    )
    if not point.label:
        return drawn
    anchor, dx = ("end", -8) if x > WIDTH - 90 else ("start", 8)
    css = "name baseline" if "baseline" in point.css else "name"
    return (
        f'{drawn}<text class="{css}" x="{x + dx:.1f}" y="{y - 6:.1f}" '
        f'text-anchor="{anchor}">{escape(point.label)}</text>'
    )


def strip_chart(title: str, rows: Sequence[tuple[str, Sequence[Point]]], *, x_label: str) -> str:
    """Dots over one axis, a row with a name for each group of them; their ``y`` means nothing."""
    xs = [point.x for _, points in rows for point in points]
    if not xs:
        return _empty(title)
    frame = _Frame(xs, [0.0, 1.0], x_label, "")
    longest = max(len(name) for name, _ in rows)
    start = min(8 + LETTER * longest, WIDTH / 2)

    def place(value: float) -> float:
        share = (frame.x(value) - LEFT) / (frame.end - LEFT)
        return start + share * (frame.end - start)

    base, parts = HEIGHT - BOTTOM, []
    for value in ticks(frame.x_low, frame.x_high):
        x = place(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{base}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{base + 18}" '
            f'text-anchor="middle">{escape(_number(value))}</text>'
        )
    parts.append(
        f'<text class="label" x="{(start + frame.end) / 2:.0f}" y="{HEIGHT - 6}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    for k, (name, points) in enumerate(rows):
        y = TOP + (base - TOP) * (k + 0.5) / len(rows)
        parts.append(
            f'<text class="label" x="{start - 8:.1f}" y="{y + 4:.1f}" '
            f'text-anchor="end">{escape(name)}</text>'
        )
        parts += [
            f'<circle class="{escape(point.css)}" cx="{place(point.x):.1f}" cy="{y:.1f}" '
            f'r="4.5"><title>{escape(point.title)}</title></circle>'
            for point in points
        ]
    return _svg(title, parts)
