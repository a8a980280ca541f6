"""What preparing batches costs: its share of a training step, and padding, for every task.

Usage: python benchmarks/pipeline.py [--tasks NAME ...] [--batches N]

With the settings of benchmarks/trainings.py (the cell is an LSTM), on one thread: mean time of a
batch (epochs are shuffled now and then, so the mean counts), median time of a training step without
it, the share of the first in both together, and the share of positions that are padding. Times are
of the core, so that waiting for other processes does not count. The bounds are 3 % and 10 %.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from trainings import SETTINGS, job, load

from cellsearch.genome.graph import Genome
from cellsearch.tasks.base import Batch, Task
from cellsearch.tasks.translation import PAD
from cellsearch.training.fused import FlatAdam
from cellsearch.training.model import cell_factory, make_task

KEPT = 16
"""Batches that training steps are timed on."""


def places(batch: Batch) -> tuple[int, int]:
    """Positions of a batch, and those within a sequence; of translations, those of the decoder
    (sources are packed).
    """
    if batch.x.dim() == 3 and not batch.x.is_floating_point():
        return batch.x[1].numel(), int((batch.x[1] != PAD).sum())
    every = batch.x.shape[0] * batch.x.shape[1]
    return every, every if batch.lengths is None else int(batch.lengths.sum())


def preparation(task: Task, count: int) -> tuple[float, float, list[Batch]]:
    """Mean seconds of a batch, share of padding, and the first batches. What a group of batches
    costs at its start counts.
    """
    seconds, every, used, kept = 0.0, 0, 0, []
    stream = task.batches("train", 0)
    for number in range(count):
        begin = time.thread_time()
        batch = next(stream)
        seconds += time.thread_time() - begin
        found = places(batch)
        every, used = every + found[0], used + found[1]
        if number < KEPT:
            kept.append(batch)
    return seconds / count, 1 - used / every, kept


def step_seconds(task: Task, name: str, batches: list[Batch]) -> float:
    """Median seconds of a training step on these batches; the first ones only warm up."""
    work = job(name, "lstm", 0)
    torch.manual_seed(0)
    model = task.model(cell_factory(Genome.from_json(work.genome), work.training))
    optimizer = FlatAdam(list(model.parameters()), 1e-3, max_norm=1.0)
    times = []
    for batch in batches:
        begin = time.thread_time()
        loss, _ = task.training_loss(model, batch, None)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.clip()
        optimizer.update()
        times.append(time.thread_time() - begin)
    return median(times[len(times) // 4 :])


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--batches", type=int, default=1024)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| task | batch, ms | step, ms | share | padding |\n|---|---|---|---|---|")
    for name in arguments.tasks:
        work = job(name, "lstm", 0)
        task = make_task(work, load(name))
        batch, padding, batches = preparation(task, arguments.batches)
        step = step_seconds(task, name, batches)
        print(
            f"| {name} | {batch * 1e3:.3f} | {step * 1e3:.2f} | "
            f"{batch / (batch + step):.1%} | {padding:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
