"""What is written as a header and a source file in C99."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError
from cellsearch.export.c.functions import Math
from cellsearch.export.c.layer import state_fields
from cellsearch.export.c.names import Identifiers
from cellsearch.genome.footprint import DeviceLayout, Footprint, Surroundings
from cellsearch.genome.graph import Genome
from cellsearch.tasks.interface import FeatureInputs, Interface

__all__ = ["BESIDE", "CModel"]

BESIDE = {"dt": "float dt", "mask": "const float *mask"}
"""What a step may be given beside x."""


@dataclass(frozen=True, kw_only=True)
class CModel:
    """What is written.

    genome, input_size, hidden_size, num_layers: the layers; weights: of the layers by the names of
    ``compile_cell`` (``l0.i.weight_x``), of the rest by those of
    :class:`cellsearch.export.whole.WholeModel`; interface: what a whole model reads and answers,
    ``None``: the layers alone, ``x [I]`` in and their output ``[H]`` out.
    """

    name: str
    """Of the functions, as a part of identifiers."""
    genome: Genome
    input_size: int
    hidden_size: int
    num_layers: int
    weights: Mapping[str, NDArray[Any]]
    interface: Interface | None = None
    activation_bits: int = 0
    """0: floats; 8 or 16: 8-bit weights, and what they multiply in so many bits."""
    math: Math = "libm"
    named: Mapping[str, int | str] = field(default_factory=dict)
    """What the names of sizes of the cell stand for."""
    doc: str = ""
    """Where it comes from, in a sentence."""
    file: str = "model"
    """The name of the files, without suffix."""

    def __post_init__(self) -> None:
        inputs = None if self.interface is None else self.interface.inputs
        if isinstance(inputs, FeatureInputs) and inputs.relative:
            answer = self.interface.answer  # type: ignore[union-attr]
            alike = all(
                np.array_equal(np.resize(given[: len(answer.names)], len(found)), found)
                for given, found in ((inputs.mean, answer.mean), (inputs.scale, answer.scale))
            )
            if not alike:
                raise ConfigError(
                    "relative inputs and their answers are scaled differently, which is not "
                    "written in C",
                    hint="use --to model or --to onnx",
                )

    # -- what it is --------------------------------------------------------------------------------

    @cached_property
    def around(self) -> Surroundings:
        """What it has around its layers."""
        if self.interface is None:
            return Surroundings()
        embedding, readout = self.weights.get("embedding.weight"), self.weights["readout.weight"]
        tied = embedding is not None and np.array_equal(embedding, readout)
        return self.interface.surroundings(tied=tied)

    @cached_property
    def layout(self) -> DeviceLayout:
        """Where its numbers lie."""
        return DeviceLayout(
            self.genome,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.around,
            integer_bytes=self.activation_bits // 8,
            named=self.named,
        )

    @cached_property
    def footprint(self) -> Footprint:
        """What it takes."""
        return self.layout.footprint

    @property
    def inputs(self) -> int:
        """Numbers of a step."""
        return 1 if self.around.symbols else self.around.features or self.input_size

    @property
    def outputs(self) -> int:
        """Numbers of an answer."""
        return self.around.outputs or self.layout.output_size

    @property
    def beside(self) -> tuple[str, ...]:
        """What a step is given beside x: ``dt``, and ``mask`` where the layers are bare; a whole
        model finds out itself what is missing.
        """
        if self.interface is None:
            return self.genome.inputs[1:]
        timed = "dt" in self.genome.inputs and self.interface.time_unit is not None
        return ("dt",) if timed else ()

    @property
    def steps(self) -> bool:
        """Whether there is ``NAME_step``: not where a window is read relative to its last value."""
        return not self.around.relative

    @property
    def predicts(self) -> bool:
        """Whether there is ``NAME_predict``: where it answers once a sequence."""
        return self.interface is not None and not self.interface.streams

    @cached_property
    def names(self) -> Identifiers:
        """The identifiers of the files."""
        return Identifiers()

    def fields(self) -> Iterator[str]:
        """The members of the structure of the state."""
        layout = self.layout
        for layer, plan in enumerate(layout.plans):
            names = state_fields(layout, self.names, layer)
            for name, width in zip(names, plan.state_widths, strict=True):
                yield f"float {name}[{plan.sizes[width]}];"
        if self.around.mean:
            yield f"float sum[{layout.output_size}];"
            yield "uint32_t count;"
        if layout.scratch_floats:
            yield f"float floats[{layout.scratch_floats}]; /* scratch memory */"
        if layout.scratch_integers:
            kind = f"int{self.activation_bits}_t"
            yield f"{kind} integers[{layout.scratch_integers}]; /* scratch memory */"
