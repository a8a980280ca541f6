"""How much of their time the workers of a search wait, in trials so short that it shows.

    python benchmarks/idle.py [--trials 200] [--steps 50] [--workers 2] [--strategies NAME ...]

A search of the quickstart experiment with so many steps a trial on Ray workers. ``idle``: the share
of the workers' time, from the end of the first trials to the end of the last, in which they train
nothing: waiting for the search (which tells, records, proposes), for Ray, or, at the end, for the
last of the others. ``a trial``: seconds that a training takes. ``between``: milliseconds that a
worker waits between two trials. The goal is an idle share under 3 %.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cellsearch import load_experiment, strategies
from cellsearch.executors.ray import Ray
from cellsearch.search import Search, SearchEvent, TrialEnded


def measure(strategy: str, trials: int, steps: int, workers: int) -> tuple[float, float, float]:
    """Idle share, seconds of a training, and milliseconds between two of them."""
    ends: list[float] = []
    trained: list[float] = []

    def observe(event: SearchEvent) -> None:
        if isinstance(event, TrialEnded):
            ends.append(time.perf_counter())
            trained.append(event.outcome.wall_seconds)

    experiment = load_experiment("quickstart")
    experiment = replace(
        experiment,
        trials=trials + workers,
        strategy=strategies.create(strategy),
        training=replace(experiment.training, steps=steps),
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Ray(workers) as executor,
        Search.open(Path(folder) / "run", experiment) as search,
    ):
        search.run(executor, observe)
    # The first of each worker waited for its start; the others began to train at its end.
    whole, busy = workers * (ends[-1] - ends[workers - 1]), trained[workers:]
    waited = whole - sum(busy)
    return waited / whole, sum(busy) / len(busy), 1000 * waited / len(busy)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--strategies", nargs="+", default=["genetic", "random"])
    arguments = parser.parse_args()
    print(f"{'strategy':10}{'idle':>8}{'a trial, s':>12}{'between, ms':>13}")
    for name in arguments.strategies:
        idle, seconds, between = measure(name, arguments.trials, arguments.steps, arguments.workers)
        print(f"{name:10}{idle:8.1%}{seconds:12.3f}{between:13.1f}", flush=True)


if __name__ == "__main__":
    main()
