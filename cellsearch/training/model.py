"""What a job trains: its cell, its task, and the recurrent layer inside the task's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from cellsearch import tasks
from cellsearch.compiler.module import compile_cell
from cellsearch.errors import CellsearchError, ConfigError, GenomeError, TrainingError
from cellsearch.genome.footprint import Surroundings
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import (
    bound_sizes,
    check_sizes,
    fits_any_size,
    output_size,
    own_sizes,
    parameter_count,
    requires_square,
)
from cellsearch.job import Job, Training
from cellsearch.space import LayerSizes
from cellsearch.tasks.adaptive import AdaptiveModel
from cellsearch.tasks.base import Arrays, CellFactory, Task
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.interface import Interface, TokenInputs
from cellsearch.training.fused import fused_linear_cross_entropy
from cellsearch.training.shapes import shapes_only

__all__ = [
    "DTYPES",
    "cell_factory",
    "check_fits",
    "decoded",
    "described_model",
    "description",
    "fewest_weights",
    "make_task",
    "surroundings",
    "trained_sizes",
]

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""What ``Training.dtype`` may say."""
_SMALL = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")


def decoded(job: Job) -> Genome:
    """The job's cell. Raises :class:`TrainingError` of kind ``"invalid"`` for a text that is not
    one.
    """
    try:
        return Genome.from_json(job.genome)
    except GenomeError as error:
        raise TrainingError(str(error), kind="invalid", hint=error.hint) from error


def check_fits(genome: Genome, training: Training) -> None:
    """Raise :class:`TrainingError` of kind ``"invalid"`` for a cell with a size that is not bound,
    or with sizes, blocks or heads that do not divide H.
    """
    if fits_any_size(genome):
        return
    hidden = training.hidden_size
    try:
        check_sizes(genome, bound_sizes(genome, hidden, hidden, training.sizes))
    except CellsearchError as error:
        raise TrainingError(str(error), kind="invalid", hint=error.hint) from error


def make_task(job: Job, arrays: Arrays) -> Task:
    """The job's task; sizes of the job's training go before those of the task's options.

    A task that always reads whole sequences has no ``tbptt``, so that of the training has no
    meaning for it.
    """
    kind = tasks.get(job.task)
    known = {field.name for field in fields(kind.Options)}
    options = dict(job.task_options)
    for name, size in (("batch_size", job.training.batch_size), ("tbptt", job.training.tbptt)):
        if size and name in known:
            options[name] = size
    return kind.create(options, arrays)


def trained_sizes(task: Task, training: Training) -> LayerSizes:
    """The sizes of the recurrent layer in the model of a task. How wide its input is only the model
    says, so one is built around a small cell, without memory for its weights.
    """
    widths: dict[nn.Module, int] = {}
    small = cell_factory(_SMALL, training)

    def build(input_size: int) -> nn.Module:
        layer = small.build(input_size)
        widths[layer] = input_size
        return layer

    with shapes_only():
        model = task.model(replace(small, build=build))
    return LayerSizes(
        widths[cell] if isinstance(cell := model.cell, nn.Module) else max(widths.values()),
        training.hidden_size,
        training.num_layers,
        small.directions,
        tuple((training.sizes or {}).items()),
        surroundings(task, model),
    )


def surroundings(task: Task, model: nn.Module) -> Surroundings:
    """What the model of a task has around its recurrent layer; of a task that does not say what it
    reads and answers, what can be seen.
    """
    readout, embedding = (getattr(model, name, None) for name in ("readout", "embedding"))
    outputs, symbols, tied = 0, 0, False
    if isinstance(readout, nn.Linear):
        outputs = readout.out_features
    if isinstance(embedding, nn.Embedding):
        symbols = embedding.num_embeddings
        tied = isinstance(readout, nn.Linear) and readout.weight is embedding.weight
    try:
        return task.interface().surroundings(tied=tied)
    except ConfigError:
        return Surroundings(outputs=outputs, symbols=symbols, tied=tied)


