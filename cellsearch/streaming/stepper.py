"""Inference position by position, with little delay, in full or low precision.

The weights are taken over once: products with the same operand become one product, everything that
depends on weights only is computed beforehand, and nothing is recorded for gradients while the
stream runs. In float32 a position of a layer is one call into the native runtime
(:mod:`cellsearch.streaming.native`) where there is one; else a torch call an operation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from cellsearch.compiler.backends.base import Support
from cellsearch.compiler.backends.choice import support_of
from cellsearch.compiler.backends.evaluate import operation
from cellsearch.compiler.calling import within
from cellsearch.compiler.given import Beside, check_given
from cellsearch.compiler.module import CellModule
from cellsearch.compiler.program import Instruction, Program
from cellsearch.compiler.projection import projection_of
from cellsearch.errors import BackendError, ConfigError, checked_arguments
from cellsearch.genome.sizes import Sizes
from cellsearch.streaming.native import NativeLayer

__all__ = ["PRECISIONS", "Precision", "Stepper"]

Precision = Literal["float64", "float32", "float16", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float64", "float32", "float16", "bfloat16", "int8")
_Product = Callable[[Tensor], Tensor]


class Stepper:
    """A compiled cell as a function of one position: ``y, state = stepper(x, state)``; a cell that
    reads ``dt[t]`` or ``mask[t]`` is given ``dt [B]``, or a number, and ``mask [B, I]`` as well
    (else a time of 1, and all observed). Where ``reset [B]`` is true, the state goes back to
    :meth:`start` before the position.

    ``x [B, I]``, ``y [B, H]``; ``state`` is a tuple over layers of tuples of states ``[B, H]``
    (:meth:`start` gives the first one): a value that may be kept, copied, and gone back to. The
    weights are those that the cell had when the stepper was made.

    ``precision``: ``"float64"``, ``"float32"``; ``"float16"`` and ``"bfloat16"`` hold weights and
    values in 16 bits; ``"int8"`` holds dense weights as 8-bit integers with one scale a row and
    quantises the operands of products as they come (dynamic quantisation as torch's
    ``quantized.linear_dynamic`` does it; per-channel scales: Krishnamoorthi 2018, arXiv 1806.08342,
    section 3), everything else is float32. An initial value beyond the range of the precision
    becomes its largest number. Less than float32 saves memory, not time, at the usual sizes: int8
    becomes faster only where the weights no longer fit into the caches (about three times at H =
    1024; ``benchmarks/latency.py``). That of the cell's own products (``compile_cell(...,
    precision=)``) plays no part here.

    ``backend``: ``"native"`` (float32 only), ``"torch"``, or ``"auto"``, which takes the first that
    can; :attr:`report` says which and why. Raises :class:`ConfigError` for another precision or
    backend and for a bidirectional cell, :class:`BackendError` where the backend, or torch with
    8-bit integers, cannot compute.
    """

    @checked_arguments
    def __init__(
        self, cell: CellModule, precision: Precision = "float32", backend: str = "auto"
    ) -> None:
        if cell.bidirectional:
            raise ConfigError(
                "a bidirectional cell cannot run step by step",
                hint="compile it with bidirectional=False",
            )
        if precision not in PRECISIONS:
            raise ConfigError(
                f"{precision!r} is not a precision", hint="precisions: " + ", ".join(PRECISIONS)
            )
        self.precision = precision
        self.dtype: torch.dtype = (
            torch.float32 if precision == "int8" else getattr(torch, precision)
        )
        self.hidden_size = cell.hidden_size
        self._projections = [
            None if one is None else deepcopy(one).requires_grad_(False).to(self.dtype)
            for one in (projection_of(cell, name) for name, _ in cell.layers())
        ]
        self.state_sizes = cell.state_sizes
        self.sizes = cell.sizes
        self.initial = tuple(state.initial for state in cell.genome.states)
        self.genome = cell.genome
        self._program = replace(cell.program, precision="float32")  # it has one of its own
        self.report = _choose(self._program, precision, backend)
        self._layers: list[_AnyLayer] = []
        with torch.no_grad():
            for k, (_, layer) in enumerate(cell.layers()):
                weights = layer.weights()
                if self.report["native"] == "taken":
                    projection = self._projections[k]
                    width = cell.hidden_size if k or projection else cell.input_size
                    native = NativeLayer(self._program, weights, width, cell.hidden_size)
                    self._layers.append(native)
                else:
                    self._layers.append(
                        _Layer(
                            self._program,
                            weights,
                            (cell.output_size, *cell.state_sizes),
                            self.dtype,
                            integers=precision == "int8",
                        )
                    )

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights, scales of integer ones included."""
        around = [w for p in self._projections if p is not None for w in p.parameters()]
        return sum(layer.weight_bytes for layer in self._layers) + sum(
            weight.numel() * weight.element_size() for weight in around
        )

    @checked_arguments
    def start(self, batch: int = 1) -> tuple[tuple[Tensor, ...], ...]:
        """The state before the first position of ``batch`` streams."""
        states = tuple(
            torch.full((batch, size), within(value, self.dtype), dtype=self.dtype)
            for value, size in zip(self.initial, self.state_sizes, strict=True)
        )
        return tuple(states for _ in self._layers)

    def __call__(
        self,
        x: Tensor,
        state: Sequence[Sequence[Tensor]],
        *,
        dt: Tensor | float | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...]]:
        """One position, without gradients. ``x`` and the result have the stepper's dtype (float32
        for int8).
        """
        if reset is not None:
            state = self._restarted(state, reset)
        given = Beside(dt, mask)
        if not given.is_empty or len(self._program.inputs) > 1:
            return self._with_more(x, state, given)
        after = []
        for k, (layer, states) in enumerate(zip(self._layers, state, strict=True)):
            x, new = layer(self._read(k, x), states)
            after.append(new)
        return x, tuple(after)

    def _with_more(
        self, x: Tensor, state: Sequence[Sequence[Tensor]], given: Beside
    ) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...]]:
        """One position of a cell that is given more than x."""
        check_given(self.genome, given)
        beside = given.of_step().laid_out(
            x, torch.Size((1, *x.shape)), None, batched=True, batch_first=False
        )
        after = []
        for k, (layer, states) in enumerate(zip(self._layers, state, strict=True)):
            x = self._read(k, x)
            sizes = Sizes(x.shape[1], self.hidden_size, self.sizes)
            inputs = beside.of_layer(first=k == 0).inputs(
                self._program, x[None], sizes, None, backward=False
            )
            x, new = layer(x, states, [value[0] for value in inputs])
            after.append(new)
        return x, tuple(after)

    def _read(self, layer: int, x: Tensor) -> Tensor:
        """The x that the cell of a layer reads."""
        projection = self._projections[layer]
        return x if projection is None else projection(x)

    def _restarted(
        self, state: Sequence[Sequence[Tensor]], reset: Tensor
    ) -> tuple[tuple[Tensor, ...], ...]:
        """The state, that of :meth:`start` in the rows of ``reset [B]``."""
        rows = len(state[0][0])
        if reset.shape != (rows,):
            raise RuntimeError(f"Expected reset size ({rows},), got {list(reset.shape)}")
        fresh = (reset > 0)[:, None]
        return tuple(
            tuple(torch.where(fresh, start, value) for start, value in zip(*pair, strict=True))
            for pair in zip(self.start(rows), state, strict=True)
        )


