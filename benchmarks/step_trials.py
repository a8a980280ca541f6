"""How many candidates an hour two workers train, and in which precision; tables of
``benchmarks/step.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from compiler_runs import table
from step_parts import TRIAL_STEPS, Characters, demo_job, torch_step, watched

import cellsearch as cs
from cellsearch.genome.graph import Genome
from cellsearch.training import evaluate
from cellsearch.training.model import cell_factory, make_task
from cellsearch.training.prefilter import check_cell

WORKERS, CANDIDATES = 2, 8
LONGEST = 200.0


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
