"""What a model takes on a small device: flash, memory and multiply-adds of the C that
``cellsearch export --to c`` writes. Follows from the graph and the sizes alone.

Exact are the constant data and the memory of the state structure (``sizeof(NAME_state)``); code is
an estimate for a Cortex-M4 (``-Os``), from what such files were measured to take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal, get_args

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import multiply_adds
from cellsearch.genome.parameters import bound_sizes, check_sizes, output_size
from cellsearch.genome.step_plan import Array, StepPlan, placed
from cellsearch.ops import OPS

__all__ = ["DeviceLayout", "DevicePrecision", "Footprint", "Surroundings", "footprint"]

DevicePrecision = Literal["float32", "int8"]
FLOAT = 4
"""Bytes of a number."""
_LIBRARY, _LIBRARIES = 800, 2400
"""Bytes of a function such as ``expf`` or ``tanhf`` in the C library, and of all of them at most,
for they share much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a whole model has around its recurrent layers."""

    outputs: int = 0
    """Width of the readout; 0: the output of the layers leaves as it is."""
    symbols: int = 0
    """Tokens, for a model that reads them: rows of the embedding."""
    features: int = 0
    """Columns of raw input, for a model that reads them; another number than I: through a
    projection."""
    scaled_inputs: bool = False
    """Whether the raw values are shifted and divided."""
    relative: bool = False
    """Whether they are relative to the last ones of their window, and the answers as well."""
    missing: bool = False
    """Whether raw values may be missing: NaN."""
    scaled_answers: bool = False
    """Whether the answers are multiplied and shifted."""
    function: Literal["", "softmax", "sigmoid"] = ""
    """What makes answers of the readout."""
    mean: bool = False
    """Whether the readout reads the mean of the outputs so far."""
    tied: bool = False
    """Whether the readout has the weights of the embedding."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model takes."""

    flash_bytes: int
    """Constant data and code, functions of the C library (expf, tanhf) included."""
    ram_bytes: int
    """Memory that is kept, scratch included: the size of the state structure. Input, answer and
    stack (less than 200 bytes) are the caller's."""
    macs_per_step: int
    """Multiply-adds of a step, as :func:`cellsearch.genome.measures.multiply_adds` counts."""
    state_bytes: int
    """The part of the memory that holds recurrent states."""
    data_bytes: int
    """The part of the flash that holds constant data, exactly."""

    @property
    def code_bytes(self) -> int:
        """The part of the flash that holds code: an estimate."""
        return self.flash_bytes - self.data_bytes


@checked_arguments
def footprint(
    genome: Genome,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    precision: DevicePrecision = "float32",
    outputs: int = 0,
    *,
    around: Surroundings | None = None,
    activation_bits: int = 8,
    sizes: Mapping[str, int | str] | None = None,
) -> Footprint:
    """The footprint of a cell, of stacked layers, or of a whole model.

    input_size, hidden_size, num_layers: as in ``compile_cell``.
    precision: ``"int8"``: dense weights are 8-bit integers, with one float a row; what they
        multiply is rounded to ``activation_bits`` (8 or 16) bits in each step.
    outputs: width of a linear readout with a bias; 0: none.
    around: all that a whole model has around the layers; in place of ``outputs``.
    sizes: what the names of sizes of the cell stand for.

    Raises :class:`ConfigError` for a bidirectional model, which needs the future of a sequence, and
    :class:`GenomeError` where the cell needs I = H.
    """
    if bidirectional:
        raise ConfigError(
            "a bidirectional model cannot run step by step on a device: a stream has no future",
            hint="use bidirectional = false",
        )
    if precision not in get_args(DevicePrecision):
        allowed = ", ".join(get_args(DevicePrecision))
        raise ConfigError(f"{precision!r} is not a precision of a device", hint=f"use {allowed}")
    layout = DeviceLayout(
        genome,
        input_size,
        hidden_size,
        num_layers,
        around or Surroundings(outputs=outputs),
        integer_bytes={8: 1, 16: 2}[activation_bits] if precision == "int8" else 0,
        named=dict(sizes or {}),
    )
    return layout.footprint


