"""Does successive halving find the winner of full training at a fraction of its cost? A real run,
with the same proposals.

Random search proposes the same cells whatever their scores, so a run with full training for
everybody and a run with halving (rungs at 1/9, 1/3 and all of the steps) train the same candidates
from the same seeds, and may be compared one by one. Finished runs are kept::

    python benchmarks/halving.py --trials 40 --seeds 3 --workers 2 --out runs/halving
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cellsearch as cs
from cellsearch.executors.ray import Ray
from cellsearch.finals.statistics import mean_and_deviation
from cellsearch.history import History
from cellsearch.trial import Trial


def run(
    experiment: str, schedule: dict[str, object], seed: int, trials: int, workers: int, folder: Path
) -> History:
    declared = cs.load_experiment(
        experiment,
        {"strategy": "random", "seed": seed, "trials": trials, "workers": workers, **schedule},
    )
    folder.mkdir(parents=True, exist_ok=True)
    with cs.Search.open(folder, declared) as search:
        with Ray(workers, log_dir=folder) as executor:
            search.run(executor)
        return search.history


def granted(history: History) -> int:
    """Optimizer steps of all candidates (the baselines always get all of theirs)."""
    return sum(
        trial.rungs[-1].budget.steps
        for trial in history
        if not trial.is_baseline and trial.rungs and trial.duplicate_of is None
    )


def winner(history: History, steps: int) -> Trial:
    """The best found cell with full training."""
    return min(
        (t for t in history.ranked if not t.is_baseline and t.rungs[-1].budget.steps == steps),
        key=lambda t: t.score,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", default="random_charlm")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--eta",
        type=int,
        default=3,
        help="the best 1/eta of a rung go on, to eta times as many steps",
    )
    parser.add_argument("--levels", type=int, default=3, help="rungs")
    parser.add_argument("--out", type=Path, default=Path("runs/halving"))
    arguments = parser.parse_args()
    steps = cs.load_experiment(arguments.experiment).training.steps
    halving = {
        "schedule": "halving",
        "schedule_options.eta": arguments.eta,
        "schedule_options.levels": arguments.levels,
    }
    schedules = {
        "fixed": {"schedule": "fixed"},
        f"halving-{arguments.eta}-{arguments.levels}": halving,
    }
    baselines: dict[str, list[float]] = {}
    print(
        "| seed | winner of full training | winner of halving | rank of it in full "
        "training | cost |\n|---|---|---|---|---|"
    )
    differences = []
    for seed in range(arguments.seeds):
        full, halved = (
            run(
                arguments.experiment,
                schedule,
                seed,
                arguments.trials,
                arguments.workers,
                arguments.out / f"{name}-{seed}",
            )
            for name, schedule in schedules.items()
        )
        best, chosen = winner(full, steps), winner(halved, steps)
        for trial in full:
            if trial.is_baseline:
                baselines.setdefault(str(trial.proposal.origin), []).append(trial.score)
        rank = 1 + sum(
            t.score < full.by_number[chosen.number].score for t in full.ranked if not t.is_baseline
        )
        differences.append(chosen.score - best.score)
        print(
            f"| {seed} | trial {best.number}: {best.score:.4f} | trial {chosen.number}: "
            f"{chosen.score:.4f} | {rank} "
            f"| {granted(halved) / granted(full):.2f} |",
            flush=True,
        )
    mean, _ = mean_and_deviation(differences)
    noise = {
        name.removeprefix("baseline:"): mean_and_deviation(scores)[1]
        for name, scores in baselines.items()
    }
    print(
        f"\nmean difference of the winners: {mean:+.4f}; deviation of one training of "
        f"the baselines over the seeds: ",
        end="",
    )
    print(", ".join(f"{name} {deviation:.4f}" for name, deviation in noise.items()))


if __name__ == "__main__":
    main()
