"""Which strategy finds the better cell under one budget? Best validation score after N trials,
several seeds, with controls.

Every strategy gets the same experiment (task, training, space, trials), LSTM and GRU are trained in
each run under the same budget, and random search is the control. Finished runs are kept and not
repeated, so the script may be interrupted::

    python benchmarks/strategies.py --experiment random_charlm --trials 40 --seeds 3 --workers 2
    --out runs/strategies
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from curves import mean_curves

import cellsearch as cs
from cellsearch.executors.ray import Ray
from cellsearch.finals.statistics import holm, mean_and_deviation, permutation_test
from cellsearch.history import History

STRATEGIES = ("random", "genetic", "grow", "prune")


def run(
    experiment: str, strategy: str, seed: int, trials: int, workers: int, steps: int, folder: Path
) -> History:
    overrides = {"strategy": strategy, "seed": seed, "trials": trials, "workers": workers}
    if steps:
        overrides["training.steps"] = steps
    declared = cs.load_experiment(experiment, overrides)
    folder.mkdir(parents=True, exist_ok=True)
    with cs.Search.open(folder, declared) as search:
        with Ray(workers, log_dir=folder) as executor:
            search.run(executor)
        return search.history


def anytime(history: History, trials: int) -> list[float]:
    """Best score of a found cell after each number of trials (baselines and supernets are trials,
    not finds).
    """
    best, curve = float("inf"), []
    by_number = history.by_number
    for number in range(trials):
        trial = by_number.get(number)
        if trial is not None and not trial.is_baseline and not trial.is_intermediate:
            best = min(best, trial.score)
        curve.append(best)
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="random_charlm")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--steps", type=int, default=0, help="optimizer steps a trial (0: the experiment's)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/strategies"))
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, object]]] = {}
    for seed in range(arguments.seeds):
        for strategy in arguments.strategies:
            folder = arguments.out / f"{strategy}-{seed}"
            history = run(
                arguments.experiment,
                strategy,
                seed,
                arguments.trials,
                arguments.workers,
                arguments.steps,
                folder,
            )
            baselines = {t.proposal.origin.detail: t.score for t in history if t.is_baseline}
            curve = anytime(history, arguments.trials)
            results.setdefault(strategy, []).append(
                {"seed": seed, "curve": curve, "baselines": baselines}
            )
            print(
                f"{strategy} seed {seed}: best found {curve[-1]:.4f}, "
                + ", ".join(f"{k} {v:.4f}" for k, v in baselines.items()),
                flush=True,
            )
    (arguments.out / "results.json").write_text(json.dumps(results))
    (arguments.out / "curves.svg").write_text(curves(results), encoding="utf-8")
    table(results)


def curves(results: dict[str, list[dict[str, object]]]) -> str:
    """Best score so far against trials as an SVG file. A line begins where it is no more than a
    tenth above the worst baseline.
    """
    scores: dict[str, list[float]] = {}
    for runs in results.values():
        for r in runs:
            for name, score in r["baselines"].items():  # type: ignore[attr-defined]
                scores.setdefault(name, []).append(score)
    levels = {name: mean_and_deviation(found)[0] for name, found in sorted(scores.items())}
    by_seed: dict[str, list[list[float]]] = {
        name: [r["curve"] for r in runs] for name, runs in results.items()
    }  # type: ignore[misc]
    ceiling = 1.1 * max(levels.values(), default=float("inf"))
    return mean_curves(
        "Best score so far",
        by_seed,
        x_label="trials",
        y_label="best validation score",
        levels=levels,
        ceiling=ceiling,
    )


def table(results: dict[str, list[dict[str, object]]]) -> None:
    finals = {s: [float(r["curve"][-1]) for r in runs] for s, runs in results.items()}  # type: ignore[index]
    names = sorted({name for runs in results.values() for r in runs for name in r["baselines"]})  # type: ignore[attr-defined]
    for name in names:
        by_seed = {
            r["seed"]: float(r["baselines"][name]) for runs in results.values() for r in runs
        }  # type: ignore[index]
        finals[f"{name} (no search)"] = list(by_seed.values())
    others = [s for s in finals if s != "random" and "random" in finals]
    p = dict(
        zip(
            others,
            holm([permutation_test(finals[s], finals["random"]) for s in others]),
            strict=True,
        )
    )
    print(
        "\n| | best score, mean | deviation | by seed | p against random |\n|---|---|---|---|---|"
    )
    for name, scores in sorted(finals.items(), key=lambda item: mean_and_deviation(item[1])[0]):
        mean, deviation = mean_and_deviation(scores)
        seeds = ", ".join(f"{score:.4f}" for score in scores)
        against = f"{p[name]:.2f}" if name in p else "–"
        print(f"| {name} | {mean:.4f} | {deviation:.4f} | {seeds} | {against} |")


if __name__ == "__main__":
    main()
