"""Genomes in the languages of other drawing programs: Graphviz DOT and Mermaid."""

from __future__ import annotations

from cellsearch.errors import checked_arguments
from cellsearch.genome.drawing.latex import to_latex
from cellsearch.genome.drawing.picture import DrawnVertex, Picture, picture
from cellsearch.genome.graph import Genome

__all__ = ["to_dot", "to_latex", "to_mermaid"]

_DOT_SHAPES = {
    "input": "shape=box style=rounded",
    "state": 'shape=box style="rounded,dashed"',
    "output": "shape=box style=rounded",
    "operation": "shape=ellipse",
    "product": 'shape=ellipse style=filled fillcolor="#ecdffb"',
    "gate": 'shape=box style=filled fillcolor="#fdeecb"',
    "function": "shape=box",
}
_MERMAID_SHAPES = {
    "input": ("([", "])"),
    "state": ("([", "])"),
    "output": ("([", "])"),
    "operation": ("((", "))"),
    "product": ("((", "))"),
}
_MERMAID_CLASSES = (
    "classDef state stroke-dasharray:4 3;",
    "classDef gate stroke:#b57b12,stroke-width:2px;",
    "classDef product stroke:#7f4fc0,stroke-width:2px;",
)


@checked_arguments
def to_dot(genome: Genome, *, compact: bool = True) -> str:
    """The graph in the language of Graphviz: ``dot -Tsvg`` draws it. ``compact`` as in
    :func:`cellsearch.genome.drawing.svg.to_svg`.
    """
    drawn = picture(genome, compact=compact)
    lines = ["digraph cell {", "  rankdir=BT;", '  node [fontname="Helvetica"];']
    for number, vertex in enumerate(drawn.vertices):
        lines.append(f'  v{number} [label="{_dot_text(vertex)}" {_DOT_SHAPES[vertex.kind]}];')
    for rank, name in (("bottom", "source"), ("top", "sink")):
        members = " ".join(
            f"v{number};" for number, vertex in enumerate(drawn.vertices) if vertex.rank == rank
        )
        lines.append(f"  {{ rank={name}; {members} }}")
    for wire in drawn.wires:
        port = f' [headlabel="{wire.port}"]' if wire.port else ""
        lines.append(f"  v{wire.source} -> v{wire.target}{port};")
    return "\n".join([*lines, "}"]) + "\n"


@checked_arguments
def to_mermaid(genome: Genome, *, compact: bool = True) -> str:
    """The graph as a Mermaid flowchart, which Markdown viewers draw. ``compact`` as in
    :func:`cellsearch.genome.drawing.svg.to_svg`.
    """
    drawn = picture(genome, compact=compact)
    lines = ["flowchart BT"]
    for number, vertex in enumerate(drawn.vertices):
        start, end = _MERMAID_SHAPES.get(vertex.kind, ("[", "]"))
        lines.append(f'  v{number}{start}"{_mermaid_text(vertex)}"{end}')
    for wire in drawn.wires:
        arrow = f'-- "{_mermaid_escape(wire.port)}" -->' if wire.port else "-->"
        lines.append(f"  v{wire.source} {arrow} v{wire.target}")
    return "\n".join([*lines, *_mermaid_classes(drawn)]) + "\n"


def _mermaid_classes(drawn: Picture) -> list[str]:
    lines: list[str] = []
    for definition in _MERMAID_CLASSES:
        kind = definition.split()[1]
        members = ",".join(
            f"v{number}" for number, vertex in enumerate(drawn.vertices) if vertex.kind == kind
        )
        if members:
            lines += [f"  {definition}", f"  class {members} {kind};"]
    return lines


def _lines(vertex: DrawnVertex) -> list[str]:
    """The lines of a vertex as in the text form: ``h[t-1]``, ``i``, ``σ ∘ linear``."""
    name = vertex.name
    if vertex.rank:
        name = (
            name.replace("_<t-1>", "[t-1]")
            if name.endswith("_<t-1>")
            else f"{name.removesuffix('_t')}[t]"
        )
    return [part for part in (name, vertex.text) if part]


def _dot_text(vertex: DrawnVertex) -> str:
    return "\\n".join(part.replace("\\", "\\\\").replace('"', '\\"') for part in _lines(vertex))


def _mermaid_text(vertex: DrawnVertex) -> str:
    return "<br/>".join(_mermaid_escape(part) for part in _lines(vertex))


def _mermaid_escape(text: str) -> str:
    return (
        text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
    )
