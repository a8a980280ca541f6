"""Is there a cell that a parallel scan can run and that solves parity? Search among affine-diagonal
cells, then retrain what was found.

The search trains on strings of up to 40 bits and validates at 40, 128 and 256. Then the best cells
are retrained from scratch with five other seeds, best first, until one has no error at 256 bits
with all five seeds; zoo cells are trained alike as controls::

    python benchmarks/parity_scan.py --seeds 3 --workers 2 --out runs/parity_scan

Theory: a linear recurrence whose coefficients lie in [0, 1] cannot compute parity at unbounded
length, one with coefficients in [-1, 1] can (Grazzi et al. 2025, arXiv 2411.12537).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cellsearch as cs
from cellsearch import tasks, zoo
from cellsearch.executors.in_process import InProcess
from cellsearch.executors.ray import Ray
from cellsearch.experiment import Experiment
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.training import evaluate
from cellsearch.trial import Trial

EXPERIMENT = "parity_scan"
SEEDS = tuple(range(1001, 1006))
"""Of the retrainings: none of them was used by a search."""
FINALISTS = 5
SOLVED = 0.999
CONTROLS = ("lstm", "gru", "mingru", "minlstm", "hgrn_real", "sru_v1")


def searched(
    strategy: str, seed: int, trials: int, workers: int, folder: Path
) -> tuple[Experiment, tuple[Trial, ...]]:
    """The found cells of one search, best first."""
    declared = cs.load_experiment(
        EXPERIMENT, {"strategy": strategy, "seed": seed, "trials": trials, "workers": workers}
    )
    folder.mkdir(parents=True, exist_ok=True)
    with cs.Search.open(folder, declared) as search:
        with Ray(workers, log_dir=folder) if workers else InProcess() as executor:
            search.run(executor)
        return declared, tuple(t for t in search.history.ranked if not t.is_baseline)


def accuracies(experiment: Experiment, genome: Genome) -> list[float]:
    """Test accuracy at 256 bits, trained from scratch with each of the seeds; a training that fails
    counts as 0.
    """
    arrays = tasks.get(experiment.task).load(experiment.task_options)
    values = []
    for seed in SEEDS:
        job = Job(
            trial=0,
            rung=0,
            genome=genome.to_json(),
            task=experiment.task,
            task_options=dict(experiment.task_options),
            training=experiment.training,
            steps=experiment.training.steps,
            seed=seed,
            limits=experiment.limits,
            test=True,
        )
        try:
            values.append(evaluate(job, arrays).metrics["test_metric"])
        except cs.errors.TrainingError:
            values.append(0.0)
    return values


def solved(values: list[float]) -> int:
    return sum(value >= SOLVED for value in values)


def row(name: str, trial: str, values: list[float]) -> str:
    return (
        f"| {name} | {trial} | {solved(values)} of {len(values)} | "
        f"{', '.join(f'{value:.3f}' for value in values)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strategies", nargs="+", default=["random", "genetic"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/parity_scan"))
    arguments = parser.parse_args()
    lines, found = [], []
    for seed in range(1, arguments.seeds + 1):
        for strategy in arguments.strategies:
            folder = arguments.out / f"{strategy}-{seed}"
            declared, cells = searched(strategy, seed, arguments.trials, arguments.workers, folder)
            first = min((t.number for t in cells if t.score < 1.0 - SOLVED), default=None)
            for trial in cells[:FINALISTS]:
                values = accuracies(declared, trial.genome)
                lines.append(
                    row(
                        f"{strategy}, seed {seed}",
                        f"trial {trial.number} (score {trial.score:.4f})",
                        values,
                    )
                )
                print(lines[-1], flush=True)
                if solved(values) == len(SEEDS):
                    found.append((strategy, seed, trial))
                    break
            print(
                f"{strategy}, seed {seed}: first trial without error in validation: {first}",
                flush=True,
            )
    for name in CONTROLS:
        lines.append(row(name, "control", accuracies(declared, zoo.load(name))))
    print("\n| search | cell | solved at 256 bits | accuracies |\n|---|---|---|---|")
    print("\n".join(lines))
    for strategy, seed, trial in found:
        print(
            f"\n{strategy}, seed {seed}, trial {trial.number}: solved with every "
            f"seed\n\n{trial.genome.to_text()}"
        )


if __name__ == "__main__":
    main()