def _choose(program: Program, precision: Precision, backend: str) -> dict[str, str]:
    """For each backend ``"taken"`` or why not."""
    if backend not in ("auto", "native", "torch"):
        raise ConfigError(
            f"{backend!r} is not a backend of a stepper", hint="backends: auto, native, torch"
        )
    if backend == "torch":
        return {"native": "not asked for", "torch": "taken"}
    support = support_of("native", program, torch.device("cpu"), torch.float32)
    if support.ok and program.beyond_hidden:
        support = Support(False, f"{program.beyond_hidden}, which its steps are not made for")
    reason = (
        support.reason if precision == "float32" else f"it computes in float32, not in {precision}"
    )
    if support.ok and precision == "float32":
        return {"native": "taken", "torch": "not needed, native comes first"}
    if backend == "native":
        raise BackendError(
            f"the native backend cannot run this stepper: {reason}",
            hint='backend="auto" takes one that can',
        )
    return {"native": reason, "torch": "taken"}


@dataclass(frozen=True, slots=True)
class _Group:
    """Dense products of one operand: the results side by side, each as wide as ``rows`` says, are
    the values ``results``.
    """

    operand: int
    results: tuple[int, ...]
    rows: list[int]
    product: _Product


@dataclass(frozen=True, slots=True)
class _Call:
    """One instruction that is not a dense product."""

    result: int
    function: Callable[..., Tensor]
    operands: tuple[int, ...]


