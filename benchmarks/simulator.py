"""Strategies and schedules on the table of NAS-Bench-NLP: mean regret after 20, 50 and 100 full
trainings, over many seeds.

Nothing is trained, so this takes minutes. The table is a fast fixture for searches, not evidence
about cells: its trainings left the recurrent weights untrained. Needs the table (see docs); the
regret is that of the full training of the cell that looks best so far, and cost is counted in full
trainings of 50 epochs::

    python benchmarks/simulator.py --seeds 100 --plot docs/pictures/regret.svg
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from curves import mean_curves
from numpy.typing import NDArray

from cellsearch import schedules, strategies
from cellsearch.simulation.simulate import simulate
from cellsearch.simulation.tabular import TabularSpace, nas_bench_nlp
from cellsearch.trial import Trial

EPOCHS = 50
COSTS = (20, 50, 100)
DATA = Path(os.environ.get("CELLSEARCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
POOL = {"candidates": 250, "fresh": 1.0, "random_share": 0.0, "initial": 10}
# name -> strategy, options, schedule options (None: full trainings), reference regrets where
# somebody else measured them
SEARCHES: dict[
    str, tuple[str, dict[str, object], dict[str, int] | None, tuple[float, float, float] | None]
] = {
    "random": ("random", {}, None, (0.283, 0.204, 0.138)),
    "regularized_evolution": (
        "regularized_evolution",
        {"population": 30, "tournament": 10},
        None,
        (0.286, 0.192, 0.170),
    ),
    "local_search": ("local_search", {"initial": 10, "patience": 12}, None, None),
    "predictor ridge": ("predictor", {**POOL, "model": "ridge"}, None, (0.201, 0.008, 0.000)),
    "predictor gp": ("predictor", {**POOL, "model": "gp"}, None, (0.234, 0.066, 0.000)),
    "random + halving": ("random", {}, {"eta": 3, "levels": 4}, (0.074, 0.000, 0.000)),
    "predictor gp + halving": ("predictor", {**POOL, "model": "gp"}, {"eta": 3, "levels": 4}, None),
}


def regret_curve(table: TabularSpace, search: str, seed: int) -> NDArray[np.float64]:
    """``[100]``: regret of the cell that looks best after a cost of 1, 2, ... full trainings."""
    strategy, options, halving, _ = SEARCHES[search]
    curve = np.full(max(COSTS), np.nan)
    spent, best = 0.0, (np.inf, np.inf)

    def on_result(trial: Trial) -> None:
        nonlocal spent, best
        before = trial.rungs[-2].budget.steps if len(trial.rungs) > 1 else 0
        spent += (trial.rungs[-1].budget.steps - before) / EPOCHS
        if trial.score < best[0]:
            best = (trial.score, table.regret(trial.genome))
        curve[min(max(COSTS), max(1, int(np.ceil(spent)))) - 1 :] = best[1]

    schedule = schedules.create("fixed" if halving is None else "halving", halving)
    trials = max(COSTS) if halving is None else len(table.rows)
    made = strategies.create(strategy, options)
    simulate(
        made,
        table,
        table.score,
        trials=trials,
        seed=seed,
        steps=EPOCHS,
        schedule=schedule,
        workers=1,
        on_result=on_result,
    )
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--table", type=Path, default=DATA / "nas_bench_nlp" / "wikitext2.jsonl.gz")
    parser.add_argument("--out", type=Path, help="write the mean curves as JSON")
    parser.add_argument(
        "--plot", type=Path, help="draw the mean curves with their standard errors as SVG"
    )
    arguments = parser.parse_args()
    table = nas_bench_nlp(arguments.table)
    curves: dict[str, NDArray[np.float64]] = {}
    print(
        f"{len(table.rows)} cells, {arguments.seeds} seeds; mean regret in nat "
        f"(standard error) after a cost of {COSTS} full trainings"
    )
    for search in arguments.searches:
        begin = time.perf_counter()
        curves[search] = np.array(
            [regret_curve(table, search, seed) for seed in range(arguments.seeds)]
        )
        figures = [curves[search][:, cost - 1] for cost in COSTS]
        shown = "  ".join(f"{f.mean():.3f} ({f.std(ddof=1) / len(f) ** 0.5:.3f})" for f in figures)
        reference = SEARCHES[search][3]
        known = (
            ""
            if reference is None
            else "   reference " + " / ".join(f"{value:.3f}" for value in reference)
        )
        print(f"{search:24s} {shown}{known}   [{time.perf_counter() - begin:.0f} s]", flush=True)
    if arguments.out:
        arguments.out.write_text(
            json.dumps(
                {name: curve.mean(axis=0).round(5).tolist() for name, curve in curves.items()}
            ),
            "utf-8",
        )
    if arguments.plot:
        drawn = {name: values.tolist() for name, values in curves.items()}
        text = mean_curves(
            "Regret",
            drawn,
            x_label="cost in full trainings",
            y_label="regret in nat per word",
            ceiling=0.6,
        )
        arguments.plot.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
