"""What a drawing shows: vertices with labels, wires with marks; no coordinates yet.

A vertex stands for one value, or for a chain of functions over a weighted sum that nothing else
reads (``σ ∘ linear``). Numbers that only enter one operation are written into it (``+ 1``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Node

__all__ = [
    "DrawnVertex",
    "Kind",
    "Mark",
    "Picture",
    "Wire",
    "difference",
    "drawn_values",
    "picture",
]

Mark = Literal["", "added", "removed", "changed"]
Kind = Literal["input", "state", "output", "operation", "product", "gate", "function"]
_NEUTRAL: dict[Kind, Kind] = {"gate": "function", "product": "operation"}
_WITH_NUMBERS = ("add", "mul", "sub", "div", "max", "min", "scale")
_PORTS = {"blend": ("g", "a", "b"), "sub": ("", "−"), "div": ("", "÷")}


@dataclass(frozen=True, slots=True)
class DrawnVertex:
    """One box or circle of the drawing."""

    kind: Kind
    name: str
    """First line."""
    text: str
    """Second line."""
    tooltip: str
    rank: Literal["", "bottom", "top"] = ""
    """Pins it to the lowest or the highest row."""
    mark: Mark = ""
    parts: int = 1
    """Blocks or heads; a vertex with several is drawn as a stack."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A line from one vertex up to another."""

    source: int
    target: int
    port: str = ""
    """Written at its end where the order of operands matters."""
    size: str = ""
    """How wide the value is, where that is not H, the size of x or one number."""
    mark: Mark = ""


@dataclass(slots=True)
class Picture:
    """What is drawn, without coordinates."""

    vertices: list[DrawnVertex] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    recurrent: list[tuple[int, int]] = field(default_factory=list)
    """Vertices that belong together over time: a new state, the state of the step before."""

    def add(self, vertex: DrawnVertex) -> int:
        """Add a vertex and return its number."""
        self.vertices.append(vertex)
        return len(self.vertices) - 1


def picture(
    genome: Genome, *, compact: bool = True, highlight: Mapping[int, Mark] | None = None
) -> Picture:
    """The drawing of a genome; ``highlight`` marks values by their numbers, ``compact=False`` draws
    every node on its own.
    """
    marks = dict(highlight or {})
    owner = _owners(genome, compact)
    result = Picture()
    shown = _draw_values(result, genome, owner, marks)
    for value, node in genome.numbered():
        for position, operand in enumerate(node.inputs):
            if operand in shown and shown[operand] != shown.get(owner[value]):
                port = _port(genome, node, position, shown)
                result.wires.append(
                    Wire(shown[operand], shown[owner[value]], port, size=_size(genome, operand))
                )
    for name, value in _ends(genome):
        end = result.add(_terminal(genome, name))
        result.wires.append(Wire(shown[value], end, size=_size(genome, value)))
        if name in genome.state_names:
            result.recurrent.append(
                (end, shown[len(genome.inputs) + genome.state_names.index(name)])
            )
    return result


def drawn_values(genome: Genome) -> list[tuple[int, ...]]:
    """The values that each vertex of the compact drawing stands for, in the order in which they are
    drawn; none for the new states and the output.
    """
    owner = _owners(genome, compact=True)
    values = range(genome.n_values)
    inside = [tuple(v for v in values if owner[v] == value) for value in values]
    return [found for found in inside if found] + [() for _ in _ends(genome)]


def _draw_values(
    result: Picture, genome: Genome, owner: Sequence[int], marks: Mapping[int, Mark]
) -> dict[int, int]:
    """Add a vertex for each value that has one of its own; returns the vertex of each value, inner
    ones of a chain left out.
    """
    equations = _equations(genome)
    shown: dict[int, int] = {}
    for value in range(genome.n_values):
        if owner[value] == value:
            inside = [v for v in range(genome.n_values) if owner[v] == value]
            found = {marks.get(v, "") for v in inside}
            mark: Mark = next(iter(found)) if len(found) == 1 else "changed"
            shown[value] = result.add(replace(_vertex(genome, value, inside, equations), mark=mark))
    return shown


