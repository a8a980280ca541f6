"""The tables of ``compiler.py`` that set compiled cells beside others: torch.nn, loops, backends,
precisions, numbers of threads.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from compiler_runs import (
    IN_TURN,
    SHAPES,
    SMALL_SHAPES,
    Naive,
    Segment,
    compiled,
    interleaved,
    lowest,
    multiply_adds,
    rate,
    segment,
    table,
)
from torch import Tensor, nn

import cellsearch as cs
from cellsearch.compiler.backends.native.build import library
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.module import CellModule
from cellsearch.compiler.program import Precision
from cellsearch.genome.measures import gemm_depth


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
            halves = {
                "nn bfloat16": segment(kind(*shape[2:]), shape, dtype=torch.bfloat16),
                "nn autocast": segment(kind(*shape[2:]), shape, autocast=True),
            }
            runs |= {key: run for key, run in halves.items() if _runs(run)}
            found = interleaved(runs, 1.0 if quick else 8.0, clock=clock)
            rate = 2e-6 * multiply_adds(cs.zoo.load(name), shape)
            torch_halves = [found[key] / found["bf16"] for key in halves if key in found]
            rows.append(
                [
                    *(str(shape), name, found["float32"], found["bf16"], found["nn"]),
                    *(found.get(key, "-") for key in halves),
                    *(found["nn"] / found["float32"], found["nn"] / found["bf16"]),
                    *(min(torch_halves, default="-"), rate / found["bf16"]),
                ]
            )
    head = ["B, T, I, H", "cell", "float32 ms", "bf16 ms", "torch.nn ms", "torch.nn bfloat16 ms"]
    head += ["torch.nn autocast ms", "float32 x torch.nn", "bf16 x torch.nn"]
    head += ["bf16 x torch.nn in bfloat16, the faster", "bf16 GFLOP/s"]
    table(f"Precisions, products of bf16 by {library().bf16}", head, rows)


def _runs(run: Segment) -> bool:
    """Whether torch has this on this processor: without AVX-512 its LSTM has no bfloat16."""
    try:
        run()
    except RuntimeError as error:
        print(f"left out of the table: {str(error).splitlines()[0]}")
        return False
    return True


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
                    run()
                    for _ in range(IN_TURN):
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
    published = {name: cs.zoo.load(name) for name in cs.zoo.names()}
    genomes = {name: genome for name, genome in published.items() if genome.inputs == ("x",)}
    rng = np.random.default_rng(0)
    genomes.update({f"random {k}": space.sample(rng) for k in range(10 if quick else 100)})
    for hidden_size in (64, 128):
        shape = (32, 32, hidden_size, hidden_size)
        lstm = segment(compiled("lstm", shape), shape)
        rates, against_aten = {}, {}
        for name, genome in genomes.items():
            rates[name], against_aten[name] = rate(genome, shape, lstm, 0.0)
            if against_aten[name] < 1.1 or (gemm_depth(genome) == 1 and rates[name] < 0.9):
                rates[name], against_aten[name] = rate(genome, shape, lstm, 0.5)
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
                    lowest(against_aten),
                    statistics.median(against_aten.values()),
                    len(one),
                    lowest(one),
                    statistics.median(one.values()),
                    sum(rate < 0.85 for rate in one.values()),
                ]
            ],
        )
