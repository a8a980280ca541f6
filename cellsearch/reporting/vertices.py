"""What can be said of each box of a cell's drawing: where it is used, how wide it is, its weights,
and what training has learned of it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cellsearch.genome.drawing.picture import drawn_values, picture
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import bound_sizes, parameter_specs, widths
from cellsearch.genome.text.writer import expression
from cellsearch.job import Connection
from cellsearch.space import LayerSizes

__all__ = ["removals_of_vertices", "vertex_facts"]


def vertex_facts(
    genome: Genome,
    sizes: LayerSizes | None = None,
    gates: Mapping[str, Mapping[str, float]] | None = None,
    connections: Mapping[str, Connection] | None = None,
) -> list[dict[str, Any]]:
    """For each vertex of the compact drawing, in the order in which ``to_svg`` draws them, plain
    data: ``label``, ``text`` (its equation, or what it is), ``shape`` in letters, ``uses`` and
    ``reads`` (numbers of vertices), ``weights`` (name, shape in letters, how many numbers for these
    sizes, ``connection`` where it was measured), and ``gate`` where that was.

    sizes: of the layer.
    gates: activity of gates by label, as a diagnosis has measured it.
    connections: what training learned of connections, by the name of the weight.
    """
    drawn, inside = picture(genome), drawn_values(genome)
    width = widths(genome)
    weights: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    numbers = None
    if sizes is not None:
        numbers = bound_sizes(genome, sizes.input_size, sizes.hidden_size, dict(sizes.named))
    for spec in parameter_specs(genome):
        count = None if numbers is None else math.prod(numbers.of(spec.shape))
        weight: dict[str, Any] = {"name": spec.name, "shape": list(spec.shape), "count": count}
        if connections and (found := connections.get(spec.name)) is not None:
            weight["connection"] = {"gate": found.gate, "saliency": found.saliency}
        weights[spec.node].append(weight)
    facts: list[dict[str, Any]] = []
    for vertex, values in zip(drawn.vertices, inside, strict=True):
        labels = [genome.labels[value] for value in values]
        fact: dict[str, Any] = {
            "label": vertex.name or (labels[-1] if labels else vertex.text),
            "op": vertex.text,
            "text": vertex.tooltip,
            "kind": vertex.kind,
            "shape": ["B", width[values[-1]]] if values else ["B", "H"],
            "weights": [weight for value in values for weight in weights[value]],
            "uses": [],
            "reads": [],
        }
        for label in labels:
            if gates and label in gates:
                fact["gate"] = dict(gates[label])
        facts.append(fact)
    for wire in drawn.wires:
        facts[wire.source]["uses"].append(wire.target)
        facts[wire.target]["reads"].append(wire.source)
    return facts


def removals_of_vertices(genome: Genome, removed: Sequence[Sequence[str]]) -> list[list[int]]:
    """For each vertex of the compact drawing the places of the removals that take away its value,
    and behind them of those that take a function or a connection out of it.

    removed: the names of each removal, as :class:`cellsearch.space.removals.Removal` has them.
    """
    inside = drawn_values(genome)
    names = [expression(genome, values[-1]) if values else "" for values in inside]
    found: list[list[int]] = []
    for name in names:
        if not name or names.count(name) > 1:  # of two that are written alike, which is not known
            found.append([])
            continue
        whole = [k for k, said in enumerate(removed) if name in said]
        parts = [
            k
            for k, said in enumerate(removed)
            if k not in whole and any(one.partition(" in ")[2] == name for one in said)
        ]
        found.append(whole + parts)
    return found
