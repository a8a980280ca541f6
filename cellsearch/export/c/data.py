"""The constant arrays of a C file: weights and what else lies in flash."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.export.c.names import Identifiers, literal, number_table

__all__ = ["ConstantArrays", "in_rows"]


def in_rows(weight: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix as 8-bit integers and one scale a row, whose largest absolute value is 127
    (symmetric, Krishnamoorthi 2018, arXiv 1806.08342, sections 2.2 and 3): what
    :func:`cellsearch.export.weights.in_precision` gives.
    """
    whole = np.asarray(weight, dtype=np.float32)
    tiny = np.finfo(np.float32).tiny  # no division by 0 in a row of zeros
    scale = np.maximum(np.abs(whole).max(1) / np.float32(127), tiny)
    return np.round(whole / scale[:, None]).astype(np.int8), scale


class ConstantArrays:
    """Collects arrays; each is written once.

    integers: whether matrices are 8-bit integers, with ``<identifier>_scale`` beside them.
    """

    def __init__(self, names: Identifiers, *, integers: bool) -> None:
        self.integers = integers
        self._names = names
        self._lines: dict[str, list[str]] = {}

    def vector(self, name: str, values: NDArray[Any]) -> str:
        """The identifier of an array of floats."""
        found = self._names.of("w", name, name.replace(".", "_"))
        if found not in self._lines:
            texts = [literal(value, name) for value in values.reshape(-1).tolist()]
            self._lines[found] = _array("float", found, texts)
        return found

    def matrix(self, name: str, values: NDArray[Any]) -> str:
        """The identifier of a matrix ``[rows, columns]``, row after row; blocks ``[n, rows,
        columns]`` lie one behind the other.
        """
        values = values.reshape(-1, values.shape[-1])
        if not self.integers:
            return self.vector(name, values)
        found = self._names.of("w", name, name.replace(".", "_"))
        if found not in self._lines:
            for value in values.reshape(-1).tolist():
                literal(value, name)  # finite in float32
            integers, scale = in_rows(values)
            texts = [str(value) for value in integers.reshape(-1).tolist()]
            self._lines[found] = _array("int8_t", found, texts)
            beside = self.scale_of(found)
            texts = [literal(value, name) for value in scale.tolist()]
            self._lines[beside] = _array("float", beside, texts)
        return found

    def scale_of(self, matrix: str) -> str:
        """The identifier of the scales of a matrix."""
        return self._names.of("s", matrix, matrix)

    def lines(self) -> list[str]:
        """All arrays."""
        return [line for lines in self._lines.values() for line in lines]


def _array(kind: str, name: str, texts: list[str]) -> list[str]:
    return [f"static const {kind} {name}[{len(texts)}] = {{", *number_table(texts), "};"]
