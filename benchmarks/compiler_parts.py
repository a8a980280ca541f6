"""The tables of ``compiler.py`` that look at one part: products, pointwise work, the peak, a whole
step, the cost model, how long compiling takes.
"""

from __future__ import annotations

import ctypes
import math
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from compiler_runs import (
    SHAPES,
    compiled,
    interleaved,
    multiply_adds,
    segment,
    table,
)
from step_parts import Characters, fast_step, torch_step
from torch import Tensor, nn

import cellsearch as cs
from cellsearch.compiler import cost
from cellsearch.compiler.backends.native.build import library
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Program
from cellsearch.compiler.simplify import simplify_program
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square


def products(quick: bool) -> None:
    """The product of a step, [B, H] x [H, H]: the runtime's micro-kernel (packed once for all
    steps) against torch's own BLAS.
    """
    blas = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    linear = Genome.from_text("h[t] = linear(h[t-1])\n")
    rows: list[list[object]] = []
    for batch, hidden_size in ((16, 32), (64, 64), (32, 128), (20, 200), (20, 600), (128, 256)):
        steps = max(10, int(6e8 / (2 * batch * hidden_size**2)))  # some milliseconds
        module = compiled(linear, (batch, steps, 1, hidden_size))
        x = torch.zeros(steps, batch, 1)
        weight = torch.randn(hidden_size, hidden_size) * hidden_size**-0.5
        state, out = torch.randn(batch, hidden_size), torch.empty(batch, hidden_size)
        h, b = (ctypes.byref(ctypes.c_int(n)) for n in (hidden_size, batch))
        scalars = [ctypes.byref(ctypes.c_float(v)) for v in (1.0, 0.0)]
        # BLAS counts columns first: out^T = weight^T^T state^T.
        arguments = (
            b"T",
            b"N",
            h,
            b,
            h,
            scalars[0],
            *_matrix(weight, h),
            *_matrix(state, h),
            scalars[1],
            *_matrix(out, h),
        )

        def run_blas(arguments: tuple[object, ...] = arguments, steps: int = steps) -> None:
            for _ in range(steps):
                blas.sgemm_(*arguments)

        def run_native(module: nn.Module = module, x: Tensor = x, hx: Tensor = state[None]) -> None:
            with torch.no_grad():
                module(x, hx)

        run_blas()
        assert torch.allclose(out, state @ weight.t(), atol=1e-3)
        found = interleaved(
            {"native": run_native, "blas": run_blas}, 0.5 if quick else 2.0, choose=min
        )
        rate = {name: 2e-6 * steps * batch * hidden_size**2 / ms for name, ms in found.items()}
        rows.append(
            [batch, hidden_size, rate["native"], rate["blas"], rate["native"] / rate["blas"]]
        )
    table(
        "A product of a step", ["B", "H", "native GFLOP/s", "torch's sgemm GFLOP/s", "ratio"], rows
    )


def _matrix(tensor: Tensor, lead: object) -> tuple[object, object]:
    return ctypes.c_void_p(tensor.data_ptr()), lead


def elementwise(quick: bool) -> None:
    rows: list[list[object]] = []
    for shape in ((32, 100, 32, 256), (32, 100, 256, 256)):
        lstm = segment(nn.LSTM(shape[2], shape[3]), shape)
        for name in ("indrnn_relu", "qrnn_fo", "mingru", "minlstm", "hgrn_real", "sru_v1"):
            square = bool(requires_square(cs.zoo.load(name)))
            runs = {"native": segment(compiled(name, shape), shape, square=square), "nn.LSTM": lstm}
            found = interleaved(runs, 0.5 if quick else 2.0)
            rows.append(
                [
                    str(shape),
                    name,
                    found["native"],
                    found["nn.LSTM"],
                    found["nn.LSTM"] / found["native"],
                ]
            )
    table(
        "Cells without a product in the loop",
        ["B, T, I, H", "cell", "native ms", "nn.LSTM ms", "times nn.LSTM"],
        rows,
    )
    copy = torch.empty(1 << 25)
    source = torch.ones(1 << 25)
    found = interleaved({"copy": lambda: copy.copy_(source)}, 1.0)
    print(f"memory bandwidth (copy): {2 * 4 * (1 << 25) / found['copy'] / 1e6:.1f} GB/s")


def peak(quick: bool) -> None:
    a, b, c = (torch.randn(1024, 1024) for _ in range(3))
    found = interleaved({"sgemm": lambda: torch.mm(a, b, out=c)}, 1.0)
    best = 2e-6 * 1024**3 / found["sgemm"]
    shape = SHAPES[4]
    lstm = interleaved({"lstm": segment(compiled("lstm", shape), shape)}, 2.0 if quick else 6.0)[
        "lstm"
    ]
    rate = 2e-6 * multiply_adds(cs.zoo.load("lstm"), shape) / lstm
    table(
        "Share of the peak at H 600",
        ["torch.mm 1024^3 GFLOP/s", "LSTM native GFLOP/s", "share"],
        [[best, rate, rate / best]],
    )


