"""An ONNX graph as it is written: nodes in order, names that are unique, weights once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

__all__ = ["Graph", "Size", "value_info"]

Size = int | str
"""A dimension: a number, or the name of one that is known when the model runs."""


def value_info(name: str, dtype: np.dtype[Any], shape: Sequence[Size]) -> ValueInfoProto:
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)


class Graph:
    """One graph, or the body of a loop in it, whose nodes may read all that stands before the loop.

    ``dtype``: in which the cell computes.
    """

    def __init__(self, dtype: np.dtype[Any], outer: Graph | None = None) -> None:
        self.dtype = dtype
        self.nodes: list[NodeProto] = []
        self._outer = outer
        self._names: set[str] = set() if outer is None else outer._names
        self._weights: dict[str, TensorProto] = {} if outer is None else outer._weights
        self._numbers: dict[Any, str] = {} if outer is None else outer._numbers

    def body(self) -> Graph:
        """The body of a loop of this graph."""
        return Graph(self.dtype, self)

    def name(self, wanted: str) -> str:
        """A name that nothing has yet: this one, or with a number behind it."""
        name, k = wanted, 1
        while name in self._names:
            k += 1
            name = f"{wanted}.{k}"
        self._names.add(name)
        return name

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """One node with one result, whose name is returned."""
        return self.several(op, inputs, [name or op.lower()], **attributes)[0]

    def several(
        self, op: str, inputs: Sequence[str], names: Sequence[str], **attributes: Any
    ) -> list[str]:
        """One node with a result for each name."""
        results = [self.name(name) for name in names]
        node = helper.make_node(op, list(inputs), results, name=results[0], **attributes)
        self.nodes.append(node)
        return results

    def given(self, name: str, dtype: np.dtype[Any], shape: Sequence[Size]) -> ValueInfoProto:
        """An input of the graph, under the name that was promised to whoever runs it."""
        self._names.add(name)
        return value_info(name, dtype, shape)

    def promised(
        self, name: str, value: str, dtype: np.dtype[Any], shape: Sequence[Size]
    ) -> ValueInfoProto:
        """An output of the graph, under a promised name."""
        self._names.add(name)
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        return value_info(name, dtype, shape)

    def rename(self, value: str, wanted: str) -> str:
        """The result of the newest node under a better name."""
        node = self.nodes[-1]
        node.output[0] = node.name = self.name(wanted)
        return str(node.output[0])

    def weight(self, wanted: str, array: NDArray[Any]) -> str:
        """An array that is part of the model."""
        name = self.name(wanted)
        self._weights[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def number(self, value: float) -> str:
        """A number ``[1]`` in the dtype of the cell."""
        return self._constant(("number", repr(value)), f"number.{value:g}", [value], self.dtype)

    def integers(self, *values: int) -> str:
        """Whole numbers ``[n]``: sizes, axes."""
        return self._constant(("integers", *values), "sizes", values, np.dtype(np.int64))

    def position(self, value: int) -> str:
        """A whole number ``[]``, which takes a dimension away where it selects."""
        return self._constant(("position", value), "position", value, np.dtype(np.int64))

    def _constant(self, key: Any, name: str, values: Any, dtype: np.dtype[Any]) -> str:
        if key not in self._numbers:
            self._numbers[key] = self.weight(name, np.array(values, dtype=dtype))
        return self._numbers[key]

    def made(
        self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
    ) -> GraphProto:
        """The graph; that of a body holds no weights of its own."""
        weights = [] if self._outer is not None else list(self._weights.values())
        return helper.make_graph(self.nodes, name, list(inputs), list(outputs), weights)
