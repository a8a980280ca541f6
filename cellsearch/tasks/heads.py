"""Models around a recurrent layer: an input layer, the cell, and a readout at every position or of
a whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from cellsearch.errors import ConfigError, GenomeError
from cellsearch.tasks.base import CellFactory
from cellsearch.tasks.interface import Interface, Readout
from cellsearch.tasks.model_stream import ModelStream
from cellsearch.tasks.prediction import Predicted, beside_of, predict, prepare

__all__ = ["Readout", "SequenceModel", "evaluation"]


class SequenceModel(nn.Module):
    """Input layer, cell, linear readout.

    ``tokens``: size of the vocabulary V for inputs ``[T, B]`` (embedded to width H); ``features``:
    width I of inputs ``[T, B, I]``; exactly one of them is given. ``outputs``: width of the
    prediction. ``readout``: ``"every"`` position ``[T, B, outputs]``, or ``[B, outputs]`` of the
    ``"last"`` position or the ``"mean"`` over positions; positions beyond ``lengths`` do not count.
    ``tied``: the readout shares the weights of the embedding (Press & Wolf 2017). A cell that reads
    both directions gives its last forward and its first backward position for ``"last"``.
    """

    def __init__(
        self,
        factory: CellFactory,
        *,
        outputs: int,
        tokens: int = 0,
        features: int = 0,
        readout: Readout = "every",
        tied: bool = False,
    ) -> None:
        super().__init__()
        if bool(tokens) == bool(features):
            raise ValueError("give either tokens or features")
        self.described: Interface | ConfigError | None = None
        self.readout_kind = readout
        self.cell_width = factory.width
        self.directions = factory.directions
        project = factory.square and features not in (0, factory.hidden_size)
        width = factory.hidden_size if tokens or project else features
        self.embedding = nn.Embedding(tokens, width) if tokens else None
        self.projection = nn.Linear(features, width) if project else None
        self.cell = factory(width)
        self.dropout = nn.Dropout(factory.dropout)
        self.readout = nn.Linear(factory.output_size, outputs)
        self._linear_cross_entropy = factory.cross_entropy or _linear_cross_entropy
        if tied:
            if factory.width != factory.hidden_size:
                raise GenomeError(
                    f"the cell puts out {factory.width} numbers, and a readout that shares the "
                    f"weights of an embedding needs H = {factory.hidden_size}",
                    hint="a cell whose output is as wide as H, or tied = false",
                )
            if self.embedding is None or outputs != tokens or factory.output_size != width:
                raise ValueError(
                    "only a model in one direction with as many outputs as tokens can "
                    "share its embedding"
                )
            # As readout, vectors of the size of a unit normal would make far too sure predictions
            # at first.
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
            self.readout.weight = self.embedding.weight

    def forward(
        self,
        x: torch.Tensor,
        state: Any = None,
        lengths: torch.Tensor | None = None,
        beside: Mapping[str, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, Any]:
        """``x [T, B]`` or ``[T, B, I]``, ``lengths [B]``, ``beside`` as of :class:`Batch` ->
        (prediction, final state). Of the times and masks in ``beside`` the cell is given those that
        it reads; resets are for every cell.
        """
        hidden, state = self._hidden(x, state, lengths, beside or {})
        return self.readout(hidden), state

    @property
    def interface(self) -> Interface:
        """What the model reads and answers, once it is trained. Raises :class:`ConfigError` where
        that is not known.
        """
        if isinstance(self.described, Interface):
            return self.described
        raise self.described or ConfigError(
            "nobody has said what the model reads and answers",
            hint="cellsearch.load_model and RunTrial.model give models that know it",
        )

    def predict(
        self, data: Any, *, probabilities: bool = False, times: Any = None, resets: Any = None
    ) -> Any:
        """Answers in the user's units and labels for raw data.

        data: one sequence: raw values ``[T, I]`` (``[T]`` for one feature), a text, or token
            numbers ``[T]``; several: an array with one dimension more, or a list.
        probabilities: those of classes, bits or next tokens instead of the most probable one.
        times: when each position was, ``[T]`` of one sequence, a list of these of several, in the
            unit of the training's times; a cell that reads ``dt[t]`` needs them.
        resets: where states start afresh before the position, in the same form.

        Values that are missing are NaN, where values were missing in the training. Returns for each
        sequence a label, values ``[C]`` or ``[horizon, C]``, or bits; one a position where the
        model answers at every position. Of a forecast's sequence the last window is read.
        Raises :class:`ConfigError` for data that the model cannot read.
        """
        sequences, alone = prepare(self.interface, data)
        beside = beside_of(self, self.interface, sequences, times, resets, alone=alone)
        found = [
            row.probabilities if probabilities else row.answers
            for row in self.predicted(sequences, beside)
        ]
        if alone:
            return found[0]
        same = all(isinstance(row, np.ndarray) and row.shape == found[0].shape for row in found)
        return np.stack(found) if same else found

    def predicted(
        self, sequences: Sequence[Any], beside: Sequence[dict[str, Any]] | None = None
    ) -> list[Predicted]:
        """What :meth:`predict` gives for checked sequences, with all that is known of it.
        ``beside``: what :func:`cellsearch.tasks.prediction.beside_of` gave.
        """
        return predict(self, self.interface, sequences, beside)

    @property
    def can_stream(self) -> bool:
        """Whether it can answer position by position."""
        return ModelStream.can(self.interface, self.directions)

    def stream(self) -> ModelStream:
        """The model position by position, its state carried on."""
        return ModelStream(self, self.interface, self.directions)

    def cross_entropy(
        self, x: torch.Tensor, y: torch.Tensor, state: Any = None
    ) -> tuple[torch.Tensor, Any]:
        """Mean cross-entropy in nats of the targets ``y [T, B]`` of every position, and the final
        state; ``x`` as in :meth:`forward`.

        What :func:`torch.nn.functional.cross_entropy` of the prediction gives, by the function that
        the factory brought.
        """
        hidden, state = self._hidden(x, state, None, {})
        rows = hidden.flatten(0, -2)
        return self._linear_cross_entropy(
            rows, self.readout.weight, self.readout.bias, y.flatten()
        ), state

    def _hidden(
        self,
        x: torch.Tensor,
        state: Any,
        lengths: torch.Tensor | None,
        beside: Mapping[str, torch.Tensor],
    ) -> tuple[torch.Tensor, Any]:
        """What the readout reads, and the final state."""
        run_tokens: Callable[..., Any] | None = getattr(
            self.cell, "run_tokens", None
        )  # of a TokenCell
        inputs = x
        if self.embedding is None:
            inputs = x.to(self.readout.weight.dtype)
            inputs = inputs if self.projection is None else self.projection(inputs)
        elif run_tokens is None:
            inputs = self.embedding(x)

        def packed(values: torch.Tensor) -> Any:
            if lengths is None:
                return values
            return pack_padded_sequence(values, lengths, enforce_sorted=False)

        reads: tuple[str, ...] | None = getattr(self.cell, "reads", None)  # of a compiled cell
        more = {name: packed(value) for name, value in beside.items() if name in (reads or ())}
        if "mask" in more and self.projection is not None:
            raise ConfigError(
                "the cell reads mask[t], which is as wide as x, and needs an input as wide as H",
                hint=f"hidden_size = {x.shape[2]}, or a cell that reads x through linear",
            )
        if reads is None and "reset" in beside:
            output, state = _with_resets(self.cell, inputs, state, beside["reset"])
        elif self.embedding is not None and run_tokens is not None:
            output, state = run_tokens(packed(inputs), self.embedding.weight, state, **more)
        else:
            output, state = self.cell(packed(inputs), state, **more)
        if isinstance(output, PackedSequence):
            output, _ = pad_packed_sequence(output, total_length=x.shape[0])
        return self.dropout(self._read(output, lengths)), state

    def _read(self, output: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        if self.readout_kind == "every":
            return output
        if self.readout_kind == "mean":
            # Padding is zero in a packed output, so only the divisor changes.
            return (
                output.mean(0)
                if lengths is None
                else output.sum(0) / lengths.unsqueeze(1).to(output)
            )
        last = output[-1] if lengths is None else output[lengths - 1, torch.arange(output.shape[1])]
        if self.directions == 1:
            return last
        return torch.cat([last[:, : self.cell_width], output[0, :, self.cell_width :]], dim=1)


def _with_resets(
    cell: nn.Module, x: torch.Tensor, state: Any, reset: torch.Tensor
) -> tuple[torch.Tensor, Any]:
    """A layer of torch, whose states begin as zeros, over ``x [T, B, I]`` with zeros again where
    ``reset [T, B]`` is true: position by position.
    """
    if not isinstance(cell, nn.RNNBase):
        raise ConfigError(
            f"a {type(cell).__name__} cannot start afresh within a sequence, as this task asks",
            hint="use a cell, or a recurrent layer of torch",
        )
    outputs = []
    for x_t, fresh in zip(x, reset, strict=True):
        if state is not None:
            keep = ~fresh[None, :, None]
            parts = (state,) if isinstance(state, torch.Tensor) else state
            clean = tuple(torch.where(keep, part, 0.0) for part in parts)
            state = clean[0] if isinstance(state, torch.Tensor) else clean
        output, state = cell(x_t[None], state)
        outputs.append(output)
    return torch.cat(outputs), state


def _linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
) -> torch.Tensor:
    return nn.functional.cross_entropy(nn.functional.linear(hidden, weight, bias), targets)


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Within it the model neither learns nor drops anything; afterwards it is as before."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