@dataclass(frozen=True)
class DeviceLayout:
    """Where the numbers of a model lie in the memory of a device."""

    genome: Genome
    input_size: int
    hidden_size: int
    num_layers: int
    around: Surroundings
    integer_bytes: int = 0
    """Bytes of a number that a dense product of integers reads; 0: products of floats."""
    named: Mapping[str, int | str] = field(default_factory=dict)
    """What the names of sizes of the cell stand for."""

    def __post_init__(self) -> None:
        for width in {self.input_size, *([self.output_size] if self.num_layers > 1 else [])}:
            sizes = bound_sizes(self.genome, width, self.hidden_size, self.named)
            check_sizes(self.genome, sizes)

    @cached_property
    def output_size(self) -> int:
        """Width of the output of a layer."""
        return output_size(self.genome, self.input_size, self.hidden_size, self.named)

    @cached_property
    def reads_mask(self) -> bool:
        """Whether something that is computed reads what was observed of x."""
        genome = self.genome
        if "mask" not in genome.inputs:
            return False
        mask = genome.inputs.index("mask")
        return mask in (*genome.next_states, genome.output) or any(
            user in genome.live for user in genome.uses[mask]
        )

    @property
    def integers(self) -> bool:
        """Whether dense weights are integers."""
        return self.integer_bytes > 0

    @property
    def projected(self) -> bool:
        """Whether raw values go through a projection."""
        return self.around.features not in (0, self.input_size)

    @property
    def copied(self) -> bool:
        """Whether the raw values need an array of their own before they are read."""
        around = self.around
        return bool(around.features) and (around.scaled_inputs or around.relative or around.missing)

    @cached_property
    def plans(self) -> tuple[StepPlan, ...]:
        """One a layer."""
        widths = [self.input_size, *[self.output_size] * (self.num_layers - 1)]
        return tuple(
            StepPlan(self.genome, width, self.hidden_size, self.integers, self.named)
            for width in widths
        )

    @property
    def footprint(self) -> Footprint:
        """What it takes in all."""
        return Footprint(
            flash_bytes=self.data_bytes + self.code_bytes,
            ram_bytes=self.ram_bytes,
            macs_per_step=self.macs_per_step,
            state_bytes=self.state_bytes,
            data_bytes=self.data_bytes,
        )

    # -- memory ------------------------------------------------------------------------------------

    @cached_property
    def _floats(self) -> dict[str, Array]:
        """Arrays of a step: those before the first layer live at -1, the readout at L."""
        around, width, last = self.around, self.output_size, self.num_layers
        found: dict[str, Array] = {}
        if self.copied:
            found["raw"] = Array(-1, -1 if self.projected else 0, around.features)
        if self.projected or (around.symbols and self.integers):
            found["x"] = Array(-1, 0, self.input_size)
        if self.reads_mask and around.outputs:  # what is missing of the raw values
            found["mask"] = Array(-1, 0, self.input_size)
        for layer, plan in enumerate(self.plans):
            if plan.scratch_floats:
                found[f"scratch {layer}"] = Array(layer, layer, plan.scratch_floats)
            if self.needs_output(layer):
                found[f"output {layer}"] = Array(layer, layer + 1, width)
        if around.mean:
            found["mean"] = Array(last, last, width)
        return found

    def needs_output(self, layer: int) -> bool:
        """Whether the output of a layer needs an array: it is not a state, nor what leaves."""
        leaves = layer == self.num_layers - 1 and not self.around.outputs
        return self.plans[layer].output_state is None and not leaves

    @cached_property
    def _integers(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        if not self.integers:
            return found
        if self.projected:
            found["projection"] = Array(-1, -1, self.around.features)
        for layer, plan in enumerate(self.plans):
            if plan.scratch_integers:
                found[f"scratch {layer}"] = Array(layer, layer, plan.scratch_integers)
        if self.around.outputs:
            found["readout"] = Array(self.num_layers, self.num_layers, self.output_size)
        return found

    @cached_property
    def places(self) -> tuple[dict[str, int], dict[str, int]]:
        """Where each array begins in the floats, and in the integers, of the scratch memory."""
        return placed(self._floats), placed(self._integers)

    @cached_property
    def scratch_floats(self) -> int:
        """Numbers of scratch memory."""
        return _end(self._floats, self.places[0])

    @cached_property
    def scratch_integers(self) -> int:
        """Integers of scratch memory."""
        return _end(self._integers, self.places[1])

    @property
    def state_bytes(self) -> int:
        """Bytes of the recurrent states."""
        plan = self.plans[0]
        return FLOAT * sum(plan.sizes[width] for width in plan.state_widths) * self.num_layers

    @property
    def ram_bytes(self) -> int:
        """Bytes of the state structure."""
        total = self.state_bytes + FLOAT * self.scratch_floats
        total += FLOAT * (self.output_size + 1) if self.around.mean else 0
        return total + -(-self.scratch_integers * self.integer_bytes // FLOAT) * FLOAT

    # -- flash and time ----------------------------------------------------------------------------

    def _dense(self, rows: int, columns: int) -> int:
        """Bytes of a matrix."""
        return rows * columns + FLOAT * rows if self.integers else FLOAT * rows * columns

    @cached_property
    def data_bytes(self) -> int:
        """Bytes of all constant arrays."""
        around, width = self.around, self.output_size
        total = sum(self._layer_bytes(plan) for plan in self.plans)
        # further layers read a mask of ones
        total += FLOAT * width if self.reads_mask and self.num_layers > 1 else 0
        if around.symbols:
            total += self._dense(around.symbols, self.input_size)
        if self.projected:
            total += self._dense(self.input_size, around.features) + FLOAT * self.input_size
        if around.scaled_inputs:
            # the mean, in two parts, and the scale; relative values need no mean
            total += (1 if around.relative else 3) * FLOAT * around.features
        if around.outputs:
            shared = around.tied and around.symbols == around.outputs
            total += 0 if shared else self._dense(around.outputs, width)
            total += FLOAT * around.outputs
        if around.scaled_answers:
            total += (1 if around.relative else 2) * FLOAT * around.outputs
        return total

    def _layer_bytes(self, plan: StepPlan) -> int:
        total = 0
        for spec in self.genome.parameters:
            if spec.node not in self.genome.live or not spec.shape:
                continue  # a weight that is one number stands in the code
            *rows, columns = plan.sizes.of(spec.shape)
            dense = bool(rows) and spec.shape[-1] != "1"
            total += self._dense(prod(rows), columns) if dense else FLOAT * prod((*rows, columns))
        return total

    @cached_property
    def macs_per_step(self) -> int:
        """Multiply-adds of a step."""
        around, width = self.around, self.output_size
        total = sum(
            multiply_adds(self.genome, plan.input_size, plan.hidden_size, self.named)
            for plan in self.plans
        )
        total += self.input_size * around.features if self.projected else 0
        total += around.features if around.scaled_inputs else 0
        return total + around.outputs * (width + around.scaled_answers)

    @cached_property
    def code_bytes(self) -> int:
        """An estimate of the code for a Cortex-M4 with a floating-point unit, ``-Os``: constants
        fitted to the cells of the zoo.
        """
        around = self.around
        nodes = [node for value, node in self.genome.numbered() if value in self.genome.live]
        functions = {node.op for node in nodes if OPS[node.op].unary and OPS[node.op].costly}
        functions |= {"sigmoid"} if around.function else set()
        functions |= {"sin", "cos"} if any(node.op == "rotate" for node in nodes) else set()
        total = sum(map(self._layer_code, self.plans)) + 60 + 34 * len(functions)
        total += 200 if self.integers else 0
        total += 80 * (bool(around.outputs) + self.projected + around.mean)
        total += 60 * (around.scaled_inputs + around.scaled_answers + around.missing)
        total += 130 if around.function == "softmax" else 0
        return total + min(_LIBRARY * len(functions), _LIBRARIES)

    def _layer_code(self, plan: StepPlan) -> int:
        how = Counter(how for value in plan.live for _, how in plan.reads(value))
        total = 20 + 25 * len(self.genome.states) + 5 * how["unit"] + 38 * how["norm"]
        total += 60 * (how["head"] + how["pair"])
        dense, stage = (49, 45) if self.integers else (24, 20)
        return total + dense * how["dense"] + stage * plan.stages


def _end(arrays: dict[str, Array], places: dict[str, int]) -> int:
    return max((places[name] + array.size for name, array in arrays.items()), default=0)
