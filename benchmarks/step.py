"""The whole training step: where its time goes, against torch.nn.LSTM and the Python loop, and what
it keeps in memory.

``python benchmarks/step.py`` prints all tables in under four minutes on a quiet machine;
``shares``, ``steps``, ``trials`` and ``memory`` print one, and so does ``precision``, which is not
among "all": trials in float32 and bf16, in processor time. Everything on one thread but the naive
loop, which gets as many as torch would take. Times are medians of interleaved runs.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import cellsearch as cs
from cellsearch.compiler.backends.native.build import library, processor
from cellsearch.compiler.module import CellModule
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.heads import SequenceModel
from cellsearch.training import evaluate
from cellsearch.training.fused import FlatAdam, fused_linear_cross_entropy
from cellsearch.training.model import cell_factory, make_task
from cellsearch.training.prefilter import check_cell

SIZES = (32, 64, 128, 256)
WORKERS, CANDIDATES = 2, 8
TRIAL_STEPS = 100
LONGEST = 200.0
MEMORY_SHAPE = (1000, 32, 128)  # T, B, H


def median_ms(runs: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median milliseconds of each, run in turn, so that a disturbance hits all."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n### {title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row) + " |")
    print(flush=True)


def demo_job(genome: Genome, hidden_size: int = 0, **options: Any) -> tuple[Job, Arrays]:
    """A candidate of the demo experiment, and its data."""
    experiment = cs.load_experiment("quickstart")
    size = hidden_size or experiment.training.hidden_size
    # Steps too small to diverge, and next to no validation: this is about the time of training
    # steps.
    training = replace(experiment.training, hidden_size=size, evaluations=1, learning_rate=1e-5)
    settings = {**experiment.task_options, "valid_tokens": 2048, **options}
    job = Job(0, 0, genome.to_json(), experiment.task, settings, training, TRIAL_STEPS, seed=1)
    return job, cs.tasks.get(job.task).load(job.task_options)


# -- shares ----------------------------------------------------------------------------------------


class Watch:
    """Adds up how long each part of a step takes, by timing the functions that ``evaluate`` calls;
    what is timed within another part is taken off it. Processor time, so that other work on the
    machine does not count.
    """

    def __init__(self) -> None:
        self.now: dict[str, float] = {}
        self.steps: list[dict[str, float]] = []
        self.inner = [0.0]
        self.last = math.nan

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed as this part."""

        def run(*given: Any, **options: Any) -> Any:
            self.inner.append(0.0)
            start = time.process_time()
            try:
                return function(*given, **options)
            finally:
                took = time.process_time() - start
                self.now[part] = self.now.get(part, 0.0) + took - self.inner.pop()
                self.inner[-1] += took

        return run

    def step(self, step: int, loss: float) -> None:
        """The end of a step, as ``evaluate`` reports it."""
        end = time.process_time()
        if self.now:
            self.steps.append({**self.now, WHOLE: end - self.last})
        self.now, self.last, self.inner = {}, end, [0.0]


WHOLE = "whole step in `evaluate`"
PARTS: tuple[tuple[type, str, str], ...] = (
    (CellModule, "run_tokens", "tokens and cell, forward"),
    (SequenceModel, "cross_entropy", "readout and loss, with their gradients"),
    (torch.Tensor, "backward", "cell and embedding, backward"),
    (FlatAdam, "clip", "norm and clipping"),
    (FlatAdam, "update", "AdamW"),
)


def watched(job: Job, arrays: Arrays) -> dict[str, float]:
    """Median milliseconds of processor time of each part of a step."""
    watch, kind = Watch(), cs.tasks.get(job.task)
    original = {(owner, name): getattr(owner, name) for owner, name, _ in PARTS}
    batches = kind.batches

    def timed_batches(self: Any, *given: Any) -> Any:
        following = batches(self, *given)
        advance = watch.timed("data", lambda: next(following, None))
        return iter(advance, None)

    try:
        for owner, name, part in PARTS:
            setattr(owner, name, watch.timed(part, original[owner, name]))
        kind.batches = timed_batches  # type: ignore[method-assign, assignment]
        evaluate(job, arrays, progress=watch.step)
    finally:
        for (owner, name), function in original.items():
            setattr(owner, name, function)
        kind.batches = batches  # type: ignore[method-assign]
    steps = watch.steps[5:-1]  # after the first ones, and without the one with the validation
    return {part: 1e3 * statistics.median(step[part] for step in steps) for part in steps[0]}


