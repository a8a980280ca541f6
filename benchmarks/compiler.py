"""How fast compiled cells train: against torch.nn, the Python loop that other tools use, and the
aten backend.

    python benchmarks/compiler.py                 # all tables, about ten minutes
    # some of them: cells precisions threads short few others products elementwise
    # peak step cost compile
    python benchmarks/compiler.py cells cost
    python benchmarks/compiler.py --quick         # fewer repeats, smaller shapes
    # all with two threads, native by compile_cell(threads=2)
    python benchmarks/compiler.py cells --threads 2
    # products of bf16 as a processor without AMX computes them
    python benchmarks/compiler.py precisions --without-amx

Times are medians of interleaved runs of forward and backward of one segment (all weight gradients
and the gradient of x) on one thread unless said otherwise. ``threads`` compares native with one and
with two threads and torch with two; on a busy machine look at the best times, and at processor
time: what the second thread adds to it is what waiting and smaller tiles cost.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import cellsearch as cs
from cellsearch.compiler import backends, cost
from cellsearch.compiler.backends.native import build
from cellsearch.compiler.backends.native.build import library, processor
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.lower import lower
from cellsearch.compiler.module import CellModule
from cellsearch.compiler.program import Precision, Program
from cellsearch.compiler.simplify import simplify_program
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import gemm_depth
from cellsearch.genome.parameters import requires_square
from cellsearch.training.fused import FlatAdam, fused_linear_cross_entropy

SHAPES = (
    (16, 64, 32, 32),
    (64, 100, 16, 64),
    (32, 64, 128, 128),
    (20, 35, 200, 200),
    (20, 70, 400, 600),
)  # B, T, I, H
SMALL_SHAPES = ((16, 64, 8, 8), (16, 64, 16, 16))
Segment = Callable[[], object]


class Naive(nn.Module):
    """What search tools run: a Python loop over time, one ``nn.Linear`` an operand of a node,
    autograd.
    """

    def __init__(self, genome: Genome, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.genome = genome
        self.weights = nn.ParameterDict(
            {
                spec.name.replace(".", "/"): nn.Parameter(
                    torch.randn(spec.sizes(input_size, hidden_size)) * hidden_size**-0.5
                )
                for spec in genome.parameters
            }
        )
        self.hidden_size = hidden_size
        self.kernel = backends.get("reference").build(simplify_program(lower(genome)))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Like ``nn.LSTM``, without final states."""
        states = [x.new_zeros(x.shape[1], self.hidden_size) for _ in self.genome.states]
        return self.kernel(
            x, states, {name.replace("/", "."): weight for name, weight in self.weights.items()}
        )[0], None


def segment(
    module: nn.Module,
    shape: tuple[int, int, int, int],
    *,
    square: bool = False,
    dtype: torch.dtype = torch.float32,
    autocast: bool = False,
) -> Segment:
    batch, steps, input_size, hidden_size = shape
    module = module.to(dtype)
    x = torch.randn(steps, batch, hidden_size if square else input_size, dtype=dtype)
    x.requires_grad_()
    gradient = torch.randn(steps, batch, hidden_size, dtype=dtype)
    parameters = [x, *module.parameters()]
    call = (
        torch.autocast("cpu", torch.bfloat16)(lambda given: module(given)) if autocast else module
    )
    gradient = gradient.to(torch.bfloat16) if autocast else gradient

    def run() -> None:
        for parameter in parameters:
            parameter.grad = None
        call(x)[0].backward(gradient)

    return run


