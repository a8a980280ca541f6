"""All measures of one trained model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

from torch import nn

from cellsearch.diagnostics.gates import Gate, gates
from cellsearch.diagnostics.gradients import Spectrum, gradient_norms, memory_length, spectrum
from cellsearch.diagnostics.inputs import cell_inputs, cell_of, double
from cellsearch.diagnostics.positions import position_losses
from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.tasks.base import Task

__all__ = ["Diagnosis", "diagnose"]

BATCHES = 8
"""Batches of the validation split that the loss over position reads."""


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` found.

    ``gradient``: mean over examples of the norm of d h_T / d s_t at the distances 1, 2, ...
    (:func:`gradient_norms`); ``memory``: effective memory length in positions, ``None``: longer
    than was measured; ``gates``: saturation of each gate; ``spectrum``: of the Jacobian of one
    step; ``positions``: loss at each position, empty for a task that predicts once a sequence,
    ``None`` where nothing is asked.
    """

    gradient: tuple[float, ...]
    memory: float | None
    gates: tuple[Gate, ...]
    spectrum: Spectrum
    positions: tuple[float | None, ...]


@checked_arguments
def diagnose(
    model: nn.Module,
    task: Task,
    *,
    positions: int = 100,
    examples: int = 8,
    probes: int = 0,
    seed: int = 0,
) -> Diagnosis:
    """Measure a trained model on the validation data of its task.

    ``positions``: at most so many positions of a sequence are followed; ``examples``: over so many
    sequences the gradients and gates are averaged. ``probes``, ``seed``: see
    :func:`gradient_norms`. Raises :class:`ConfigError` for a model that reads in both directions,
    for sequences shorter than 2, and for weights that are not finite.
    """
    batch = next(iter(task.batches("valid", 0)))
    x = cell_inputs(model, batch, positions=positions, examples=examples)
    cell = double(cell_of(model))
    norms = gradient_norms(cell, x, probes=probes, seed=seed).mean(1).tolist()
    if not all(map(math.isfinite, norms)):
        raise ConfigError(
            "the gradients of this model are not finite",
            hint="its weights have blown up; train with a smaller learning rate",
        )
    return Diagnosis(
        gradient=tuple(norms),
        memory=memory_length(norms),
        gates=gates(cell, x),
        spectrum=spectrum(cell, x),
        positions=position_losses(
            model, task, islice(task.batches("valid", 0), BATCHES), positions=positions
        ),
    )