def difference(a: Genome, b: Genome, mapping: Mapping[int, int]) -> Picture:
    """One drawing of two genomes: what only ``b`` has is marked added, what only ``a`` has removed.

    ``mapping`` sends numbers of values of ``a`` to the values of ``b`` that they correspond to;
    matched values of unequal op, bias or number are marked changed. Inputs and states of equal name
    belong together without being listed. Gates and products are not told apart, so that colour
    means difference.
    """
    match = _complete(a, b, mapping)
    here = picture(b, compact=False, highlight=_marks_of_matched(a, b, match))
    old = picture(a, compact=False)
    # With ``compact=False`` values come first, in order, so numbers of vertices and values agree;
    # ends follow.
    for value, other in match.items():
        if here.vertices[other].mark == "changed":
            here.vertices[other] = _changed(
                old.vertices[value], here.vertices[other], b.node(other)
            )
    ends_b = {name: b.n_values + k for k, (name, _) in enumerate(_ends(b))}
    translate = dict(match)
    for k, (name, _) in enumerate(_ends(a)):
        if name in ends_b:
            translate[a.n_values + k] = ends_b.pop(name)
    for number in ends_b.values():
        here.vertices[number] = replace(here.vertices[number], mark="added")
    for number, vertex in enumerate(old.vertices):
        if number not in translate:
            translate[number] = here.add(replace(vertex, mark="removed"))
    here.vertices = [
        replace(vertex, kind=_NEUTRAL.get(vertex.kind, vertex.kind)) for vertex in here.vertices
    ]
    kept = [replace(w, source=translate[w.source], target=translate[w.target]) for w in old.wires]
    before = _counted((w.source, w.target, w.port) for w in kept)
    after = _counted((w.source, w.target, w.port) for w in here.wires)
    here.wires = [
        replace(wire, mark="" if key in before else "added")
        for key, wire in zip(after, here.wires, strict=True)
    ]
    here.wires += [
        replace(wire, mark="removed")
        for key, wire in zip(before, kept, strict=True)
        if key not in after
    ]
    return here


def _changed(old: DrawnVertex, new: DrawnVertex, node: Node | None) -> DrawnVertex:
    """A matched vertex that says what it was and what it is."""
    if old.text == new.text and node is not None and node.op == "linear":
        return replace(new, text=f"{new.text}, bias {'added' if node.bias else 'removed'}")
    return replace(new, text=f"{old.text} → {new.text}", tooltip=f"{old.tooltip}  →  {new.tooltip}")


def _counted(keys: Iterable[tuple[int, int, str]]) -> dict[tuple[int, int, str, int], None]:
    """The keys in order, told apart by a count where they repeat."""
    seen: dict[tuple[int, int, str], int] = {}
    counted: dict[tuple[int, int, str, int], None] = {}
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        counted[(*key, seen[key])] = None
    return counted


def _complete(a: Genome, b: Genome, mapping: Mapping[int, int]) -> dict[int, int]:
    match = dict(mapping)
    taken = set(match.values())
    for value in range(a.first_node):
        for other in range(b.first_node):
            if value not in match and other not in taken and a.labels[value] == b.labels[other]:
                match[value] = other
                taken.add(other)
    return match


def _marks_of_matched(a: Genome, b: Genome, match: Mapping[int, int]) -> dict[int, Mark]:
    marks: dict[int, Mark] = dict.fromkeys(range(b.n_values), "added")
    for value, other in match.items():
        mine, theirs = a.node(value), b.node(other)
        same = (mine is None) == (theirs is None) and (
            mine is None or theirs is None or (mine.op, mine.attrs) == (theirs.op, theirs.attrs)
        )
        marks[other] = "" if same else "changed"
    return marks


# -- vertices --------------------------------------------------------------------------------------


def _owners(genome: Genome, compact: bool) -> list[int]:
    """For each value the value in whose vertex it is drawn."""
    owner = list(range(genome.n_values))
    if not compact:
        return owner
    for value in range(genome.n_values - 1, genome.first_node - 1, -1):
        node = genome.nodes[value - genome.first_node]
        for operand in node.inputs:
            below = genome.node(operand)
            if (
                below is None
                or below.name
                or operand in genome.slots
                or len(genome.uses[operand]) != 1
            ):
                continue
            chained = _is_function(node) and (_is_function(below) or ops.OPS[below.op].parametric)
            if chained or (below.op == "const" and node.op in _WITH_NUMBERS):
                owner[operand] = owner[value]
    return owner


def _is_function(node: Node) -> bool:
    row = ops.OPS[node.op]
    return row.unary or row.kind == "normalisation"