def table_ms(hidden_size: int, vocabulary: int) -> float:
    """The table of an LSTM's token products, forward and backward, on its own."""
    embedding, bias = (
        torch.randn(vocabulary, hidden_size, requires_grad=True),
        torch.randn(4 * hidden_size),
    )
    weights = [torch.randn(hidden_size, hidden_size, requires_grad=True) for _ in range(4)]
    gradient = torch.ones(vocabulary, 4 * hidden_size)

    def run() -> None:
        torch.autograd.grad(
            torch.addmm(bias, embedding, torch.cat(weights).t()), [embedding, *weights], gradient
        )

    return median_ms({"table": run}, 0.3)["table"]


def shares(quick: bool) -> None:
    for hidden_size in (32, 64):
        job, arrays = demo_job(cs.zoo.load("lstm"), hidden_size)
        found = watched(replace(job, steps=60 if quick else 400), arrays)
        whole = found.pop(WHOLE)
        found["the loop around them"] = max(0.0, whole - sum(found.values()))
        rows: list[list[object]] = [[name, ms, f"{ms / whole:.0%}"] for name, ms in found.items()]
        rows.append([WHOLE, whole, "100%"])
        rows.append(
            [
                "of it: table of token products, forward and backward",
                table_ms(hidden_size, len(arrays["symbols"])),
                "",
            ]
        )
        table(
            f"Shares of a training step, char_lm, LSTM, H {hidden_size}",
            ["part", "ms of processor time", "share"],
            rows,
        )


# -- whole steps -----------------------------------------------------------------------------------


class Characters(nn.Module):
    """Embedding, recurrent layer, linear readout."""

    def __init__(self, cell: nn.Module, vocabulary: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden_size)
        self.cell = cell
        self.readout = nn.Linear(hidden_size, vocabulary)

    def plain_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The usual way."""
        return functional.cross_entropy(
            self.readout(self.cell(self.embedding(x))[0]).flatten(0, 1), y.flatten()
        )

    def fast_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The way of ``evaluate``."""
        output, _ = self.cell.run_tokens(x, self.embedding.weight)  # type: ignore[operator]
        return fused_linear_cross_entropy(
            output.flatten(0, 1), self.readout.weight, self.readout.bias, y.flatten()
        )


def torch_step(
    model: Characters, x: Tensor, y: Tensor, adam: type[torch.optim.Optimizer] = torch.optim.Adam
) -> Callable[[], object]:
    """A step with torch's own optimizer and clipping."""
    parameters = list(model.parameters())
    optimizer = adam(parameters, lr=1e-3)  # type: ignore[call-arg]

    def run() -> None:
        optimizer.zero_grad()
        model.plain_loss(x, y).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return run


