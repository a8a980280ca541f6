r"""Which family of searches finds the better cell with the same compute?

Compute is optimizer steps times multiply-adds of the model for one position, of everything that a
search trains (cellsearch/runs/compute.py). Every run is given as much as so many trainings of the
LSTM take, and a training that ends beyond that does not count any more.

Runs are done one after the other in this process, each in a folder of its own under ``--out``; an
interrupted run goes on, a finished one is not repeated::

    python benchmarks/families.py --out runs/families
    python benchmarks/families.py --experiment gating --budget 20 --out runs/standard_families \
      --set task=suite:benchmarks/standard_short.toml space=lstm_gru
    python benchmarks/families.py --out runs/families --table      # only what is there

The test is the exact rank test (Wilcoxon 1945; Mann & Whitney 1947), two-sided, of each strategy
against random search, with Holm's correction over the strategies of the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cellsearch as cs
from cellsearch.experiment import Experiment
from cellsearch.experiment.overrides import parse_setting
from cellsearch.finals.statistics import holm, mean_and_deviation, rank_test
from cellsearch.runs.compute import Meter, spent
from cellsearch.runs.sweeping import search_to_the_end

STRATEGIES = ("random", "genetic", "grow", "prune")
SHARES = (0.25, 0.5, 0.75, 1.0)


def run(declared: Experiment, budget: float, folder: Path) -> dict[str, Any]:
    """One search, from where it is until its compute is used up; what came out."""
    started = time.process_time()
    search_to_the_end(declared, folder, cs.InProcess, compute=budget)
    found = cs.open_run(folder)
    meter = Meter.of(declared, found.load_arrays())
    return {
        "strategy": declared.strategy.name,
        "seed": declared.seed,
        "budget": budget,
        "points": [
            [at, t.standing if t.ranks else None, t.is_intermediate, str(t.proposal.origin)]
            for at, t in spent(found.trials, meter)
        ],
        "seconds": time.process_time() - started,
    }


def best(result: dict[str, Any], compute: float) -> float:
    """Best score of what had ended when so much was spent."""
    scores = [score for at, score, *_ in result["points"] if at <= compute and score is not None]
    return min(scores, default=float("inf"))


def table(results: Sequence[dict[str, Any]], budget: float) -> str:
    """The table in Markdown: best scores by share of the compute, and the test at its end."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for result in sorted(results, key=lambda r: r["seed"]):
        by_name.setdefault(result["name"], []).append(result)
    ends = {name: [best(r, budget) for r in runs] for name, runs in by_name.items()}
    others = [name for name in ends if name != "random" and "random" in ends]
    p_values = [rank_test(ends[name], ends["random"]) for name in others]
    plain = dict(zip(others, p_values, strict=True))
    corrected = dict(zip(others, holm(p_values), strict=True))
    heads = " | ".join(f"{share * budget:g}" for share in SHARES)
    lines = [
        f"best score by compute (trainings of the LSTM), mean over seeds; at the end also "
        f"deviation and by seed\n\n| | {heads} | deviation | by seed | cells | first at | "
        f"p | p (Holm) |",
        "|---" * (len(SHARES) + 7) + "|",
    ]
    for name, runs in sorted(by_name.items(), key=lambda item: mean_and_deviation(ends[item[0]])):
        means = " | ".join(
            f"{mean_and_deviation([best(r, share * budget) for r in runs])[0]:.4f}"
            for share in SHARES
        )
        seeds = ", ".join(f"{score:.4f}" for score in ends[name])
        counts = [[p for p in r["points"] if p[0] <= budget and not p[2]] for r in runs]
        cells = sum(map(len, counts)) / len(runs)
        first = sum(found[0][0] if found else budget for found in counts) / len(runs)
        p = f"{plain[name]:.3f} | {corrected[name]:.3f}" if name in plain else "– | –"
        deviation = mean_and_deviation(ends[name])[1]
        lines.append(
            f"| {name} | {means} | {deviation:.4f} | {seeds} | {cells:.1f} | {first:.1f} | {p} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", default="random_charlm")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--label", default="", help="name in the table (with one strategy)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument(
        "--budget", type=float, default=40, help="compute of a run, in trainings of the LSTM"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    parser.add_argument("--table", action="store_true", help="only show what is there")
    arguments = parser.parse_args()
    given = dict(map(parse_setting, arguments.overrides))
    for seed in () if arguments.table else arguments.seeds:
        for strategy in arguments.strategies:
            folder = arguments.out / f"{arguments.label or strategy}-{seed}"
            path = folder / "outcome.json"
            if path.is_file() and json.loads(path.read_text("utf-8"))["budget"] >= arguments.budget:
                continue
            declared = cs.load_experiment(
                arguments.experiment,
                {
                    "baselines": [],
                    "trials": 10 * int(arguments.budget),
                    "workers": 0,
                    "lookahead": 1,
                    "strategy": strategy,
                    "seed": seed,
                    **given,
                },
            )
            result = run(declared, arguments.budget, folder)
            result["name"] = arguments.label or strategy
            path.write_text(json.dumps(result), "utf-8")
            print(
                f"{result['name']}, seed {seed}: {best(result, arguments.budget):.4f}, "
                f"{len(result['points'])} trainings, {result['seconds']:.0f} core-seconds",
                flush=True,
            )
    results = [json.loads(path.read_text("utf-8")) for path in arguments.out.glob("*/outcome.json")]
    if not results:
        raise SystemExit(f"{arguments.out}: no finished run")
    print("\n" + table(results, arguments.budget))


if __name__ == "__main__":
    main()