def interleaved(
    runs: Mapping[str, Segment],
    seconds: float,
    choose: Callable[[list[float]], float] = statistics.median,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Milliseconds of each (``choose`` says which of all), measured in turn, so that a disturbance
    hits all.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            start = clock()
            run()
            times[name].append(1e3 * (clock() - start))
    return {name: choose(values) for name, values in times.items()}


def multiply_adds(genome: Genome, shape: tuple[int, int, int, int]) -> int:
    batch, steps, input_size, hidden_size = shape
    return cost.estimate(
        genome, input_size=input_size, hidden_size=hidden_size, steps=steps, batch=batch
    ).multiply_adds


def compiled(
    name: str | Genome,
    shape: tuple[int, int, int, int],
    backend: str = "native",
    threads: int | None = None,
    precision: Precision = "float32",
) -> nn.Module:
    """The cell; ``threads`` as many as torch has, unless given."""
    genome = cs.zoo.load(name) if isinstance(name, str) else name
    width = shape[3] if requires_square(genome) else shape[2]
    return cs.compile_cell(
        genome,
        input_size=width,
        hidden_size=shape[3],
        backend=backend,
        threads=torch.get_num_threads() if threads is None else threads,
        precision=precision,
    )


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n### {title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row) + " |")
    print(flush=True)


# -- tables ----------------------------------------------------------------------------------------


def cells(quick: bool) -> None:
    rows: list[list[object]] = []
    for shape in (*SMALL_SHAPES, *SHAPES[: 4 if quick else 5]):
        for name in ("lstm", "gru", "darts_v2"):
            runs: dict[str, Segment] = {"native": segment(compiled(name, shape), shape)}
            if name in ("lstm", "gru"):
                runs["torch.nn"] = segment(
                    (nn.LSTM if name == "lstm" else nn.GRU)(shape[2], shape[3]), shape
                )
            runs["aten"] = segment(compiled(name, shape, "aten"), shape)
            if shape[3] < 400:
                runs["naive"] = segment(Naive(cs.zoo.load(name), shape[2], shape[3]), shape)
            found = interleaved(runs, 1.0 if quick else 4.0)
            rate = 2e-6 * multiply_adds(cs.zoo.load(name), shape) / found["native"]
            ratio = {other: found[other] / found["native"] for other in found if other != "native"}
            rows.append(
                [
                    *(
                        str(shape),
                        name,
                        found["native"],
                        *(found.get(k, "-") for k in ("torch.nn", "aten", "naive")),
                    ),
                    *(*(ratio.get(k, "-") for k in ("torch.nn", "aten", "naive")), rate),
                ]
            )
    head = [
        "B, T, I, H",
        "cell",
        "native ms",
        "torch.nn ms",
        "aten ms",
        "naive ms",
        "x torch.nn",
        "x aten",
        "x naive",
        "GFLOP/s",
    ]
    table(
        f"Training a segment, threads: {torch.get_num_threads()}",
        head,
        rows,
    )
    precisions(quick)


PRECISION_SHAPES = (*SMALL_SHAPES, *SHAPES[:4], (32, 64, 256, 256), SHAPES[4])


def precisions(quick: bool) -> None:
    """A segment in float32 and in bf16, against torch's in float32, in bfloat16 and under autocast.
    With one thread in processor time, so that another process is counted nowhere.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    rows: list[list[object]] = []
    for shape in PRECISION_SHAPES[: 7 if quick else 8]:
        for name, kind in (("lstm", nn.LSTM), ("gru", nn.GRU)):
            runs = {
                precision: segment(compiled(name, shape, precision=precision), shape)
                for precision in get_args(Precision)
            }
            runs["nn"] = segment(kind(*shape[2:]), shape)
            runs["nn bfloat16"] = segment(kind(*shape[2:]), shape, dtype=torch.bfloat16)
            runs["nn autocast"] = segment(kind(*shape[2:]), shape, autocast=True)
            found = interleaved(runs, 1.0 if quick else 8.0, clock=clock)
            torch_best = min(found["nn bfloat16"], found["nn autocast"])
            rate = 2e-6 * multiply_adds(cs.zoo.load(name), shape)
            rows.append(
                [
                    *(str(shape), name, *found.values()),
                    *(found["nn"] / found["float32"], found["nn"] / found["bf16"]),
                    *(torch_best / found["bf16"], rate / found["bf16"]),
                ]
            )
    head = ["B, T, I, H", "cell", "float32 ms", "bf16 ms", "torch.nn ms", "torch.nn bfloat16 ms"]
    head += ["torch.nn autocast ms", "float32 x torch.nn", "bf16 x torch.nn"]
    head += ["bf16 x torch.nn in bfloat16, the faster", "bf16 GFLOP/s"]
    table(f"Precisions, products of bf16 by {library().bf16}", head, rows)


def two_threads(quick: bool) -> None:
    """Native with one and two threads, and torch with two."""
    before = torch.get_num_threads()
    rows: list[list[object]] = []
    for shape in ((32, 64, 32, 32), (64, 100, 16, 64), *SHAPES[2:4], (32, 35, 256, 256)):
        for name, kind in (("lstm", nn.LSTM), ("gru", nn.GRU)):
            runs = {str(n): segment(compiled(name, shape, threads=n), shape) for n in (1, 2)}
            runs["nn"] = segment(kind(*shape[2:]), shape)
            times: dict[str, list[float]] = {key: [] for key in runs}
            processor_times: dict[str, list[float]] = {key: [] for key in runs}
            end = time.perf_counter() + (1.0 if quick else 4.0)
            while time.perf_counter() < end or len(times["nn"]) < 5:
                for key, run in runs.items():
                    torch.set_num_threads(2 if key == "nn" else 1)
                    run()  # whoever was before has driven its memory out of the caches
                    start, used = time.perf_counter(), time.process_time()
                    run()
                    processor_times[key].append(time.process_time() - used)
                    times[key].append(time.perf_counter() - start)
            medians, best, used_by = (
                {key: choose(values) for key, values in every.items()}
                for choose, every in (
                    (statistics.median, times),
                    (min, times),
                    (statistics.median, processor_times),
                )
            )
            rows.append(
                [
                    *(str(shape), name, *(1e3 * medians[key] for key in runs)),
                    *(found["1"] / found["2"] for found in (medians, best)),
                    *(found["nn"] / found["2"] for found in (medians, best)),
                    used_by["2"] / used_by["1"],
                ]
            )
    torch.set_num_threads(before)
    head = ["B, T, I, H", "cell", "1 ms", "2 ms", "torch.nn 2 ms", "2 x 1", "2 x 1, best times"]
    head += ["2 x torch.nn 2", "2 x torch.nn 2, best times", "processor time, 2 / 1"]
    table("Native with one and with two threads, torch.nn with two", head, rows)


class Nothing(torch.autograd.Function):
    """What autograd alone takes for so many weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        """A copy of x."""
        ctx.count = len(weights)
        ctx.set_materialize_grads(False)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, ...]:
        """The same for all."""
        return outer * (1 + ctx.count)


