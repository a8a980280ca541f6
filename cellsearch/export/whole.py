"""A trained model as a value: the cell, its sizes, what it reads and answers, and all its weights.
What every export takes that holds more than the bare layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cellsearch.compiler.module import CellModule
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import output_size
from cellsearch.tasks.adaptive import AdaptiveModel
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.interface import Interface

__all__ = ["WholeModel", "whole_model", "whole_of"]

CELL = "cell."


@dataclass(frozen=True, kw_only=True, repr=False)
class WholeModel:
    """A trained model: embedding or scaling, recurrent layer, readout, and what they mean.

    What it computes, with raw inputs ``[T, B]`` or ``[T, B, I]``: features become ``(raw - mean) /
    scale`` (and relative ones ``- last``), tokens rows of ``embedding.weight``; a ``projection``
    follows where there is one, then the layer, then ``readout`` at every position, of the last one,
    or of the mean over all. With two directions the last position of a sequence is the last of the
    forward and the first of the backward half.
    """

    genome: Genome
    """The cell."""
    input_size: int
    """I of the recurrent layer: width of the embedding, the projection, or the features."""
    hidden_size: int
    """H, of one direction."""
    num_layers: int
    """Layers, one on the other."""
    bidirectional: bool
    """Whether each layer reads both directions; its output is [T, B, 2H] then."""
    interface: Interface
    """What it reads and answers."""
    weights: Mapping[str, NDArray[Any]]
    """By the names of the model's state dict, of one dtype, float32 or float64: ``embedding.weight
    [V, I]``, or ``projection.weight [I, features]`` and ``projection.bias`` (cells that need I =
    H); ``cell.l0.i.weight_x`` and so on with the names of ``compile_cell``; ``readout.weight
    [outputs, output_size * directions]``, ``readout.bias``."""
    named: Mapping[str, int | str] = field(default_factory=dict)
    """What the names of sizes of the cell stand for."""

    @property
    def output_size(self) -> int:
        """Width of what one direction of the layer puts out, H in most cells."""
        return output_size(self.genome, self.input_size, self.hidden_size, self.named)

    @property
    def cell_weights(self) -> dict[str, NDArray[Any]]:
        """The weights of the recurrent layer under the names of ``compile_cell``
        (``l0.i.weight_x``).
        """
        return {
            name.removeprefix(CELL): array
            for name, array in self.weights.items()
            if name.startswith(CELL)
        }

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which the model computes."""
        return self.weights["readout.weight"].dtype

    @property
    def directions(self) -> int:
        """1, or 2 for a layer that reads both directions."""
        return 2 if self.bidirectional else 1

    @property
    def sizes(self) -> dict[str, Any]:
        """The arguments of ``compile_cell``, ``to_source`` and ``export_cell``."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            **({"sizes": dict(self.named)} if self.named else {}),
        }

    def __repr__(self) -> str:
        count = sum(array.size for array in self.weights.values())
        return (
            f"<whole model: {self.input_size} -> {self.num_layers} x {self.hidden_size} -> "
            f"{self.interface.outputs}, {count:,} weights>"
        )


def whole_of(model: nn.Module) -> WholeModel:
    """A trained model that says itself what it reads and answers. Raises :class:`ConfigError` as
    :func:`whole_model` does, and where the model does not know.
    """
    if not isinstance(model, SequenceModel):
        raise _foreign(model)
    return whole_model(model, model.interface)


def whole_model(model: nn.Module, interface: Interface) -> WholeModel:
    """A trained model of a task as a value.

    model: what :meth:`cellsearch.tasks.base.Task.model` gave, with its weights.
    interface: what :meth:`cellsearch.tasks.base.Task.interface` says of it.

    Raises :class:`ConfigError` for a model that is more than an input layer, one recurrent layer
    and a linear readout.
    """
    if isinstance(model, AdaptiveModel):
        raise ConfigError(
            "an adaptive softmax is not a linear readout, which is what an export of the whole "
            "model holds",
            hint='search with softmax = "full", or use RunTrial.model(), or export the bare layer '
            "with --to source",
        )
    cell = getattr(model, "cell", None)
    if not isinstance(model, SequenceModel) or not isinstance(cell, CellModule):
        raise _foreign(model)
    return WholeModel(
        genome=cell.genome,
        input_size=cell.input_size,
        hidden_size=cell.hidden_size,
        num_layers=cell.num_layers,
        bidirectional=cell.bidirectional,
        interface=interface,
        named=dict(cell.sizes),
        weights={
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in model.state_dict().items()
        },
    )


def _foreign(model: nn.Module) -> ConfigError:
    return ConfigError(
        f"a {type(model).__name__} is not an input layer, one recurrent layer and a linear "
        "readout, which is what an export of the whole model holds",
        hint="use RunTrial.model(), or export the bare layer with --to source",
    )