def step(quick: bool) -> None:
    rows: list[list[object]] = []
    for hidden_size in (32, 64, 128, 256):
        batch, steps, vocabulary = 128 if hidden_size == 256 else 64, 100, 60
        tokens, targets = (torch.randint(0, vocabulary, (steps, batch)) for _ in range(2))
        torch_model = Characters(nn.LSTM(hidden_size, hidden_size), vocabulary, hidden_size)
        own_model = Characters(
            compiled("lstm", (batch, steps, hidden_size, hidden_size)), vocabulary, hidden_size
        )

        def own_cell(model: Characters = own_model, x: Tensor = tokens) -> None:
            model.cell.run_tokens(x, model.embedding.weight)[0].sum().backward()  # type: ignore[operator]

        found = interleaved(
            {
                "torch": torch_step(torch_model, tokens, targets),
                "own": fast_step(own_model, tokens, targets),
                "cell": own_cell,
            },
            2.0 if quick else 6.0,
        )
        rate = {name: batch * steps / found[name] for name in found}
        rows.append(
            [
                hidden_size,
                batch,
                found["torch"],
                found["own"],
                found["torch"] / found["own"],
                rate["own"],
                found["cell"] / found["own"],
            ]
        )
    head = [
        "H",
        "B",
        "nn.LSTM + Adam ms",
        "cellsearch ms",
        "ratio",
        "tokens/ms",
        "share of the cell",
    ]
    table("Whole step of a character model, T 100, 60 characters", head, rows)


def rank_correlation(quick: bool) -> None:
    constants = cost.machine_constants(refresh=True)
    space = cs.load_space("lstm_gru")
    rng = np.random.default_rng(1)
    genomes = [cs.zoo.load(name) for name in cs.zoo.names()[:25]] + [
        space.sample(rng) for _ in range(25)
    ]
    predicted, measured = [], []
    for k, genome in enumerate(genomes):
        width = (32, 64, 128)[k % 3]
        kernel = NativeKernel(simplify_program(lower(genome)), library())
        measured.append(cost.time_segment(kernel, width, width, 32, 32))
        predicted.append(
            cost.predicted_seconds(
                cost.estimate(genome, input_size=width, hidden_size=width, steps=32, batch=32),
                constants,
            )
        )
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    errors = [abs(math.log(p / m)) for p, m in zip(predicted, measured, strict=True)]
    table(
        "Cost model, 50 cells at H 32, 64, 128",
        ["rank correlation", "median error", "worst"],
        [[float(np.corrcoef(*ranks)[0, 1]), statistics.median(errors), max(errors)]],
    )


def build_time(program: Program) -> float:
    """Milliseconds to make everything that a training of this cell needs: gradient, both schedules
    and their bytecode.
    """
    start = time.perf_counter()
    sized = NativeKernel(program, library()).at(64, 64)
    for kind in ("training", "backward"):
        sized.code(kind)
    return 1e3 * (time.perf_counter() - start)


def compilation(quick: bool) -> None:
    from cellsearch.compiler.backends.native.build import NATIVE, build

    start = time.perf_counter()
    build(Path(os.environ.get("TMPDIR", "/tmp")) / "cellsearch-benchmark.so", NATIVE)
    first = time.perf_counter() - start
    programs = [simplify_program(lower(cs.zoo.load(name))) for name in cs.zoo.names()]
    cold, warm = ([build_time(program) for program in programs] for _ in range(2))
    memory = cs.zoo.load("lstm"), 128
    kernel = NativeKernel(simplify_program(lower(memory[0])), library()).at(memory[1], memory[1])
    layout = kernel.plan("training", 64, 32, False).plan.memory
    states = sum(layout.floats[name] for name in layout.external if name.startswith("state"))
    floats = (layout.saved + states) / (64 * 32 * memory[1])
    module = cs.compile_cell(memory[0], input_size=1, hidden_size=1, backend="native")
    x = torch.zeros(1, 1, 1)
    with torch.no_grad():
        latency = interleaved({"step": lambda: module.step(x[0])}, 0.5)["step"]
    table(
        "Compilation, memory, latency",
        [
            "runtime build s",
            "cells of the zoo, as the first: median ms",
            "again: median ms",
            "worst ms",
            "LSTM floats kept per token and unit",
            "one step, H 1, us",
        ],
        [
            [
                first,
                statistics.median(cold),
                statistics.median(warm),
                max(warm),
                floats,
                1e3 * latency,
            ]
        ],
    )
