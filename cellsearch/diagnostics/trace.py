"""The value of every node of a cell, position by position.

A second reading of the genome, node by node as the equations are written. The compiler merges and
drops nodes; this does not, so that each can be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from cellsearch import ops
from cellsearch.compiler.backends.functions import FUNCTIONS, blocks_product, head_norm, layer_norm
from cellsearch.compiler.module import CellModule
from cellsearch.compiler.projection import projected
from cellsearch.genome.graph import Genome, Node
from cellsearch.genome.parameters import ParameterSpec

__all__ = ["step_values", "trace"]


def trace(cell: CellModule, x: Tensor) -> list[list[Tensor]]:
    """Values over a sequence from the initial states: for each layer, for each value of the genome
    a tensor ``[T, B, H]``.

    ``x [T, B, I]``; a cell that reads more is given a time of 1 and a mask of ones. Values are
    numbered as in the genome (inputs, previous states, nodes); dead nodes have no weights and so no
    value: an empty tensor stands for them. Values of width I or 1 keep it; what depends on neither
    an input nor a state is ``[T, 1, width]``.
    """
    genome = cell.genome
    layers: list[list[Tensor]] = []
    for name, layer in cell.layers():
        x = projected(cell, name, x)
        states = [
            x.new_full((x.shape[1], size), state.initial)
            for state, size in zip(genome.states, cell.state_sizes, strict=True)
        ]
        weights = layer.weights()
        rows: list[list[Tensor]] = []
        for x_t in x:
            values = step_values(genome, weights, x_t, states)
            states = [
                values[v].expand_as(state)
                for v, state in zip(genome.next_states, states, strict=True)
            ]
            rows.append(values)
        layers.append(
            [
                torch.stack([v if v.dim() > 1 else v.unsqueeze(0) for v in column])
                for column in zip(*rows, strict=True)
            ]
        )
        x = layers[-1][genome.output].expand(len(x), x.shape[1], cell.output_size)
    return layers


def step_values(
    genome: Genome, weights: Mapping[str, Tensor], x: Tensor, states: Sequence[Tensor]
) -> list[Tensor]:
    """All values of one step. ``weights`` by name (``i.weight_x``), ``x [B, I]``, ``states`` each
    ``[B, H]``, or as wide as it is.
    """
    specs: dict[int, list[ParameterSpec]] = {}
    for spec in genome.parameters:
        specs.setdefault(spec.node, []).append(spec)
    given = {"x": x, "dt": x.new_ones(len(x), 1), "mask": torch.ones_like(x)}
    values = [*(given[name] for name in genome.inputs), *states]
    for value, node in genome.numbered():
        if value in genome.live:
            own = {spec.operand: weights[spec.name] for spec in specs.get(value, ())}
            values.append(_value(node, [values[v] for v in node.inputs], own, states[0]))
        else:
            values.append(x.new_empty(0))
    return values


def _value(node: Node, operands: list[Tensor], own: Mapping[int, Tensor], like: Tensor) -> Tensor:
    """One node. ``own``: its weights by the position of the operand that they multiply, -1 for the
    bias.
    """
    if node.op == "linear":
        products = [
            operand @ own[k].T if node.blocks == 1 else blocks_product(operand, own[k])
            for k, operand in enumerate(operands)
        ]
        total = reduce(torch.add, products)
        return total + own[-1] if node.bias else total
    if node.op in ("diag", "scale"):
        return own[0] * operands[0]
    if node.op == "bias":
        return own[-1]
    if node.op == "const":
        return like.new_tensor([node.value])
    if node.op == "identity":
        return operands[0]
    if ops.OPS[node.op].kind == "normalisation":
        # Over the H units: a number stands for H equal ones.
        units = (
            operands[0]
            if operands[0].shape[-1] > 1
            else operands[0].expand(*operands[0].shape[:-1], like.shape[-1])
        )
        if node.op == "head_norm":
            return head_norm(units, node.parts)
        return layer_norm(units) if node.op == "layer_norm" else FUNCTIONS[node.op](units)
    if node.op in ("add", "mul"):
        return reduce(FUNCTIONS[node.op], operands)
    return FUNCTIONS[node.op](*operands)
