"""Drawings of genomes as SVG, and the other written forms of a graph (DOT, Mermaid, LaTeX).

Inputs and previous states stand at the bottom, new states and the output at the top. States have
dashed outlines, gates (a sigmoid that feeds a product) and products have colours of their own. The
colours follow the reader's light or dark scheme. The same genome gives the same text, byte for
byte.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from html import escape

from cellsearch.errors import checked_arguments
from cellsearch.genome.drawing.languages import to_dot, to_latex, to_mermaid
from cellsearch.genome.drawing.layers import Box, Layout, Point, lay_out
from cellsearch.genome.drawing.picture import DrawnVertex, Mark, Picture, difference, picture
from cellsearch.genome.drawing.style import style
from cellsearch.genome.graph import Genome

__all__ = ["Mark", "diff_svg", "to_dot", "to_latex", "to_mermaid", "to_svg"]

MARGIN = 14.0
STACK, STACKED = 3.0, 3
"""How far the boxes of a stack lie apart, and how many are drawn at most."""
RADIUS = 13.0
LINE = 15.0
NAME_WIDTH, TEXT_WIDTH = 7.6, 6.8  # generous mean widths of a character at 13 and 11.5 px
LANE = 14.0
PORT_STEP = 14.0
STRAIGHT = (
    9.0  # a wire runs straight for so long before it ends: room for its head and its port label
)


@checked_arguments
def to_svg(
    genome: Genome,
    *,
    title: str = "",
    compact: bool = True,
    recurrent_edges: bool = False,
    highlight: Mapping[int, Mark] | None = None,
) -> str:
    """A drawing of the cell as one SVG element.

    ``compact``: draw ``tanh(linear(...))`` as one box. ``recurrent_edges``: dashed lines from each
    new state back to the state of the step before. ``highlight``: numbers of values -> ``"added"``,
    ``"removed"`` or ``"changed"``.
    """
    return _render(
        picture(genome, compact=compact, highlight=highlight),
        title or "recurrent cell",
        shown=title,
        recurrent=recurrent_edges,
    )


@checked_arguments
def diff_svg(a: Genome, b: Genome, mapping: Mapping[int, int], *, title: str = "") -> str:
    """One drawing of two cells: green is what only ``b`` has, red and dotted what only ``a`` has,
    amber what was changed.

    ``mapping``: numbers of values of ``a`` -> numbers of the values of ``b`` that they correspond
    to.
    """
    return _render(
        difference(a, b, mapping),
        title or "difference of two recurrent cells",
        shown=title,
        recurrent=False,
    )


def _render(drawn: Picture, title: str, *, shown: str, recurrent: bool) -> str:
    operands = Counter(wire.target for wire in drawn.wires)
    labelled = {wire.target for wire in drawn.wires if wire.port}
    boxes = [_box(vertex, operands[k], k in labelled) for k, vertex in enumerate(drawn.vertices)]
    layout = lay_out(boxes, [(wire.source, wire.target) for wire in drawn.wires])
    parts = _wires(drawn, boxes, layout)
    lanes = len(drawn.recurrent) if recurrent else 0
    if recurrent:
        parts += _loops(drawn, boxes, layout)
    parts += [
        _shape(vertex, box, centre)
        for vertex, box, centre in zip(drawn.vertices, boxes, layout.centres, strict=True)
    ]
    top = MARGIN + (24.0 if shown else 0.0) + (LANE * lanes)
    width = max(
        layout.width + 2 * MARGIN + (LANE * (lanes + 1) if lanes else 0.0),
        len(shown) * NAME_WIDTH + 2 * MARGIN,
    )
    height = top + layout.height + MARGIN + LANE * lanes
    heading = (
        f'<text class="title" x="{_n(MARGIN)}" y="{_n(MARGIN + 8)}">{escape(shown)}</text>'
        if shown
        else ""
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="cellsearch-cell" '
            f'role="img" viewBox="0 0 {_n(width)} {_n(height)}" '
            f'width="{_n(width)}" height="{_n(height)}">',
            f"<title>{escape(title)}</title>",
            f"<style>{style(_classes(heading, parts))}</style>",
            *([heading] if heading else []),
            f'<g transform="translate({_n(MARGIN)} {_n(top)})">',
            *parts,
            "</g>",
            "</svg>",
        ]
    )


def _classes(heading: str, parts: list[str]) -> frozenset[str]:
    """The classes that the drawing uses; only their rules are written."""
    return frozenset(
        name
        for names in re.findall(r'class="([^"]*)"', "".join([heading, *parts]))
        for name in names.split()
    )


def _n(value: float) -> str:
    """A coordinate: at most one decimal, and zero without a sign."""
    return f"{value:z.1f}".removesuffix(".0")


# -- vertices --------------------------------------------------------------------------------------


def _is_circle(vertex: DrawnVertex) -> bool:
    return vertex.kind in ("product", "operation") and not vertex.name and len(vertex.text) == 1


def _box(vertex: DrawnVertex, operands: int, labelled: bool) -> Box:
    if _is_circle(vertex):
        return Box(
            max(2 * RADIUS, PORT_STEP * (operands - 1) + 2 * RADIUS if operands > 3 else 0.0),
            2 * RADIUS,
            vertex.rank,
        )
    name = _plain(vertex.name)
    wide = max(len(name) * NAME_WIDTH, len(vertex.text) * TEXT_WIDTH) + 18
    lines = bool(vertex.name) + bool(vertex.text)
    ports = PORT_STEP * (operands - 1) * (1.4 if labelled else 1.0) + 20
    return Box(max(wide, ports, 34.0), 11 + LINE * lines, vertex.rank)


def _plain(label: str) -> str:
    return label.replace("_<t-1>", "t-1").removesuffix("_t")


def _label(label: str) -> str:
    """A name with its step as a subscript: ``c_<t-1>`` and ``c_t`` are written as in an
    equation.
    """
    for end, step in (("_<t-1>", "t−1"), ("_t", "t")):
        if label.endswith(end):
            return f'{escape(label.removesuffix(end))}<tspan class="step" dy="4">{step}</tspan>'
    return escape(label)


def _shape(vertex: DrawnVertex, box: Box, centre: Point) -> str:
    x, y = centre
    classes = (
        f"v {vertex.kind}"
        + (f" {vertex.mark}" if vertex.mark else "")
        + (" out" if vertex.text == "output" else "")
    )
    parts = [
        f'<g class="{classes}"><title>{escape(vertex.tooltip)}</title>',
        _rect(vertex, box, centre),
    ]
    if _is_circle(vertex):
        parts.append(f'<text class="sign" x="{_n(x)}" y="{_n(y + 5)}">{escape(vertex.text)}</text>')
    else:
        lines = (
            [("name", _label(vertex.name) if vertex.rank else escape(vertex.name))]
            if vertex.name
            else []
        )
        lines += [("op", escape(vertex.text))] if vertex.text else []
        first = y + 4.5 - LINE * (len(lines) - 1) / 2
        parts += [
            f'<text class="{kind}" x="{_n(x)}" y="{_n(first + k * LINE)}">{text}</text>'
            for k, (kind, text) in enumerate(lines)
        ]
    return "".join([*parts, "</g>"])


def _rect(vertex: DrawnVertex, box: Box, centre: Point) -> str:
    """The outline: round for arithmetic, inputs and states, with small corners for functions;
    of several blocks or heads a stack of them.
    """
    corner = 5.0 if vertex.kind in ("function", "gate") else min(RADIUS, box.height / 2)
    left, top = centre[0] - box.width / 2, centre[1] - box.height / 2
    behind = min(vertex.parts, STACKED) - 1
    return "".join(
        f'<rect x="{_n(left + STACK * k)}" y="{_n(top - STACK * k)}" width="{_n(box.width)}" '
        f'height="{_n(box.height)}" rx="{_n(corner)}"/>'
        for k in range(behind, -1, -1)
    )


# -- wires -----------------------------------------------------------------------------------------


def _wires(drawn: Picture, boxes: list[Box], layout: Layout) -> list[str]:
    """Lines, their heads and port labels; removed ones first, so that the others lie above them."""
    order = sorted(range(len(drawn.wires)), key=lambda k: (drawn.wires[k].mark != "removed", k))
    ports = _ports(drawn, boxes, layout)
    lines: list[str] = []
    labels: list[str] = []
    done: set[tuple[str, tuple[Point, ...]]] = (
        set()
    )  # trunks that several wires share are drawn once
    for k in order:
        wire, route = drawn.wires[k], list(layout.routes[k])
        low, high = (wire.source, wire.target) if layout.up[k] else (wire.target, wire.source)
        route[-1] = (ports[k], route[-1][1])
        start = _edge(boxes[low], layout.centres[low], route[0][0], upper=True)
        end = _edge(boxes[high], layout.centres[high], ports[k], upper=False)
        head = (ports[k], end, -1.0) if layout.up[k] else (route[0][0], start, 1.0)
        css = f"w {wire.mark}".strip()
        trunk = [tuple(route[: n + 1]) for n in range(2, len(route) - 1, 2)]
        shared = sum((css, piece) in done for piece in trunk)
        done.update((css, piece) for piece in trunk)
        line = _curve(route[2 * shared :], route[2 * shared][1] if shared else start, end)
        lines.append(
            f'<path class="{css}" d="{line}"/><path class="{css} head" d="{_head(*head)}"/>'
        )
        if wire.port:
            left = ports[k] < layout.centres[high][0] - 1
            labels.append(
                f'<text class="port{" left" if left else ""}" '
                f'x="{_n(head[0] + (-5 if left else 5))}" y="{_n(head[1] - 10 * head[2])}">'
                f"{escape(wire.port)}</text>"
            )
    return lines + labels + _sizes(drawn, boxes, layout)


def _sizes(drawn: Picture, boxes: list[Box], layout: Layout) -> list[str]:
    """The width of a value where its lines begin: on the side to which none of them goes, or beside
    its box.
    """
    leaving: dict[int, list[float]] = {}
    said: dict[int, str] = {}
    for wire, route, up in zip(drawn.wires, layout.routes, layout.up, strict=True):
        if wire.size:
            said[wire.source] = wire.size
            turn = route[1][0] - route[0][0] if up else route[-2][0] - route[-1][0]
            leaving.setdefault(wire.source, []).append(turn)
    labels = []
    for vertex, size in said.items():
        (x, y), turns = layout.centres[vertex], leaving[vertex]
        left = max(turns) > 0
        if left and min(turns) < 0:
            x -= boxes[vertex].width / 2 - 8
        y -= boxes[vertex].height / 2 + 4
        labels.append(
            f'<text class="port{" left" if left else ""}" x="{_n(x + (-5 if left else 5))}" '
            f'y="{_n(y)}">{escape(size)}</text>'
        )
    return labels


def _ports(drawn: Picture, boxes: list[Box], layout: Layout) -> list[float]:
    """Where along the lower side of its upper box each wire ends: side by side, in the order in
    which the wires arrive.
    """
    arriving: dict[int, list[int]] = {}
    for k, wire in enumerate(drawn.wires):
        arriving.setdefault(wire.target if layout.up[k] else wire.source, []).append(k)
    ports = [0.0] * len(drawn.wires)
    for vertex, wires in arriving.items():
        wires.sort(key=lambda k: (layout.routes[k][-2][0], k))
        room = boxes[vertex].width - (10 if boxes[vertex].width == 2 * RADIUS else 20)
        step = min(PORT_STEP * 1.4, room / max(1, len(wires) - 1))
        for p, k in enumerate(wires):
            ports[k] = layout.centres[vertex][0] + (p - (len(wires) - 1) / 2) * step
    return ports


def _edge(box: Box, centre: Point, x: float, *, upper: bool) -> float:
    """Height of the outline of a box, or circle, at ``x``."""
    half = box.height / 2
    if box.width == box.height == 2 * RADIUS:
        half = math.sqrt(max(0.0, RADIUS**2 - (x - centre[0]) ** 2))
    return centre[1] - half if upper else centre[1] + half


def _curve(route: list[Point], start: float, end: float) -> str:
    """Vertical through the rows, an S-curve between two rows."""
    x, y = route[0]
    path = [f"M{_n(x)} {_n(start)}"]
    if abs(start - y) > 0.05:
        path.append(f"V{_n(y)}")
    for k in range(0, len(route) - 1, 2):
        (x0, y0), (x1, y1) = route[k], route[k + 1]
        if k + 2 == len(route):
            y1 += STRAIGHT
        middle = (y0 + y1) / 2
        path.append(
            f"V{_n(y1)}"
            if abs(x0 - x1) < 0.3
            else f"C{_n(x0)} {_n(middle)} {_n(x1)} {_n(middle)} {_n(x1)} {_n(y1)}"
        )
        through = route[k + 2][1] if k + 2 < len(route) else end
        if abs(through - y1) > 0.05:
            path.append(f"V{_n(through)}")
    return "".join(path)


def _head(x: float, y: float, direction: float) -> str:
    """A small arrow head with its tip at (x, y); direction -1 points up."""
    return f"M{_n(x)} {_n(y)}l-3.2 {_n(-6.5 * direction)}h6.4z"


def _loops(drawn: Picture, boxes: list[Box], layout: Layout) -> list[str]:
    """Dashed lines from new states around the right side to the states of the step before."""
    parts: list[str] = []
    pairs = sorted(drawn.recurrent, key=lambda pair: -layout.centres[pair[0]][0])
    for k, (new, old) in enumerate(pairs, start=1):
        (x0, y0), (x1, y1) = layout.centres[new], layout.centres[old]
        top = y0 - boxes[new].height / 2 - LANE * (k - 0.3)
        bottom = y1 + boxes[old].height / 2 + LANE * (k - 0.3)
        side = layout.width + LANE * k
        start, end = y0 - boxes[new].height / 2, y1 + boxes[old].height / 2
        parts.append(
            f'<path class="w loop" d="M{_n(x0)} '
            f'{_n(start)}V{_n(top)}H{_n(side)}V{_n(bottom)}H{_n(x1)}V{_n(end)}"/>'
            f'<path class="w head" d="{_head(x1, end, -1.0)}"/>'
        )
    return parts