def fast_step(model: Characters, x: Tensor, y: Tensor) -> Callable[[], object]:
    """A step as ``evaluate`` does it."""
    optimizer = FlatAdam(model.parameters(), 1e-3, max_norm=1.0)

    def run() -> None:
        optimizer.zero_grad()
        model.fast_loss(x, y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def steps(quick: bool) -> None:
    rows: list[list[object]] = []
    length, vocabulary = 100, 60
    for size in SIZES:
        batch = 128 if size == 256 else 64
        x, y = (torch.randint(0, vocabulary, (length, batch)) for _ in range(2))
        cell = cs.compile_cell(
            cs.zoo.load("lstm"), input_size=size, hidden_size=size, backend="native"
        )
        found = median_ms(
            {
                "torch": torch_step(Characters(nn.LSTM(size, size), vocabulary, size), x, y),
                "own": fast_step(Characters(cell, vocabulary, size), x, y),
            },
            1.5 if quick else 8.0,
        )
        rate = {name: 1e3 * batch * length / ms for name, ms in found.items()}
        rows.append(
            [
                size,
                batch,
                f"{rate['torch']:,.0f}",
                f"{rate['own']:,.0f}",
                found["torch"] / found["own"],
            ]
        )
    head = ["H", "B", "torch.nn.LSTM, clipping, Adam: tokens/s", "cellsearch: tokens/s", "ratio"]
    table("Whole training step of a character model (T 100, 60 characters)", head, rows)


# -- candidates an hour ----------------------------------------------------------------------------


def candidates() -> list[Genome]:
    """What a search tries first: both baselines, and random cells of the demo's space that pass its
    checks before training.
    """
    experiment = cs.load_experiment("quickstart")
    found, rng = [cs.zoo.load("lstm"), cs.zoo.load("gru")], np.random.default_rng(0)
    while len(found) < CANDIDATES:
        genome = experiment.space.sample(rng)
        if not check_cell(genome, experiment.prefilter).reason:
            found.append(genome)
    return found


def trial_fast(genome: Genome, seconds: float) -> float:
    """Seconds of a trial of :data:`TRIAL_STEPS` steps with ``evaluate``."""
    job, arrays = demo_job(genome)
    start = time.perf_counter()
    evaluate(job, arrays)
    return time.perf_counter() - start


def trial_plain(genome: Genome, seconds: float, backend: str) -> float:
    """The same with torch's embedding, loss, clipping and AdamW around a backend's cell; from as
    many steps as fit into ``seconds``.
    """
    job, arrays = demo_job(genome)
    task = make_task(job, arrays)
    start = time.perf_counter()
    factory = cell_factory(genome, replace(job.training, backend=backend))
    model = Characters(
        factory(job.training.hidden_size), len(arrays["symbols"]), job.training.hidden_size
    )
    batch = next(iter(task.batches("train", 0)))
    run = torch_step(model, batch.x, batch.y, torch.optim.AdamW)
    run()
    built = time.perf_counter() - start
    done, start = 0, time.perf_counter()
    while done < 2 or (done < TRIAL_STEPS and time.perf_counter() - start < seconds):
        run()
        done += 1
    return built + TRIAL_STEPS * (time.perf_counter() - start) / done


def trial_in(genome: Genome, seconds: float, hidden_size: int, precision: str) -> float:
    """Processor seconds of a trial of this size with ``evaluate``."""
    job, arrays = demo_job(genome, hidden_size)
    job = replace(job, training=replace(job.training, precision=precision))
    evaluate(replace(job, steps=2), arrays)
    start = time.process_time()
    evaluate(job, arrays)
    return time.process_time() - start


PRECISIONS, PRECISE_SIZES = ("float32", "bf16"), (64, 256)
WAYS: dict[str, tuple[str, Callable[[Genome, float], float]]] = {
    "fast": ("cellsearch: `evaluate`", trial_fast),
    "aten": (
        "aten backend, torch's loss and AdamW, one thread",
        lambda genome, s: trial_plain(genome, s, "aten"),
    ),
    "naive": (
        "Python loop, torch's loss and AdamW, torch's default threads",
        lambda genome, s: trial_plain(genome, s, "reference"),
    ),
}
IN_PRECISIONS: dict[str, tuple[str, Callable[[Genome, float], float]]] = {
    f"{precision} {size}": (
        f"H {size}, {precision}",
        partial(trial_in, hidden_size=size, precision=precision),
    )
    for size in PRECISE_SIZES
    for precision in PRECISIONS
}


def worker(
    way: str, numbers: Sequence[int], seconds: float, ready: Any, go: Any, answers: Any
) -> None:
    """Train some of the candidates and tell how long each took; a process of its own."""
    torch.set_num_threads((os.cpu_count() or 1) if way == "naive" else 1)
    trial, genomes = (WAYS | IN_PRECISIONS)[way][1], candidates()
    trial_plain(genomes[0], 0.0, "aten")
    ready.release()
    go.wait()
    answers.put([trial(genomes[number], seconds) for number in numbers])


def rates(
    ways: Mapping[str, tuple[str, Callable[[Genome, float], float]]], quick: bool
) -> list[list[object]]:
    """For each way its title, the mean seconds of a trial with two workers at a time, and
    candidates an hour.
    """
    rows: list[list[object]] = []
    context = multiprocessing.get_context("spawn")
    for way, (title, _) in ways.items():
        ready, go, answers = context.Semaphore(0), context.Event(), context.Queue()
        for k in range(WORKERS):
            given = (
                way,
                tuple(range(k, CANDIDATES, WORKERS)),
                0.5 if quick else 3.0,
                ready,
                go,
                answers,
            )
            context.Process(target=worker, args=given, daemon=True).start()
        for _ in range(WORKERS):
            if not ready.acquire(timeout=LONGEST):
                raise RuntimeError(f"a worker of {way} did not start")
        go.set()
        seconds = statistics.mean(
            second for _ in range(WORKERS) for second in answers.get(timeout=LONGEST)
        )
        print(f"{title}: {seconds:.3g} s", file=sys.stderr)
        rows.append([title, seconds, round(3600 * WORKERS / seconds)])
    return rows


def precision(quick: bool) -> None:
    """Trials of the demo and of the same at H = 256, and where the time of a step goes."""
    rows = rates(IN_PRECISIONS, quick)
    for k, row in enumerate(rows):
        before = rows[k - k % len(PRECISIONS)]
        row.append(float(before[1]) / float(row[1]))  # type: ignore[arg-type]
    head = [
        "demo experiment (LSTM, GRU, 6 random cells), 2 workers",
        f"processor seconds a trial of {TRIAL_STEPS} steps",
        "candidates an hour, a core each",
        "times float32",
    ]
    table("Trials in float32 and bf16", head, rows)
    found = {}
    for size in PRECISE_SIZES:
        for name in PRECISIONS:
            job, arrays = demo_job(cs.zoo.load("lstm"), size)
            job = replace(job, training=replace(job.training, precision=name))
            found[size, name] = watched(replace(job, steps=20 if quick else 100), arrays)
    columns = list(found)
    parts = [[part, *(found[column][part] for column in columns)] for part in found[columns[0]]]
    head = ["ms of a step, LSTM", *(f"H {size}, {name}" for size, name in columns)]
    table("Where the time of a step goes (processor time)", head, parts)


def trials(quick: bool) -> None:
    rows = rates(WAYS, quick)
    slowest = float(rows[-1][1])  # type: ignore[arg-type]
    for row in rows:
        row.append(slowest / float(row[1]))  # type: ignore[arg-type]
    head = [
        "way",
        f"seconds a trial of {TRIAL_STEPS} steps",
        "candidates an hour",
        "times the Python loop",
    ]
    table(
        "Demo experiment (char_lm, H 64, LSTM, GRU and 6 random cells), 2 workers at the same time",
        head,
        rows,
    )


# -- memory ----------------------------------------------------------------------------------------


def resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def kept_floats(kind: str, name: str) -> float:
    """Floats a token and unit that are kept between forward and backward, measured as growth of the
    process.
    """
    length, batch, size = MEMORY_SHAPE
    module: nn.Module
    if kind == "torch":
        module = {"lstm": nn.LSTM, "gru": nn.GRU}[name](size, size)
    else:
        module = cs.compile_cell(
            cs.zoo.load(name), input_size=size, hidden_size=size, backend="native"
        )
    x = torch.randn(length, batch, size)
    module(x[:40])[0].sum().backward()
    before = resident()
    kept = module(x)
    grown = resident() - before
    kept[0].sum().backward()
    return grown / (4 * length * batch * size)


def memory(quick: bool) -> None:
    rows: list[list[object]] = []
    for name in ("lstm", "gru"):
        found = {}
        for kind in ("native", "torch"):
            done = subprocess.run(
                [sys.executable, __file__, "--kept", kind, name],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ,
            )
            found[kind] = float(done.stdout)
        rows.append([name, found["native"], found["torch"], found["native"] / found["torch"]])
    length, batch, size = MEMORY_SHAPE
    head = ["cell", "native", "torch.nn", "ratio"]
    table(
        f"Floats kept for backward, a token and unit, output included (T {length}, B "
        f"{batch}, H {size})",
        head,
        rows,
    )


TABLES: dict[str, Callable[[bool], None]] = {
    "shares": shares,
    "steps": steps,
    "trials": trials,
    "memory": memory,
    "precision": precision,
}
ALL = ("shares", "steps", "trials", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kept", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.kept:
        print(kept_floats(*options.kept))
        return
    model = next(
        (
            line.split(":")[1].strip()
            for line in processor().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    print(
        json.dumps(
            {
                "processor": model,
                "cores": os.cpu_count(),
                "instructions": library().instructions,
                "bf16": library().bf16,
                "torch": torch.__version__,
            }
        )
    )
    for name in options.tables or ALL:
        TABLES[name](options.quick)


if __name__ == "__main__":
    main()
