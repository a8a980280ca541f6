"""What stands before and after the layer in a trained model: embedding or scaling, readout, answer.

The model reads ``x``: token numbers ``[T, B]`` (int64), or raw values ``[T, B, features]``
(float64, since they are scaled before they are rounded). It answers ``probabilities`` (of classes,
of the next token, or of each bit) or ``values`` in the user's units (float64, ``[..., horizon *
columns]``, step after step), one for each position ``[T, B, ...]`` or for a sequence ``[B, ...]``.
All sequences of a batch have the same length. A model that answers at every position takes and
gives the states, so that a stream can go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, ValueInfoProto

from cellsearch.errors import ConfigError
from cellsearch.export.onnx.graph import Graph
from cellsearch.export.whole import WholeModel
from cellsearch.tasks.interface import FeatureInputs, TokenInputs

__all__ = ["Head"]

_EXACT = np.dtype(np.float64)


@dataclass
class Head:
    """The ends of a trained model. Raises :class:`ConfigError` for a step of a model that answers
    from a whole sequence only.
    """

    whole: WholeModel
    step: bool
    _last: str = field(default="", init=False)
    """Of relative inputs: what was subtracted."""

    def __post_init__(self) -> None:
        inputs, readout = self.whole.interface.inputs, self.whole.interface.readout
        relative = isinstance(inputs, FeatureInputs) and inputs.relative
        if self.step and (readout == "mean" or relative):
            reads = "subtracts the last value of a window" if relative else "reads the mean of all"
            raise ConfigError(
                f"the model {reads}, so it has no single step with its readout",
                hint="leave out --step, or --with-head",
            )

    @property
    def streams(self) -> bool:
        """Whether states go in and come out."""
        return self.step or self.whole.interface.streams

    @property
    def result(self) -> str:
        """What the answer is called."""
        return "values" if self.whole.interface.answer.kind == "values" else "probabilities"

    def given(self, graph: Graph) -> ValueInfoProto:
        """The raw input."""
        inputs = self.whole.interface.inputs
        before: list[int | str] = ["B"] if self.step else ["T", "B"]
        if isinstance(inputs, TokenInputs):
            return graph.given("x", np.dtype(np.int64), before)
        return graph.given("x", _EXACT, [*before, len(inputs.names)])

    def read(self, graph: Graph) -> str:
        """The input of the layer."""
        inputs, weights = self.whole.interface.inputs, self.whole.weights
        if isinstance(inputs, TokenInputs):
            table = graph.weight("embedding.weight", weights["embedding.weight"])
            return graph.add("Gather", table, "x", name="embedded", axis=0)
        mean = graph.weight("inputs.mean", np.array(inputs.mean))
        scale = graph.weight("inputs.scale", np.array(inputs.scale))
        exact = graph.add("Div", graph.add("Sub", "x", mean), scale)
        if inputs.missing:
            gone = graph.add("IsNaN", "x", name="missing")
            exact = graph.add("Where", gone, graph.weight("nothing", np.zeros(1)), exact)
        x = self._cast(graph, exact, graph.dtype, "scaled")
        if inputs.relative:
            self._last = graph.add("Gather", x, graph.position(-1), name="last", axis=0)
            x = graph.add("Sub", x, self._last, name="relative")
        return self._linear(graph, x, "projection") if "projection.weight" in weights else x

    def mask(self, graph: Graph, width: int) -> str:
        """What of the input of the layer was observed, in the dtype of the cell."""
        inputs = self.whole.interface.inputs
        if (
            not isinstance(inputs, FeatureInputs)
            or not inputs.missing
            or "projection.weight" in self.whole.weights
        ):
            before = graph.add("Shape", "x", start=0, end=1 if self.step else 2)
            shape = graph.add("Concat", before, graph.integers(width), axis=0, name="observed")
            return graph.add("Expand", graph.number(1.0), shape, name="mask")
        seen = graph.add("Not", graph.add("IsNaN", "x"))
        return self._cast(graph, seen, graph.dtype, "mask")

    def time(self, graph: Graph, last: str) -> tuple[list[ValueInfoProto], str]:
        """The times as an input, and as the layer reads them ``[..., 1]``."""
        unit = self.whole.interface.time_unit
        if unit is None:
            return [], graph.number(1.0)
        before: list[int | str] = ["B"] if self.step else ["T", "B"]
        given = graph.given("dt", _EXACT, before)
        exact = graph.add("Div", "dt", graph.weight("time.unit", np.array([unit])))
        single = self._cast(graph, exact, graph.dtype, "time")
        return [given], graph.add("Unsqueeze", single, last)

    def answer(self, graph: Graph, output: str) -> ValueInfoProto:
        """The answer from the output of the layer."""
        answer = self.whole.interface.answer
        numbers = self._linear(graph, self._position(graph, output), "readout")
        dtype = graph.dtype
        if answer.kind in ("classes", "tokens"):
            result = graph.add("Softmax", numbers, axis=-1)
        elif answer.kind == "bits":
            result = graph.add("Sigmoid", numbers)
        else:
            if self._last:
                numbers = graph.add("Add", numbers, self._repeated(graph), name="absolute")
            exact, dtype = self._cast(graph, numbers, _EXACT, "exact"), _EXACT
            scaled = graph.add("Mul", exact, graph.weight("answer.scale", np.array(answer.scale)))
            result = graph.add("Add", scaled, graph.weight("answer.mean", np.array(answer.mean)))
        every = self.whole.interface.readout == "every" and not self.step
        shape = ["T", "B"] if every else ["B"]
        return graph.promised(self.result, result, dtype, [*shape, self.whole.interface.outputs])

    def _position(self, graph: Graph, output: str) -> str:
        """What the readout reads."""
        readout = self.whole.interface.readout
        if self.step or readout == "every":
            return output
        if readout == "mean":
            return graph.add("ReduceMean", output, graph.integers(0), name="mean", keepdims=0)
        last = graph.add("Gather", output, graph.position(-1), name="newest", axis=0)
        if not self.whole.bidirectional:
            return last
        halves = graph.integers(self.whole.output_size, self.whole.output_size)
        first = graph.add("Gather", output, graph.position(0), name="oldest", axis=0)
        forward, _ = graph.several("Split", [last, halves], ["forward", "unread"], axis=-1)
        _, backward = graph.several("Split", [first, halves], ["unread", "backward"], axis=-1)
        return graph.add("Concat", forward, backward, name="ends", axis=-1)

    def _repeated(self, graph: Graph) -> str:
        """The last value of the columns that are answered, once for each step."""
        answer = self.whole.interface.answer
        columns = graph.integers(*range(len(answer.names)))
        last = graph.add("Gather", self._last, columns, name="answered", axis=-1)
        return graph.add("Tile", last, graph.integers(1, answer.horizon), name="repeated")

    def _linear(self, graph: Graph, a: str, name: str) -> str:
        weights = self.whole.weights
        weight = graph.weight(f"{name}.weight", weights[f"{name}.weight"].T)
        product = graph.add("MatMul", a, weight, name=f"{name}.product")
        bias = graph.weight(f"{name}.bias", weights[f"{name}.bias"])
        return graph.add("Add", product, bias, name=name)

    def _cast(self, graph: Graph, a: str, dtype: np.dtype[Any], name: str) -> str:
        kind = TensorProto.DOUBLE if dtype == _EXACT else TensorProto.FLOAT
        return graph.add("Cast", a, name=name, to=kind)
