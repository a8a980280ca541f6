"""What a trained cell does with time, beside LSTM and GRU trained in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cellsearch import tasks, zoo
from cellsearch.diagnostics import diagnose
from cellsearch.errors import checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.runs import diagnosis_page
from cellsearch.runs.diagnosis_page import Diagnosed
from cellsearch.runs.trained import load_arrays, load_trained, train
from cellsearch.tasks.base import Arrays

__all__ = ["Comparison", "compare"]

BESIDE = ("lstm", "gru")


@dataclass(frozen=True)
class Comparison:
    """Diagnoses of cells that were trained in the same way."""

    job: Job
    """How: task, training, seed."""
    cells: tuple[Diagnosed, ...]
    """The cell that was asked for, then those beside it."""

    @property
    def title(self) -> str:
        """Cell and task."""
        return f"{self.cells[0].name} on {self.job.task}"

    @property
    def metric(self) -> str:
        """Name of the task's own number."""
        first = self.cells[0]
        return tasks.get(self.job.task).metric_name(first.score, first.metric)

    @property
    def protocol(self) -> str:
        """How the cells were trained, in words."""
        job = self.job
        return (
            f"task {job.task} ({self.metric}), {job.steps} steps, "
            f"H = {job.training.hidden_size}, seed {job.seed}, validation data"
        )

    def to_document(self) -> dict[str, Any]:
        """All of it as plain data."""
        job = self.job
        cells = [
            {
                "cell": cell.name,
                "score": cell.score,
                "metric": cell.metric,
                **asdict(cell.found),
                "radius": cell.found.spectrum.radius,
            }
            for cell in self.cells
        ]
        return {
            "task": job.task,
            "metric_name": self.metric,
            "steps": job.steps,
            "hidden_size": job.training.hidden_size,
            "seed": job.seed,
            "training": asdict(job.training),
            "cells": cells,
        }

    def to_html(self) -> str:
        """One self-contained page."""
        return diagnosis_page.to_html(self.title, self.protocol, self.cells)

    def to_svg(self) -> str:
        """All charts in one SVG file."""
        return diagnosis_page.to_svg(self.title, self.protocol, self.cells)


@checked_arguments
def compare(
    name: str,
    genome: Genome,
    job: Job,
    checkpoint: Path | None = None,
    *,
    arrays: Arrays | None = None,
    positions: int = 100,
    examples: int = 8,
    beside: Sequence[str] = BESIDE,
    on_training: Callable[[str, int], None] | None = None,
) -> Comparison:
    """Train a cell and those beside it under one job, and measure all of them on validation data.

    name: what to call the cell.
    job: how they are trained; its genome is replaced.
    checkpoint: with the weights of the cell, which is not trained then.
    arrays: the data of the task (default: what the task options of the job say).
    positions: of a sequence that are followed at most.
    examples: sequences that the measures are averaged over.
    beside: zoo cells; the cell itself is left out of them.
    on_training: told the cell and the steps before each training.
    """
    arrays = load_arrays(job) if arrays is None else arrays
    others = [(other, zoo.load(other)) for other in beside]
    cells: list[Diagnosed] = []
    for label, one in [(name, genome), *((n, g) for n, g in others if g.key != genome.key)]:
        if checkpoint is not None and not cells:
            trained = load_trained(checkpoint, job, arrays)
            score, metric = trained.task.score(trained.model, "valid")
        else:
            if on_training is not None:
                on_training(label, job.steps)
            trained, result = train(replace(job, genome=one.to_json()), arrays)
            score, metric = result.score, result.metric
        found = diagnose(trained.model, trained.task, positions=positions, examples=examples)
        cells.append(Diagnosed(label, score, metric, found))
    return Comparison(job, tuple(cells))
