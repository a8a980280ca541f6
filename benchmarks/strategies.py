"""Which strategy finds the better cell under one budget? Best validation score after N trials,
several seeds, with controls: cellsearch sweep and compare, and a table for a document.

Every strategy gets the same experiment (task, training, space, trials), LSTM and GRU are trained in
each run under the same budget, and random search is the control. Finished runs are kept and not
repeated, so the script may be interrupted::

    python benchmarks/strategies.py --experiment random_charlm --trials 40 --seeds 3 --workers 2
    --out runs/strategies
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cellsearch as cs
from cellsearch.executors.ray import Ray
from cellsearch.reporting.figures import write_figure
from cellsearch.reporting.tables import written
from cellsearch.runs.sweeping import plan_sweep, search_to_the_end

STRATEGIES = ("random", "genetic", "grow", "prune")


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
    overrides = {"trials": arguments.trials, "workers": arguments.workers}
    if arguments.steps:
        overrides["training.steps"] = arguments.steps
    planned = plan_sweep(
        arguments.experiment,
        arguments.out,
        names=arguments.strategies,
        seeds=range(arguments.seeds),
        overrides=overrides,
    )
    for one in planned:
        make = partial(Ray, arguments.workers, log_dir=one.folder)
        search_to_the_end(one.experiment, one.folder, make)
        print(f"{one.name}: best found {cs.open_run(one.folder).best().score:.4f}", flush=True)
    found = cs.compare(*(one.folder for one in planned))
    write_figure(arguments.out / "curves.svg", found.to_svg(), force=True)
    header = found.header()
    print("\n" + written("markdown", header, found.rows(), right=range(1, len(header))))
    levels = ", ".join(f"{name} {score:.4f}" for name, score in found.baselines.items())
    print(f"without a search: {levels}")


if __name__ == "__main__":
    main()
