"""One trial of a run, with what the run has kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellsearch.errors import ConfigError, EnvironmentFailure, amount, checked_arguments
from cellsearch.files import write_atomically
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import own_sizes
from cellsearch.genome.sizes import base_of, ratio
from cellsearch.plain import plain
from cellsearch.reporting.notebook import framed
from cellsearch.reporting.page import cell
from cellsearch.runs.snapshot import Snapshot
from cellsearch.trial import Result, Trial

if TYPE_CHECKING:  # these load torch
    from torch import Tensor, nn

    from cellsearch.ablation import AblationTable
    from cellsearch.compiler.module import CellModule
    from cellsearch.executors.base import Executor
    from cellsearch.export.c.functions import Math
    from cellsearch.export.c.write import ActivationBits
    from cellsearch.export.source import Precision
    from cellsearch.export.whole import WholeModel
    from cellsearch.export.write import Exported, Form
    from cellsearch.job import Job, Outcome
    from cellsearch.runs.ablation import AblationPlan
    from cellsearch.runs.diagnosis import Comparison
    from cellsearch.runs.trained import Trained
    from cellsearch.tasks.base import Arrays

__all__ = ["BARE", "RunTrial", "trial_record"]

BARE = ("source", "package", "json", "cell")
"""Forms of export that need no weights."""


@dataclass(frozen=True, repr=False)
class RunTrial:
    """A candidate, its record, and the weights that training gave it if the run has kept them.

    A run keeps the weights of its best and its newest trials.
    """

    run: Snapshot
    """The run that the trial belongs to."""
    trial: Trial
    """The record: proposal, status, results of every rung, failure."""

    @property
    def number(self) -> int:
        """The number of the trial, from 0."""
        return self.trial.number

    @property
    def genome(self) -> Genome:
        """The cell."""
        return self.trial.genome

    @property
    def score(self) -> float:
        """The validation score, lower is better; infinity without a result."""
        return self.trial.score

    @property
    def result(self) -> Result | None:
        """What its longest training gave."""
        return self.trial.result

    @property
    def label(self) -> str:
        """A name for files and tables: that of the run's folder and the number."""
        return f"{self.run.path.name}-{self.number}"

    @property
    def provenance(self) -> str:
        """Where the cell comes from, in a sentence."""
        declared, result = self.run.declared, self.result
        score = f", score {result.score:.4f} after {amount(result.steps, 'step')}" if result else ""
        return (
            f"Trial {self.number} of the experiment {declared['name']} "
            f"({declared['strategy']}, {declared['task']}){score}."
        )

    @property
    def has_weights(self) -> bool:
        """Whether the run has kept the weights."""
        return self.run.has_weights(self.trial)

    @property
    def checkpoint(self) -> Path:
        """The file with the weights. Raises :class:`ConfigError` if they were not kept."""
        result = self.result
        if result is None or not self.has_weights:
            kept = ", ".join(map(str, self.run.kept))
            raise ConfigError(
                f"the weights of trial {self.number} were not kept",
                where=str(self.run.path),
                hint=(f"kept are those of trials {kept}; " if kept else "no trial's are kept; ")
                + "cellsearch evaluate trains any cell anew",
            )
        return self.run.path / result.checkpoint

    @property
    def job(self) -> Job:
        """What the checkpoint was trained for. Raises :class:`ConfigError` if it was not kept."""
        from cellsearch.runs.trained import trained_job  # loads torch

        return trained_job(self.checkpoint, self.result.steps if self.result is not None else 0)

    def trained(self, arrays: Arrays | None = None) -> Trained:
        """The trained model (embedding, recurrent layer, readout) with its task.

        arrays: the task's data; left out, they are loaded from where the run knows them, or where
            ``open_run(..., data=...)`` said that they lie; that is needed where they were given in
            memory.

        Raises :class:`ConfigError` if the weights were not kept, :class:`CheckpointError` for a
        damaged file, :class:`EnvironmentFailure` if the data are not there.
        """
        from cellsearch.runs.trained import load_trained  # loads torch

        path, job = self.checkpoint, self.job
        return load_trained(path, job, self.run.load_arrays() if arrays is None else arrays)

    def model(self, arrays: Arrays | None = None) -> nn.Module:
        """The trained model, with the weights of its best validation, in evaluation mode.

        ``model.predict(data)`` takes raw values or texts and gives answers in the user's units and
        labels, ``model.stream()`` position by position
        (:class:`cellsearch.tasks.heads.SequenceModel`); the module itself takes and gives what it
        was trained on. It needs no data, but for runs of version 0.1 and for tasks with a model of
        their own; there it loads them, and raises, as :meth:`trained` does.
        """
        from cellsearch.runs.trained import load_described  # loads torch

        alone = load_described(self.checkpoint, self.job) if arrays is None else None
        return self.trained(arrays).model if alone is None else alone

    def whole(self, arrays: Arrays | None = None) -> WholeModel:
        """The trained model as a value: cell, sizes, all weights, and what it reads and answers.

        Raises :class:`ConfigError` for a model that is more than an input layer, one recurrent
        layer and a readout, and as :meth:`model` does.
        """
        from cellsearch.export.whole import whole_of  # loads torch

        return whole_of(self.model(arrays))

    def weights(self) -> dict[str, Tensor]:
        """The weights of the recurrent layer at the best validation score, under the names of
        ``compile_cell`` (``l0.i.weight_x``). Raises as :meth:`trained` does.
        """
        from cellsearch.training import checkpoint  # loads torch

        return checkpoint.read(self.checkpoint).cell_weights()

    def sizes(self, weights: dict[str, Tensor]) -> dict[str, Any]:
        """The arguments of ``compile_cell`` that these weights fit."""
        training = self.run.declared["training"]
        hidden_size = training["hidden_size"]
        wide = [
            (symbol, weights[f"l0.{spec.name}"].shape[axis])
            for spec in self.genome.parameters
            for axis, symbol in enumerate(spec.shape[1:], start=1)
            if base_of(symbol) == "I" and f"l0.{spec.name}" in weights
        ]
        found = {
            # without such a weight I = H
            "input_size": _input_size(*wide[0]) if wide else hidden_size,
            "hidden_size": hidden_size,
            "num_layers": training["num_layers"],
            "bidirectional": training["bidirectional"],
        }
        named = own_sizes(self.genome, training.get("sizes"))
        return {**found, "sizes": named} if named else found

    @checked_arguments
    def layer(self, *, batch_first: bool = False, backend: str = "auto") -> CellModule:
        """The trained recurrent layer alone, called like ``torch.nn.LSTM``; it needs no data.
        Raises as :meth:`trained` does.
        """
        from cellsearch.compiler.module import compile_cell  # loads torch

        weights = self.weights()
        layer = compile_cell(
            self.genome,
            **self.sizes(weights),
            batch_first=batch_first,
            backend=backend,
            dtype=next(iter(weights.values())).dtype if weights else None,
        )
        layer.load_state_dict(weights)
        return layer.eval()

    @checked_arguments
    def to_source(self, *, class_name: str = "Recurrent", precision: Precision = "float32") -> str:
        """The cell as a Python file that imports torch only. Its weights: :meth:`export`.

        class_name: of the layer.
        precision: of the weights that it will be given.
        """
        from cellsearch.export.source import to_source  # loads torch

        sizes = self.sizes(self.weights()) if self.has_weights else {}
        return to_source(
            self.genome, class_name=class_name, doc=self.provenance, precision=precision, **sizes
        )

    def to_svg(self) -> str:
        """A drawing of the cell."""
        return self.genome.to_svg()

    @checked_arguments
    def export(
        self,
        path: str | Path,
        form: Form = "source",
        *,
        suffix: str = "pt",
        class_name: str = "Recurrent",
        precision: Precision | None = None,
        step: bool = False,
        with_head: bool = False,
        bare: bool = False,
        activation_bits: ActivationBits = 8,
        math: Math = "libm",
        resets: bool = False,
        force: bool = False,
    ) -> Exported:
        """Write the cell and its weights, see :func:`cellsearch.export.write.export_cell`. Source
        and package of a cell whose weights were not kept are written without; where weights are
        needed, :class:`ConfigError` is raised.

        with_head: embedding or scaling and readout leave with the layer, for forms that can.
        bare: C of the layers alone, without embedding or scaling and readout.
        """
        from cellsearch.export.write import WHOLE, export_cell  # loads torch
        from cellsearch.runs.card import facts

        needed = form not in BARE or precision is not None
        taken = form in ("source", "package") and self.has_weights
        weights = self.weights() if needed or taken else {}
        return export_cell(
            self.genome,
            Path(path),
            form,
            doc=self.provenance,
            weights=weights,
            sizes=self.sizes(weights) if weights else {},
            suffix=suffix,
            class_name=class_name,
            precision=precision,
            step=step,
            force=force,
            whole=self.whole() if with_head or (form in WHOLE and not bare) else None,
            activation_bits=activation_bits,
            math=math,
            resets=resets,
            facts=facts(self.run, self.trial),
        )

    @checked_arguments
    def diagnose(
        self,
        *,
        positions: int = 100,
        examples: int = 8,
        on_training: Callable[[str, int], None] | None = None,
    ) -> Comparison:
        """What the trained cell does with time, beside LSTM and GRU, which are trained now in the
        same way; see :func:`cellsearch.runs.diagnosis.compare`.
        """
        from cellsearch.runs.diagnosis import compare  # loads torch

        return compare(
            self.label,
            self.genome,
            self.job,
            self.checkpoint,
            arrays=self.run.load_arrays(),
            positions=positions,
            examples=examples,
            on_training=on_training,
        )

    @checked_arguments
    def plan_ablation(self, **options: Any) -> AblationPlan:
        """What can be taken out of the cell, and how what is left is trained; see
        :func:`cellsearch.runs.ablation.plan_ablation`.
        """
        from cellsearch.runs.ablation import plan_ablation  # loads torch

        return plan_ablation(self.run, self.trial, **options)

    def ablate(
        self,
        executor: Executor,
        on_outcome: Callable[[str, Outcome], None] | None = None,
        **options: Any,
    ) -> AblationTable:
        """Take each node, state and connection out of the cell in turn, train what is left from
        scratch with several seeds, and say what each costs. Kept in the run's folder: what was
        interrupted goes on, and more seeds are trained in addition.

        executor: what trains; the caller closes it.
        on_outcome: told what was removed and the outcome of each training.
        options: those of :meth:`plan_ablation`: ``seeds=5``, ``share=0.25``, ...
        """
        return self.plan_ablation(**options).run(executor, on_outcome)

    @property
    def diagnosis_file(self) -> Path:
        """Where :meth:`keep_diagnosis` keeps what was measured."""
        return self.run.path / f"diagnosis-{self.number}.json"

    def keep_diagnosis(self, found: Comparison) -> Path:
        """Keep what :meth:`diagnose` has measured in the run's folder, where the live page shows
        the activity of the gates. Returns the file, which is replaced if it is there.
        """
        write_atomically(self.diagnosis_file, json.dumps(plain(found.to_document())))
        return self.diagnosis_file

    @checked_arguments
    def write_text(
        self,
        length: int = 400,
        *,
        prompt: str | None = None,
        temperature: float = 0.8,
        seed: int = 0,
    ) -> str:
        """What the trained language model goes on with, see
        :func:`cellsearch.streaming.language.write_text`.
        """
        from cellsearch.streaming.language import write_text  # loads torch

        trained = self.trained()
        return write_text(
            trained.model,
            trained.task,
            length,
            prompt=prompt,
            temperature=temperature,
            seed=seed,
        )

    @checked_arguments
    def accuracy(self, precision: Precision, activation_bits: ActivationBits | None = None) -> str:
        """A line that says what the cell costs when it is exported in ``precision``, measured on
        validation data. Where these are not there, the line says so. Raises :class:`ConfigError` if
        the weights were not kept.

        activation_bits: of C with 8-bit weights.
        """
        from cellsearch.export import accuracy  # loads torch

        try:
            trained = self.trained()
        except EnvironmentFailure as error:
            task = self.job.task
            return f"accuracy: not measured, for want of the data of {task}: {error}"
        return accuracy.accuracy(trained.model, trained.task, precision, activation_bits)

    def _repr_html_(self) -> str:
        return framed(cell(self.trial, self.run.metric))

    def __repr__(self) -> str:
        return f"<trial {self.number} of {self.run.path}: score {self.score:.6g}>\n{self.genome}"


def _input_size(symbol: str, number: int) -> int:
    """I of a layer in which a fraction of it is so large."""
    share = ratio(symbol, "I")
    return number if share is None else int(number / share)


def trial_record(trial: Trial) -> dict[str, Any]:
    """A trial as plain data for ``--json``."""
    row = trial.to_row()
    message = row.pop("message")
    failure = {"kind": row["failure"], "message": message} if trial.failure else None
    return {**row, "failure": failure}
