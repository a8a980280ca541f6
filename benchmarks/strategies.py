"""Which strategy finds the better cell under one budget? Best validation score after N trials, several seeds, with controls.

Every strategy gets the same experiment (task, training, space, trials), LSTM and GRU are trained in each run under the same
budget, and random search is the control. Finished runs are kept and not repeated, so the script may be interrupted::

    python benchmarks/strategies.py --experiment random_charlm --trials 40 --seeds 3 --workers 2 --out runs/strategies
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cellsearch as cs
from cellsearch.executors.ray import Ray
from cellsearch.reporting.charts import Line, line_chart
from cellsearch.statistics import holm, mean_and_deviation, permutation_test
from cellsearch.trial import History

STRATEGIES = ("random", "genetic", "grow", "prune")
_COLOURS = ("#888888", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d")


def run(experiment: str, strategy: str, seed: int, trials: int, workers: int, steps: int, folder: Path) -> History:
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
    """Best score of a found cell after each number of trials (baselines and supernets are trials, not finds)."""
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
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps a trial (0: the experiment's)")
    parser.add_argument("--out", type=Path, default=Path("runs/strategies"))
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, object]]] = {}
    for seed in range(arguments.seeds):
        for strategy in arguments.strategies:
            folder = arguments.out / f"{strategy}-{seed}"
            history = run(arguments.experiment, strategy, seed, arguments.trials, arguments.workers, arguments.steps, folder)
            baselines = {t.proposal.origin.removeprefix("baseline:"): t.score for t in history if t.is_baseline}
            curve = anytime(history, arguments.trials)
            results.setdefault(strategy, []).append({"seed": seed, "curve": curve, "baselines": baselines})
            print(
                f"{strategy} seed {seed}: best found {curve[-1]:.4f}, " + ", ".join(f"{k} {v:.4f}" for k, v in baselines.items()),
                flush=True,
            )
    (arguments.out / "results.json").write_text(json.dumps(results))
    (arguments.out / "curves.svg").write_text(curves(results), encoding="utf-8")
    table(results)


def curves(results: dict[str, list[dict[str, object]]]) -> str:
    """Best score so far against trials as an SVG file: mean over the seeds, and one standard error around it.

    A line begins where it is no more than a tenth above the worst baseline.
    """
    baselines = {name: s for runs in results.values() for r in runs for name, s in r["baselines"].items()}  # type: ignore[attr-defined]
    ceiling = 1.1 * max(baselines.values(), default=float("inf"))
    lines = [_line(name, [r["curve"] for r in runs], f"s{k}", ceiling) for k, (name, runs) in enumerate(results.items())]  # type: ignore[misc]
    for name in sorted(baselines):
        level = mean_and_deviation([float(r["baselines"][name]) for runs in results.values() for r in runs])[0]  # type: ignore[index]
        trials = len(next(iter(results.values()))[0]["curve"])  # type: ignore[arg-type]
        lines.append(Line(((0.0, level), (float(trials), level)), name, "control"))
    style = "text{font:11px sans-serif;fill:#777} .grid{stroke:#7774} .axis{stroke:#777} polyline{fill:none;stroke-width:1.8}"
    style += ".band{stroke:none;opacity:.15} .control{stroke:#777;stroke-dasharray:4 3} text.control{stroke:none}"
    for k, colour in enumerate(_COLOURS):
        style += f"polyline.s{k}{{stroke:{colour}}} .band.s{k}{{fill:{colour}}} text.s{k}{{fill:{colour}}}"
    chart = line_chart("Best score so far", lines, x_label="trials", y_label="best validation score")
    return chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace("<title>", f"<style>{style}</style><title>", 1)


def _line(name: str, runs: Sequence[Sequence[float]], css: str, ceiling: float) -> Line:
    points, band = [], []
    for trial, scores in enumerate(zip(*runs, strict=True), start=1):
        if all(score < float("inf") for score in scores):
            mean, deviation = mean_and_deviation(scores)
            error = deviation / len(scores) ** 0.5
            if mean <= ceiling:
                points.append((float(trial), mean))
                band.append((float(trial), mean - error, min(mean + error, ceiling)))
    return Line(tuple(points), name, css, band=tuple(band))


def table(results: dict[str, list[dict[str, object]]]) -> None:
    finals = {s: [float(r["curve"][-1]) for r in runs] for s, runs in results.items()}  # type: ignore[index]
    names = sorted({name for runs in results.values() for r in runs for name in r["baselines"]})  # type: ignore[attr-defined]
    for name in names:
        by_seed = {r["seed"]: float(r["baselines"][name]) for runs in results.values() for r in runs}  # type: ignore[index]
        finals[f"{name} (no search)"] = list(by_seed.values())
    others = [s for s in finals if s != "random" and "random" in finals]
    p = dict(zip(others, holm([permutation_test(finals[s], finals["random"]) for s in others]), strict=True))
    print("\n| | best score, mean | deviation | by seed | p against random |\n|---|---|---|---|---|")
    for name, scores in sorted(finals.items(), key=lambda item: mean_and_deviation(item[1])[0]):
        mean, deviation = mean_and_deviation(scores)
        seeds = ", ".join(f"{score:.4f}" for score in scores)
        against = f"{p[name]:.2f}" if name in p else "–"
        print(f"| {name} | {mean:.4f} | {deviation:.4f} | {seeds} | {against} |")


if __name__ == "__main__":
    main()