class _Layer:
    """One layer: what is fixed computed, products grouped, the rest in order."""

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, Tensor],
        widths: Sequence[int],
        dtype: torch.dtype,
        *,
        integers: bool,
    ) -> None:
        """``widths``: of the output and of each state."""
        own = {name: weight.detach().to(dtype, copy=True) for name, weight in weights.items()}
        self.weight_bytes = sum(weight.numel() * weight.element_size() for weight in own.values())
        self._first = program.first
        self._results = (program.output, *program.next_states)
        self._expand = tuple(program.shapes[value].extent == "fixed" for value in self._results)
        self._widths = tuple(widths)
        self._values: list[Tensor] = [torch.empty(0)] * program.n_values
        self._work: list[_Group | _Call] = []
        groups: dict[int, list[int]] = {}
        for value, primitive in program.numbered():
            if primitive.op == "dense" and program.shapes[value].extent == "step":
                groups.setdefault(primitive.inputs[0], []).append(value)
        for value in range(program.n_values):
            instruction = program.instruction(value)
            if instruction is not None and program.shapes[value].extent == "fixed":
                self._values[value] = _fixed(
                    instruction,
                    [self._values[v] for v in instruction.inputs],
                    own,
                    widths[0],
                    dtype,
                )
            elif instruction is not None and instruction.op != "dense":
                self._work.append(_Call(value, operation(instruction, own), instruction.inputs))
            if value in groups:
                names = [
                    (program.instruction(v) or Instruction("")).parameter for v in groups[value]
                ]
                weight = torch.cat([own[name] for name in names])
                if integers:
                    self.weight_bytes += (
                        weight.shape[0] * (4 + weight.shape[1])
                        - weight.numel() * weight.element_size()
                    )
                product = _integer_product(weight) if integers else _plain_product(weight)
                rows = [len(own[name]) for name in names]
                self._work.append(_Group(value, tuple(groups[value]), rows, product))

    @torch.no_grad()
    def __call__(
        self, x: Tensor, states: Sequence[Tensor], more: Sequence[Tensor] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One position: ``x [B, I]``, states ``[B, H]``, ``more`` inputs ``[B, width]`` -> output
        ``[B, H]``, next states.
        """
        values = [x, *more, *states, *self._values[self._first :]]
        for item in self._work:
            if isinstance(item, _Call):
                values[item.result] = item.function(*[values[v] for v in item.operands])
            else:
                parts = item.product(values[item.operand])
                if len(item.results) == 1:
                    values[item.results[0]] = parts
                else:
                    split = torch.split(parts, item.rows, 1)
                    for result, part in zip(item.results, split, strict=True):
                        values[result] = part
        output, *new = (
            values[v].expand(x.shape[0], width) if expand else values[v]
            for v, expand, width in zip(self._results, self._expand, self._widths, strict=True)
        )
        return output, tuple(new)


_AnyLayer = NativeLayer | _Layer


def _fixed(
    instruction: Instruction,
    operands: list[Tensor],
    own: Mapping[str, Tensor],
    hidden_size: int,
    dtype: torch.dtype,
) -> Tensor:
    """A value that depends on weights only, ``[width]``."""
    if instruction.op == "const":
        return torch.tensor([within(instruction.value, dtype)], dtype=dtype)
    if instruction.op == "zeros":
        return torch.zeros(hidden_size, dtype=dtype)
    if instruction.op in ("vector", "scalar"):
        return own[instruction.parameter].reshape(-1)
    return operation(instruction, own)(*operands)


def _plain_product(weight: Tensor) -> _Product:
    transposed = weight.t()
    return lambda operand: operand @ transposed


def _integer_product(weight: Tensor) -> _Product:
    """``operand @ weight.T`` in 8-bit integers: one scale a row of the weight, one scale and zero
    point for the operand as it comes.

    Operands get 7 bits, as torch does it on x86, whose instructions for 8 bits would overflow.
    """
    scales = weight.abs().amax(1).clamp_min(torch.finfo(weight.dtype).tiny).double() / 127
    try:
        with warnings.catch_warnings():
            # torch announces another interface for quantised tensors; this one is in all versions
            # that we allow.
            warnings.simplefilter("ignore")
            whole = torch.quantize_per_channel(
                weight, scales, torch.zeros_like(scales, dtype=torch.int64), 0, torch.qint8
            )
            packed = torch.ops.quantized.linear_prepack(whole, None)
    except (RuntimeError, AttributeError) as error:
        raise BackendError(
            f"this torch cannot compute with 8-bit integers: {error}", hint="use another precision"
        ) from error
    product = torch.ops.quantized.linear_dynamic
    return lambda operand: product(operand, packed, True)
