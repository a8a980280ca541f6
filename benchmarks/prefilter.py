"""Do the checks before training reject what would diverge, and only that? Random cells and mutants,
each also trained for some steps.

Half of the cells are samples of the space, half are LSTM and GRU after two to eight random
mutations. Each is checked, and trained whatever the checks say; it counts as bad when the training
diverges, or when it ends worse than where it began::

    python benchmarks/prefilter.py --cells 60 --steps 40 --seed 1
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np

import cellsearch as cs
from cellsearch import tasks
from cellsearch.errors import TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Prefilter
from cellsearch.space import SearchSpace
from cellsearch.training import evaluate
from cellsearch.training.prefilter import check_cell

ALL = Prefilter(gradient=True, growth=True, output=True)


def cells(space: SearchSpace, count: int, seed: int) -> list[Genome]:
    """Samples and mutants, alternating."""
    rng = np.random.default_rng(seed)
    found = []
    seeds = list(space.seeds.values())
    for k in range(count):
        genome = seeds[k // 2 % len(seeds)] if k % 2 else space.sample(rng)
        for _ in range(int(rng.integers(2, 9)) if k % 2 else 0):
            genome = space.mutate(genome, rng)
        found.append(genome)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", default="quickstart")
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    experiment = cs.load_experiment(arguments.experiment)
    arrays = tasks.get(experiment.task).load(experiment.task_options)
    training = replace(experiment.training, evaluations=1)
    check_cell(cs.zoo.load("lstm"), ALL)  # what is loaded on first use is not the checks' time
    counts = {(rejected, bad): 0 for rejected in (True, False) for bad in (True, False)}
    times = []
    for number, genome in enumerate(cells(experiment.space, arguments.cells, arguments.seed)):
        start = time.perf_counter()
        verdict = check_cell(genome, ALL)
        times.append(time.perf_counter() - start)
        job = Job(
            number,
            0,
            genome.to_json(),
            experiment.task,
            dict(experiment.task_options),
            training,
            arguments.steps,
            number,
            experiment.limits,
        )
        first: list[float] = []
        try:
            result = evaluate(
                job, arrays, progress=lambda step, loss, first=first: first.append(loss)
            )  # type: ignore[misc]
            outcome, bad = f"{result.score:.3f}", result.score * np.log(2) > first[0]
        except TrainingError as error:
            outcome, bad = error.kind, True
        counts[bool(verdict.reason), bad] += 1
        print(f"{number:3} {outcome:9} {verdict.reason or 'passes'}", flush=True)
    caught, missed, wrongly, passed = (
        counts[key] for key in ((True, True), (False, True), (True, False), (False, False))
    )
    print(
        f"bad and rejected {caught}, bad and passed {missed}, good and rejected "
        f"{wrongly}, good and passed {passed}"
    )
    if caught:
        print(
            f"precision {caught / (caught + wrongly):.2f}, recall {caught / (caught + missed):.2f}"
        )
    print(
        f"one check: median {1e3 * statistics.median(times):.0f} ms, longest "
        f"{1e3 * max(times):.0f} ms"
    )


if __name__ == "__main__":
    main()
