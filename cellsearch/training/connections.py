"""What training learns about each connection of a cell: how strong it is, and what removing it
would cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from cellsearch.genome.graph import Genome
from cellsearch.job import Connection
from cellsearch.tasks.base import Batch, Task

__all__ = ["ConnectionMeter", "connection_weights", "gate_weights", "measure_perturbations"]


def connection_weights(
    genome: Genome, layer: torch.nn.Module
) -> dict[str, list[torch.nn.Parameter]]:
    """The weights of each connection in a compiled layer, by the name of the connection: one for
    each layer and direction.

    A connection is an operand of a node with weights: a dense block, a ``diag`` vector, a
    ``scale``; a bias is not.
    """
    wanted = [
        spec.name for spec in genome.parameters if spec.operand >= 0 and spec.node in genome.live
    ]
    found: dict[str, list[torch.nn.Parameter]] = {name: [] for name in wanted}
    for name, parameter in layer.named_parameters():
        _, _, connection = name.partition(".")
        if connection in found:
            found[connection].append(parameter)
    return found


def gate_weights(genome: Genome, layer: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights of all connection gates (``scale``) of a compiled layer."""
    found = connection_weights(genome, layer)
    return [weight for name in found if name.endswith(".scale") for weight in found[name]]


class ConnectionMeter:
    """Averages the saliency of each connection over the last steps of a training.

    Saliency of one step: ``|sum of w * dL/dw|`` over the weights of the connection, the first-order
    Taylor estimate of the change of the loss when they become zero (Molchanov et al. 2017, arXiv
    1611.06440, eq. 8), with the gradient before clipping and without the gate penalty's part;
    summed over layers and directions.
    """

    def __init__(self, genome: Genome, layer: torch.nn.Module, first_step: int) -> None:
        self.weights = connection_weights(genome, layer)
        self.first_step = first_step
        self.sums: dict[str, float] = dict.fromkeys(self.weights, 0.0)
        self.count = 0

    def observe(self, step: int) -> None:
        """Take in the gradients of a step, if it is one of the last."""
        if step < self.first_step:
            return
        with torch.no_grad():
            for name, weights in self.weights.items():
                for weight in weights:
                    if weight.grad is not None:
                        self.sums[name] += abs(float((weight * weight.grad).sum()))
        self.count += 1

    def result(self) -> Mapping[str, Connection]:
        """Gate and mean saliency of each connection."""
        return {
            name: Connection(gate=_gate(weights), saliency=self.sums[name] / max(1, self.count))
            for name, weights in self.weights.items()
        }


def _gate(weights: list[torch.nn.Parameter]) -> float:
    """Root mean square over all layers; for a scalar in one layer, its size."""
    with torch.no_grad():
        squares = torch.cat([weight.double().square().reshape(-1) for weight in weights])
        return float(squares.mean().sqrt())


def measure_perturbations(
    connections: Mapping[str, Connection],
    weights: Mapping[str, list[torch.nn.Parameter]],
    model: torch.nn.Module,
    task: Task,
    batches: int,
) -> dict[str, Connection]:
    """The connections with what removing each one adds to the loss of the first ``batches``
    validation batches.

    Removing: its weights are zero for as long as the loss is measured (Wang et al. 2021, arXiv
    2108.04392, section 4, without their training between two removals). Costs ``batches *
    (connections + 1)`` forward passes.
    """
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            data = [
                batch for batch, _ in zip(task.batches("valid", 0), range(batches), strict=False)
            ]
            whole = _loss(model, task, data)
            return {
                name: replace(
                    found, perturbation=_without(weights[name], model, task, data) - whole
                )
                for name, found in connections.items()
            }
    finally:
        model.train(mode)


def _without(
    weights: list[torch.nn.Parameter], model: torch.nn.Module, task: Task, data: Iterable[Batch]
) -> float:
    kept = [weight.clone() for weight in weights]
    for weight in weights:
        weight.zero_()
    loss = _loss(model, task, data)
    for weight, before in zip(weights, kept, strict=True):
        weight.copy_(before)
    return loss


def _loss(model: torch.nn.Module, task: Task, data: Iterable[Batch]) -> float:
    """Mean loss of the batches, the state carried from one to the next where they belong
    together.
    """
    losses, state = [], None
    for batch in data:
        prediction, state = batch.read_by(model, None if batch.first else state)
        losses.append(float(task.loss(prediction, batch)))
    return sum(losses) / max(1, len(losses))