def short(quick: bool) -> None:
    """Microseconds of processor time of a segment of one number, and of what it is made of."""
    shape = (1, 1, 1, 1)
    module = compiled("lstm", shape)
    assert isinstance(module, CellModule)
    x, gradient = torch.randn(1, 1, 1, requires_grad=True), torch.randn(1, 1, 1)
    kernel = module._choose(x.device, x.dtype).kernel
    (_, layer) = next(module.layers())
    weights = layer.weights()
    ones = [torch.zeros(1, 1, 1, requires_grad=True) for _ in weights]
    states = [torch.zeros(1, 1, 1) for _ in module.state_sizes]
    by_python = compiled("lstm", shape)
    assert isinstance(by_python, CellModule)
    other = by_python._choose(x.device, x.dtype).kernel
    assert isinstance(other, NativeKernel)
    other.node = None

    def nothing() -> None:
        for weight in (x, *ones):
            weight.grad = None
        Nothing.apply(x, *ones).backward(gradient)

    runs: dict[str, Segment] = {
        "the segment": segment(module, shape),
        "the segment, by the function in Python": segment(by_python, shape),
        "torch.nn.LSTM": segment(nn.LSTM(1, 1), shape),
        "a function in Python that does nothing, with as many weights": nothing,
        "forward without autograd": torch.no_grad()(lambda: module(x)),
        "of it, without the module": torch.no_grad()(lambda: kernel(x, states, weights)),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(5 if quick else 15):
        for name, run in runs.items():
            start = time.process_time()
            for _ in range(200):
                run()
            times[name].append(1e6 * (time.process_time() - start) / 200)
    rows = [[name, statistics.median(found)] for name, found in times.items()]
    table("LSTM, one position of one row, H 1, with 12 weights", ["what", "microseconds"], rows)


def few(quick: bool) -> None:
    """Cells of few products beside the LSTM, in processor time."""
    rows: list[list[object]] = []
    for steps in (32, 128):
        shape = (32, steps, 64, 64)
        lstm = segment(compiled("lstm", shape), shape)
        base = multiply_adds(cs.zoo.load("lstm"), shape)
        for name in ("elman", "fastrnn", "fastgrnn", "mi_rnn", "atr"):
            runs = {"lstm": lstm, name: segment(compiled(name, shape), shape)}
            found = interleaved(runs, 0.5 if quick else 3.0, clock=time.process_time)
            own = multiply_adds(cs.zoo.load(name), shape)
            rate = (own / found[name]) / (base / found["lstm"])
            rows.append([str(shape), name, found[name], found["lstm"], rate])
    head = ["B, T, I, H", "cell", "ms", "LSTM ms", "multiply-adds a second / LSTM's"]
    table("Cells of few products", head, rows)


def others(quick: bool) -> None:
    """Cells beside LSTM and GRU. A cell is run only five times, in turn with the LSTM and aten;
    what looks slow is measured again.
    """
    space = cs.load_space("lstm_gru")
    genomes = {name: cs.zoo.load(name) for name in cs.zoo.names()}
    rng = np.random.default_rng(0)
    genomes.update({f"random {k}": space.sample(rng) for k in range(10 if quick else 100)})
    for hidden_size in (64, 128):
        shape = (32, 32, hidden_size, hidden_size)
        lstm = segment(compiled("lstm", shape), shape)
        rates, against_aten = {}, {}
        for name, genome in genomes.items():
            rates[name], against_aten[name] = _rate(genome, shape, lstm, 0.0)
            if against_aten[name] < 1.1 or (gemm_depth(genome) == 1 and rates[name] < 0.9):
                rates[name], against_aten[name] = _rate(genome, shape, lstm, 0.5)
        one = {name: rate for name, rate in rates.items() if gemm_depth(genomes[name]) == 1}
        table(
            f"Every zoo cell and random cells of lstm_gru at B 32, T 32, H {hidden_size}",
            [
                "cells",
                "slowest against aten",
                "median",
                "of depth 1",
                "worst rate / LSTM's",
                "median",
                "below 0.85",
            ],
            [
                [
                    len(genomes),
                    _lowest(against_aten),
                    statistics.median(against_aten.values()),
                    len(one),
                    _lowest(one),
                    statistics.median(one.values()),
                    sum(rate < 0.85 for rate in one.values()),
                ]
            ],
        )


def _rate(
    genome: Genome, shape: tuple[int, int, int, int], lstm: Segment, seconds: float
) -> tuple[float, float]:
    """Multiply-adds a second relative to the LSTM's, and the speed relative to aten."""
    runs = {kind: segment(compiled(genome, shape, kind), shape) for kind in ("native", "aten")}
    found = interleaved({**runs, "lstm": lstm}, seconds)
    own, base = (multiply_adds(g, shape) for g in (genome, cs.zoo.load("lstm")))
    return (own / found["native"]) / (base / found["lstm"]), found["aten"] / found["native"]


def _lowest(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {values[name]:.2f}" for name in sorted(values, key=lambda name: values[name])[:8]
    )


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


class Characters(nn.Module):
    """Embedding, cell, softmax: the character model."""

    def __init__(self, cell: nn.Module, vocabulary: int, width: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.cell = cell
        self.head = nn.Linear(hidden_size, vocabulary)

    def plain_loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The usual way."""
        return functional.cross_entropy(
            self.head(self.cell(self.embedding(tokens))[0]).flatten(0, 1), targets.flatten()
        )

    def fused_loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Table of tokens, fused loss."""
        assert isinstance(self.cell, CellModule)
        output, _ = self.cell.run_tokens(tokens, self.embedding.weight)
        return fused_linear_cross_entropy(
            output.flatten(0, 1), self.head.weight, self.head.bias, targets.flatten()
        )


def step(quick: bool) -> None:
    rows: list[list[object]] = []
    for hidden_size in (32, 64, 128, 256):
        batch, steps, vocabulary = 128 if hidden_size == 256 else 64, 100, 60
        tokens, targets = (torch.randint(0, vocabulary, (steps, batch)) for _ in range(2))
        torch_model = Characters(
            nn.LSTM(hidden_size, hidden_size), vocabulary, hidden_size, hidden_size
        )
        own_model = Characters(
            compiled("lstm", (batch, steps, hidden_size, hidden_size)),
            vocabulary,
            hidden_size,
            hidden_size,
        )
        adam = torch.optim.Adam(torch_model.parameters(), 1e-3)
        flat = FlatAdam(own_model.parameters(), 1e-3, max_norm=1.0)

        def torch_step(
            model: Characters = torch_model,
            optimizer: torch.optim.Adam = adam,
            x: Tensor = tokens,
            y: Tensor = targets,
        ) -> None:
            optimizer.zero_grad()
            model.plain_loss(x, y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        def own_step(
            model: Characters = own_model,
            optimizer: FlatAdam = flat,
            x: Tensor = tokens,
            y: Tensor = targets,
        ) -> None:
            optimizer.zero_grad()
            model.fused_loss(x, y).backward()
            optimizer.step()

        def own_cell(model: Characters = own_model, x: Tensor = tokens) -> None:
            model.cell.run_tokens(x, model.embedding.weight)[0].sum().backward()  # type: ignore[operator]

        found = interleaved(
            {"torch": torch_step, "own": own_step, "cell": own_cell}, 2.0 if quick else 6.0
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


TABLES: dict[str, Callable[[bool], None]] = {
    "cells": cells,
    "threads": two_threads,
    "short": short,
    "precisions": precisions,
    "few": few,
    "others": others,
    "products": products,
    "elementwise": elementwise,
    "peak": peak,
    "step": step,
    "cost": rank_correlation,
    "compile": compilation,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--without-amx", action="store_true", help="products of bf16 as AVX-512-BF16 computes them"
    )
    options = parser.parse_args()
    if options.without_amx:
        build.NATIVE = (*build.NATIVE, "-mno-amx-tile")
    torch.set_num_threads(options.threads)
    model = next(
        (
            line.split(":")[1].strip()
            for line in processor().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    about = {
        "processor": model,
        "cores": os.cpu_count(),
        "instructions": library().instructions,
        "torch": torch.__version__,
        "threads": options.threads,
    }
    print(json.dumps(about), flush=True)
    for name in options.tables or TABLES:
        TABLES[name](options.quick)


if __name__ == "__main__":
    main()