def fewest_weights(genome: Genome, training: Training) -> int:
    """How many weights the recurrent layers have at least, however wide the input: counted before
    anything is built.
    """
    hidden, directions = training.hidden_size, 2 if training.bidirectional else 1
    least, named = hidden if requires_square(genome) else 1, training.sizes
    first = parameter_count(genome, least, hidden, named)
    further = 0
    if training.num_layers > 1:
        width = output_size(genome, least, hidden, named)
        further = parameter_count(genome, width * directions, hidden, named)
    return directions * (first + (training.num_layers - 1) * further)


def description(task: Task, model: nn.Module) -> dict[str, Any]:
    """What a checkpoint says of a model besides its weights: what it reads and answers, and which
    of our models it is (``""``: the task's own), so that it can be used where its data are not.
    Nothing where the task does not say it.
    """
    try:
        interface = task.interface()
    except ConfigError:
        return {}
    kind = type(model).__name__ if type(model) in (SequenceModel, AdaptiveModel) else ""
    return {"interface": interface.to_plain(), "model": kind}


def described_model(
    meta: Mapping[str, Any], weights: Mapping[str, torch.Tensor], factory: CellFactory, where: str
) -> SequenceModel | None:
    """The model that a checkpoint describes, without its weights; ``None`` where it does not say
    enough. Raises :class:`InputFileError` for a description that is damaged.

    weights: those of the checkpoint; their shapes say what the description leaves out.
    """
    kind = meta.get("model")
    if "interface" not in meta or kind not in ("SequenceModel", "AdaptiveModel"):
        return None
    interface = Interface.from_plain(meta["interface"], where=where)
    inputs = interface.inputs
    tokens = inputs.vocabulary if isinstance(inputs, TokenInputs) else 0
    if kind == "AdaptiveModel":
        model: SequenceModel = AdaptiveModel(factory, tokens=tokens, cutoffs=_cutoffs(weights))
    else:
        vectors, readout = weights.get("embedding.weight"), weights.get("readout.weight")
        model = SequenceModel(
            factory,
            outputs=interface.outputs,
            tokens=tokens,
            features=0 if isinstance(inputs, TokenInputs) else len(inputs.names),
            readout=interface.readout,
            tied=vectors is not None and readout is not None and torch.equal(vectors, readout),
        )
    model.described = interface
    return model


def _cutoffs(weights: Mapping[str, torch.Tensor]) -> list[int]:
    """Where the clusters of an adaptive softmax begin: the head has an output for each token of its
    own, and one for each cluster.
    """
    sizes: list[int] = []
    while (tail := weights.get(f"softmax.tail.{len(sizes)}.1.weight")) is not None:
        sizes.append(len(tail))
    head = weights.get("softmax.head.weight")
    return list(accumulate([0 if head is None else len(head) - len(sizes), *sizes[:-1]]))


def cell_factory(genome: Genome, training: Training) -> CellFactory:
    """What builds the recurrent layer of a candidate for a task's model."""

    def build(input_size: int) -> nn.Module:
        return compile_cell(
            genome,
            input_size=input_size,
            hidden_size=training.hidden_size,
            num_layers=training.num_layers,
            dropout=training.dropout,
            variational_dropout=training.variational_dropout,
            bidirectional=training.bidirectional,
            precision=training.precision,
            backend=training.backend,
            dtype=DTYPES[training.dtype],
            sizes=own_sizes(genome, training.sizes),
        )

    def width_of(hidden_size: int) -> int:
        return output_size(genome, 1, hidden_size, training.sizes)

    return CellFactory(
        build,
        hidden_size=training.hidden_size,
        directions=2 if training.bidirectional else 1,
        dropout=training.dropout,
        square=bool(requires_square(genome)),
        cross_entropy=fused_linear_cross_entropy,
        width_of=width_of,
    )