def _vertex(
    genome: Genome, value: int, inside: list[int], equations: Mapping[int, str]
) -> DrawnVertex:
    label = genome.labels[value]
    if genome.is_input(value):
        return DrawnVertex("input", label, "", "input of the step", "bottom")
    if genome.is_state(value):
        state = genome.states[value - len(genome.inputs)]
        start = f"; starts at {state.initial:g}" if state.initial else ""
        return DrawnVertex(
            "state", label, "", f"state {state.name} of the step before{start}", "bottom"
        )
    node = genome.nodes[value - genome.first_node]
    text = _text(genome, value, inside)
    said = equations.get(value, f"{label}: {node.op}")
    parts = max(genome.nodes[v - genome.first_node].parts for v in inside)
    return DrawnVertex(_kind(genome, value, node), node.name, text, said, parts=parts)


def _kind(genome: Genome, value: int, node: Node) -> Kind:
    if _is_product(genome, node):
        return "product"
    if node.op in ("add", "mul", "sub", "div", "blend"):
        return "operation"
    if ops.OPS[node.op].gate:
        for user in genome.uses[value]:
            reader = genome.nodes[user - genome.first_node]
            if _is_product(genome, reader) or (reader.op == "blend" and reader.inputs[0] == value):
                return "gate"
    return "function"


def _is_product(genome: Genome, node: Node) -> bool:
    """Whether the node multiplies values; a factor that is a number does not count."""
    below = [genome.node(operand) for operand in node.inputs]
    return node.op == "mul" and sum(b is None or b.op != "const" for b in below) > 1


def _text(genome: Genome, value: int, inside: list[int]) -> str:
    node = genome.nodes[value - genome.first_node]
    if node.op == "const":
        return f"{node.value:g}"
    numbers = {v for v in node.inputs if v in inside}
    if node.op in ("sub", "div") and numbers:
        parts = [
            f"{genome.nodes[v - genome.first_node].value:g}" if v in numbers else "·"
            for v in node.inputs
        ]
        return (
            f" {ops.OPS[node.op].symbol} ".join(parts).replace("· ", "", 1)
            if parts[0] == "·"
            else f" {ops.OPS[node.op].symbol} ".join(parts)
        )
    if node.op in ("add", "mul", "max", "min", "scale"):
        written = [
            f"{genome.nodes[v - genome.first_node].value:g}" for v in node.inputs if v in numbers
        ]
        return " ".join([ops.OPS[node.op].symbol or node.op, *written])
    chain = [genome.nodes[v - genome.first_node] for v in sorted(inside, reverse=True)]
    return " ∘ ".join(
        (ops.OPS[n.op].symbol or n.op.replace("_", " ")) + _cut(n) for n in chain if n.op != "const"
    )


def _cut(node: Node) -> str:
    """What a drawing says of the parts and the size of a node."""
    if not node.attrs:
        return ""
    what = "heads" if node.op == "head_norm" else "blocks"
    parts = f", {node.parts} {what}" if node.parts > 1 else ""
    return parts + (f" → {node.size}" if node.size != "H" else "")


def _size(genome: Genome, value: int) -> str:
    """What a drawing says of the width of a value, beside its lines."""
    width = genome.widths[value]
    return "" if width in ("H", "I", "1") else str(width)


def _port(genome: Genome, node: Node, position: int, shown: Mapping[int, int]) -> str:
    """What is written at the end of a wire; nothing where a number inside the vertex already shows
    the order.
    """
    return (
        _PORTS[node.op][position]
        if node.op in _PORTS and all(v in shown for v in node.inputs)
        else ""
    )


def _ends(genome: Genome) -> list[tuple[str, int]]:
    ends = list(zip(genome.state_names, genome.next_states, strict=True))
    return (
        ends
        if genome.output_name in genome.state_names
        else [*ends, (genome.output_name, genome.output)]
    )


def _terminal(genome: Genome, name: str) -> DrawnVertex:
    is_output = name == genome.output_name
    what = "output of the step" if is_output else f"state {name} for the next step"
    if is_output and name in genome.state_names:
        what = f"output of the step and state {name} for the next one"
    kind: Kind = "state" if name in genome.state_names else "output"
    return DrawnVertex(kind, f"{name}_t", "output" if is_output else "", what, "top")


def _equations(genome: Genome) -> dict[int, str]:
    """The statement of each value that has one."""
    lines = {line.partition(" = ")[0]: line for line in genome.to_text().splitlines()}
    equations = {value: lines[node.name] for value, node in genome.numbered() if node.name in lines}
    return equations | {
        value: lines[f"{name}[t]"] for value, name in genome.slots.items() if f"{name}[t]" in lines
    }
