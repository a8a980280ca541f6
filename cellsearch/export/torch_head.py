"""What stands before and after the layer of a trained model, in torch: embedding or scaling,
readout, answer.

The model reads token numbers ``[T, B]`` (int64), or raw values ``[T, B, features]`` (float64, since
they are scaled before they are rounded). It answers probabilities (of classes, of the next token,
of each bit), or values in the user's units (float64, ``[..., horizon * columns]``, step after
step), one for each position ``[T, B, ...]`` or for a sequence ``[B, ...]``. All sequences of a
batch have the same length. A model that answers at every position takes and gives the states.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cellsearch.errors import ConfigError
from cellsearch.export.whole import WholeModel
from cellsearch.tasks.interface import FeatureInputs, TokenInputs

__all__ = ["Ends"]


class Ends(nn.Module):
    """The ends of a trained model; weights by its names. Raises :class:`ConfigError` for a step of
    a model that answers from a whole sequence only.
    """

    mean: Tensor
    scale: Tensor
    answer_mean: Tensor
    answer_scale: Tensor

    def __init__(self, whole: WholeModel, *, step: bool) -> None:
        super().__init__()
        self.interface = interface = whole.interface
        self.output_size = whole.output_size
        self.missing = isinstance(interface.inputs, FeatureInputs) and interface.inputs.missing
        self.inputs = whole.genome.inputs
        """What the cell reads of a step."""
        relative = isinstance(interface.inputs, FeatureInputs) and interface.inputs.relative
        if step and (interface.readout != "every" or relative):
            raise ConfigError(
                "the model answers from a whole sequence, so it has no single step with its "
                "readout",
                hint="leave out --step, or --with-head",
            )
        shapes = {name: array.shape for name, array in whole.weights.items()}
        dtype = torch.from_numpy(whole.weights["readout.weight"]).dtype

        def linear(name: str) -> nn.Linear:
            outputs, inputs = shapes[f"{name}.weight"]
            return nn.Linear(inputs, outputs, dtype=dtype)

        table = shapes.get("embedding.weight")
        self.embedding = nn.Embedding(table[0], table[1], dtype=dtype) if table else None
        self.projection = linear("projection") if "projection.weight" in shapes else None
        self.readout = linear("readout")
        self.load_state_dict(
            {
                name: torch.from_numpy(array)
                for name, array in whole.weights.items()
                if not name.startswith("cell.")
            }
        )
        numbers = {"answer_mean": interface.answer.mean, "answer_scale": interface.answer.scale}
        if isinstance(interface.inputs, FeatureInputs):
            numbers |= {"mean": interface.inputs.mean, "scale": interface.inputs.scale}
        for name, values in numbers.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))

    @property
    def streams(self) -> bool:
        """Whether states go in and come out."""
        return self.interface.streams

    def read(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        """The input of the layer; of relative inputs what was subtracted ``[B, features]``."""
        if isinstance(self.interface.inputs, TokenInputs):
            assert self.embedding is not None
            return self.embedding(raw), None
        x = (raw - self.mean) / self.scale
        x = x.nan_to_num(nan=0.0) if self.missing else x
        x = x.to(self.readout.weight.dtype)
        last = x[-1] if self.interface.inputs.relative else None
        x = x if last is None else x - last
        return (x if self.projection is None else self.projection(x)), last

    def beside(self, raw: Tensor, dt: Tensor | None) -> dict[str, Tensor]:
        """What the layer is given beside its input: times, in the unit of the training, and what of
        the raw values is there, as far as the cell reads them.
        """
        found = {}
        dtype = self.readout.weight.dtype
        unit = self.interface.time_unit
        if dt is not None and unit is not None and "dt" in self.inputs:
            found["dt"] = (dt / unit).to(dtype)
        if "mask" in self.inputs and self.missing and self.projection is None:
            found["mask"] = (~raw.isnan()).to(dtype)
        return found

    def answer(self, output: Tensor, last: Tensor | None) -> Tensor:
        """The answer from the output of the layer ``[T, B, H * directions]``."""
        numbers: Tensor = self.readout(self._position(output))
        answer = self.interface.answer
        if answer.kind in ("classes", "tokens"):
            return numbers.softmax(-1)
        if answer.kind == "bits":
            return torch.sigmoid(numbers)
        if last is not None:
            numbers = numbers + last[:, : len(answer.names)].repeat(1, answer.horizon)
        return numbers.double() * self.answer_scale + self.answer_mean

    def _position(self, output: Tensor) -> Tensor:
        """What the readout reads."""
        if self.interface.readout == "every":
            return output
        if self.interface.readout == "mean":
            return output.mean(0)
        return torch.cat([output[-1, :, : self.output_size], output[0, :, self.output_size :]], -1)

    def example(self, shape: Sequence[int]) -> Tensor:
        """Raw inputs of this shape, like those of the training."""
        inputs = self.interface.inputs
        if isinstance(inputs, TokenInputs):
            return torch.randint(inputs.vocabulary, tuple(shape))
        drawn = torch.randn(*shape, len(inputs.names), dtype=torch.float64)
        return self.mean + self.scale * drawn
