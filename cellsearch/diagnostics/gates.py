"""Saturation of gates: how often a sigmoid is nearly closed, nearly open, or in between."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cellsearch import ops
from cellsearch.compiler.module import CellModule
from cellsearch.diagnostics.trace import trace

__all__ = ["CLOSED", "OPEN", "Gate", "gates", "saturation"]

CLOSED, OPEN = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate of one layer: share of its values below 0.1 (``closed``) and above 0.9 (``open``), and
    their mean.
    """

    layer: int
    node: str
    closed: float
    open: float
    mean: float


def saturation(values: Tensor) -> tuple[float, float]:
    """Shares of gate values below 0.1 and above 0.9, over all units, positions and examples.

    Source: Karpathy, Johnson & Fei-Fei 2015, arXiv 1506.02078, section 4.2 (left- and
    right-saturated gates, with these bounds).
    """
    return float((values < CLOSED).double().mean()), float((values > OPEN).double().mean())


def gates(cell: CellModule, x: Tensor) -> tuple[Gate, ...]:
    """Every live node whose op has values in [0, 1] (sigmoid), by layer, under its label. ``x [T,
    B, I]``: what the layer reads.
    """
    genome = cell.genome
    found = []
    for layer, values in enumerate(trace(cell, x)):
        for value, node in genome.numbered():
            if value in genome.live and ops.get(node.op).gate:
                closed, opened = saturation(values[value])
                found.append(
                    Gate(layer, genome.labels[value], closed, opened, float(values[value].mean()))
                )
    return tuple(found)
