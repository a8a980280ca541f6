"""The cost of a cell: multiply-adds, memory traffic, and the time that the native backend will take
on this machine.

Counted from the schedule that the backend runs, so padding, recomputation and the calls of a step
are in it. Seconds follow from a few constants (seconds a multiply-add, a cheap and a costly
pointwise number, a command, a segment), measured once a machine and cached.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellsearch import ops
from cellsearch.compiler.backends.native.build import (
    NATIVE,
    Library,
    compiler,
    key,
    library,
)
from cellsearch.compiler.backends.native.bytecode import Bytecode
from cellsearch.compiler.backends.native.codes import Codes, native_gradient
from cellsearch.compiler.backends.native.instructions import OPERATIONS
from cellsearch.compiler.backends.native.structures import CommandKind
from cellsearch.compiler.lower import lower
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import BackendError, ConfigError, EnvironmentFailure
from cellsearch.files import cache_folder, write_atomically
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import bound_sizes
from cellsearch.genome.sizes import Sizes

if TYPE_CHECKING:
    from cellsearch.compiler.backends.native.kernel import NativeKernel
    from cellsearch.compiler.module import CellModule

__all__ = [
    "REFERENCE",
    "Constants",
    "Cost",
    "estimate",
    "machine_constants",
    "module_microseconds",
    "position_microseconds",
    "predicted_seconds",
]

_COSTLY = {"ERF", "LAYER_NORM_GRADIENT", "HEAD_NORM_GRADIENT"} | {
    OPERATIONS[name] for name, row in ops.OPS.items() if row.costly and name in OPERATIONS
}
"""Instructions of the runtime that count as costly."""
FEATURES = ("multiply_add", "cheap", "costly", "command", "segment")
BATCH = POSITIONS = 32
"""The segment whose time is stated as microseconds a position: T and B of it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one segment."""

    multiply_adds: int
    """Of the dense products as written, gradients included when training."""
    bytes: int
    """Of values that outlive a step, written and read, and weights."""
    features: tuple[float, ...]
    """What :class:`Constants` multiply, in the order of :data:`FEATURES`."""


@dataclass(frozen=True, slots=True)
class Constants:
    """Seconds for one of each of :data:`FEATURES`."""

    seconds: tuple[float, ...]


REFERENCE = Constants((2.6e-11, 1.2e-10, 4.7e-10, 2.9e-7, 1.3e-4))
"""One core of an AMD EPYC 7003 (Zen 3, AVX2): where a prediction must not depend on the machine
that makes it.
"""


def estimate(
    genome: Genome,
    *,
    input_size: int,
    hidden_size: int,
    steps: int,
    batch: int,
    training: bool = True,
    sizes: Mapping[str, int | str] | None = None,
) -> Cost:
    """The cost of one layer over a segment of ``steps`` positions of ``batch`` sequences.
    ``sizes``: what names of sizes stand for; those that the cell does not have are left out.

    Raises :class:`BackendError` where there is no runtime, and for a cell that it cannot run, or
    not at these sizes.
    """
    program = simplify_program(lower(genome))
    try:
        numbers = bound_sizes(genome, input_size, hidden_size, sizes)
        numbers.of(tuple({shape.width for shape in program.shapes}))
        for shape in program.parameter_shapes.values():
            numbers.of(shape)
    except ConfigError as error:
        raise BackendError(f"no time is predicted: {error.message}", hint=error.hint) from error
    sized = Codes(native_gradient(program), library(), numbers, program.parameter_shapes)
    return _estimate(sized, steps, batch, training)


def _estimate(sized: Codes, steps: int, batch: int, training: bool) -> Cost:
    codes = [
        sized.code(kind) for kind in (("training", "backward") if training else ("inference",))
    ]
    features = np.zeros(len(FEATURES))
    for code in codes:
        features += _features(code, sized.library, steps, batch)
    positions = steps * batch
    exact = _multiply_adds(sized) * positions
    rows = sum(
        row
        for buffer, row in zip(codes[0].buffers, codes[0].row, strict=True)
        if buffer.lifetime == 0
    )
    traffic = 4 * positions * rows * (2 if training else 1)
    weights = 4 * sum(
        floats
        for buffer, floats in zip(codes[0].buffers, codes[0].floats, strict=True)
        if buffer.role == "parameter"
    )
    return Cost(
        exact * (3 if training else 1),
        traffic + weights * (3 if training else 1),
        tuple(float(f) for f in features),
    )


def _multiply_adds(sized: Codes) -> int:
    """Of the products with matrices, or with blocks of them, of one step of one sequence."""
    program = sized.program
    return sum(
        math.prod(sized.sizes.of(sized.stored[instruction.parameter]))
        for value, instruction in program.numbered()
        if instruction.op == "dense" and program.shapes[value].extent == "step"
    )


def _features(code: Bytecode, runtime: Library, steps: int, batch: int) -> np.ndarray:
    """Of one pass; the commands of the prologue and epilogue run once and hardly count."""
    costly = {number for name, number in runtime.opcodes.items() if name in _COSTLY}
    positions = steps * batch
    multiply_adds = cheap = expensive = 0.0
    for command in code.commands[code.first_command("before") : code.first_command("epilogue")]:
        kind, width, depth = (int(command[name]) for name in ("kind", "width", "depth"))
        rows = slice(command["first"], command["first"] + command["count"])
        if kind == CommandKind.PRODUCT:
            multiply_adds += positions * depth * -(-width // runtime.panel) * runtime.panel
        elif kind == CommandKind.OUTER:
            columns = int(code.pieces["rows"][rows].sum())
            multiply_adds += positions * columns * -(-depth // runtime.panel) * runtime.panel
        elif kind == CommandKind.POINTWISE:
            ops = code.instructions["op"][rows].tolist()
            expensive += positions * width * sum(op in costly for op in ops)
            cheap += positions * width * sum(op not in costly for op in ops)
    loop = code.first_command("after") - code.first_command("loop")
    return np.array([multiply_adds, cheap, expensive, steps * loop, 1.0])


def predicted_seconds(cost: Cost, constants: Constants | None = None) -> float:
    """The time that the native backend takes; ``constants``: of another machine (default: of this
    one, measured if need be).
    """
    constants = constants or machine_constants()
    return float(np.dot(cost.features, constants.seconds))


def position_microseconds(
    genome: Genome,
    *,
    input_size: int,
    hidden_size: int,
    training: bool = True,
    constants: Constants = REFERENCE,
    sizes: Mapping[str, int | str] | None = None,
) -> float:
    """Predicted microseconds that one layer takes for one position of 32 sequences, in a segment of
    32 positions.

    ``training``: forward and backward; ``sizes`` and errors as of :func:`estimate`.
    """
    cost = estimate(
        genome,
        input_size=input_size,
        hidden_size=hidden_size,
        steps=POSITIONS,
        batch=BATCH,
        training=training,
        sizes=sizes,
    )
    return 1e6 * predicted_seconds(cost, constants) / POSITIONS


def module_microseconds(module: CellModule, constants: Constants = REFERENCE) -> float:
    """:func:`position_microseconds` of all layers and directions of a module together."""
    layers = [
        module.input_size,
        *[module.output_size * module.directions] * (module.num_layers - 1),
    ]
    width = module.hidden_size
    times = [
        position_microseconds(
            module.genome,
            input_size=size,
            hidden_size=width,
            constants=constants,
            sizes=module.sizes,
        )
        for size in layers
    ]
    return module.directions * sum(times)


# -- the constants of a machine --------------------------------------------------------------------

_CELLS = {
    "rnn": "h[t] = tanh(linear(x[t], h[t-1]))\n",
    "gated": "f = sigmoid(linear(x[t], h[t-1]))\ng = tanh(linear(x[t], h[t-1]))\nc[t] = f * "
    "c[t-1] + (1 - f) * g\nh[t] = tanh(c[t])\n",
    "deep": "a = tanh(linear(x[t], h[t-1]))\n"
    "b = a + sigmoid(linear(a)) * tanh(linear(a))\nh[t] = b + sigmoid(linear(b)) * "
    "tanh(linear(b))\n",
    "cheap": "a = relu(diag(x[t]) + diag(h[t-1]))\nh[t] = 0.5 * (a + h[t-1]) - 0.1 * a * h[t-1] "
    "+ max(a, 0.3 * h[t-1])\n",
    "costly": "h[t] = tanh(diag(x[t]) + sigmoid(diag(h[t-1])) + exp(-abs(tanh(diag(h[t-1])))))\n",
}
_SHAPES = (
    (16, 16, 32),
    (64, 16, 32),
    (32, 16, 128),
    (20, 16, 200),
    (1, 4, 8),
)  # batch, steps, width


def machine_constants(*, refresh: bool = False) -> Constants:
    """The constants of this machine: from the cache, or measured in about a second and put there
    (``refresh``: in any case).
    """
    program = compiler()
    path = cache_folder() / f"cost-{key(program, NATIVE) if program else 'delivered'}.json"
    if not refresh:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = tuple(
                float(number) for number in json.loads(path.read_text(encoding="utf-8"))["seconds"]
            )
            if len(found) == len(FEATURES) and all(number >= 0 for number in found):
                return Constants(found)
    constants = measure_constants()
    with contextlib.suppress(EnvironmentFailure):  # without a cache they are measured again
        write_atomically(path, json.dumps({"features": FEATURES, "seconds": constants.seconds}))
    return constants


def measure_constants() -> Constants:
    """Time a few cells and fit."""
    from cellsearch.compiler.backends.native.kernel import NativeKernel  # loads torch

    features: list[tuple[float, ...]] = []
    seconds: list[float] = []
    for text in _CELLS.values():
        kernel = NativeKernel(simplify_program(lower(Genome.from_text(text))), library())
        for batch, steps, width in _SHAPES:
            features.append(_estimate(kernel.at(width, width), steps, batch, True).features)
            seconds.append(time_segment(kernel, width, width, steps, batch))
    return Constants(_fit(np.array(features), np.array(seconds)))


def time_segment(
    kernel: NativeKernel,
    input_size: int,
    hidden_size: int,
    steps: int,
    batch: int,
    repeats: int = 7,
) -> float:
    """Seconds of one forward and backward pass: the fastest of some, because only interruptions
    make it slower.
    """
    import torch

    x = torch.randn(steps, batch, input_size, requires_grad=True)
    states = [torch.zeros(batch, hidden_size) for _ in kernel.program.states]
    sizes = Sizes(input_size, hidden_size)
    weights = {
        name: (torch.randn(sizes.of(shape)) * hidden_size**-0.5).requires_grad_()
        for name, shape in kernel.program.parameters
    }
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        output, _ = kernel(x, states, weights)
        output.backward(torch.ones_like(output))  # type: ignore[no-untyped-call]
        best = min(best, time.perf_counter() - start)
        for weight in weights.values():
            weight.grad = None
    return best


def _fit(features: np.ndarray, seconds: np.ndarray) -> tuple[float, ...]:
    """Constants that are not negative and keep the relative error small: least squares, leaving out
    what would turn negative.
    """
    scaled = features / seconds[:, None]
    used: Sequence[int] = range(features.shape[1])
    while True:
        solution, *_ = np.linalg.lstsq(scaled[:, list(used)], np.ones(len(seconds)), rcond=None)
        if (solution >= 0).all():
            break
        used = [k for k, value in zip(used, solution, strict=True) if value > 0]
    constants = np.zeros(features.shape[1])
    constants[list(used)] = solution
    return tuple(float(value) for value in constants)


def scaled(cost: Cost, layers: int) -> Cost:
    """The cost of several such layers."""
    return replace(
        cost,
        multiply_adds=cost.multiply_adds * layers,
        bytes=cost.bytes * layers,
        features=tuple(f * layers for f in cost.features),
    )
