"""Which tasks say the same of a cell: rank correlation between tasks over 20 zoo cells, and a small
suite chosen from it.

Usage: python benchmarks/correlation.py [--tasks NAME ...] [--choice NAME ...] [--max-seconds S]
[--cells N] [--seeds N]
           [--minutes M] [--out FILE] [--table]

Trains as benchmarks/tasks.py does, into the same file of results, one cell on all tasks after the
other, so that what is there after any time can be used; the same command goes on where it stopped;
``--minutes 0`` only tells how long it would take. With ``--max-seconds`` the LSTM is trained on
every task first, and only the tasks that took it no longer count. Then it prints, for the cells
that all tasks have:

- Spearman's rank correlation of the validation scores for each pair of tasks (a failed training is
  the worst).
- The reliability of each task: the correlation of its own ranks between two seeds, where there are
  two, else between validation and test.
- A suite, chosen greedily: each time the task that raises most the mean over all tasks of the best
  correlation with a task of the suite (facility location: greedy is within 1 - 1/e of the best
  choice, Nemhauser et al. 1978). Tasks with a reliability below 0.5 rank cells by chance and are
  not chosen; at most 8 tasks, and 15 minutes a cell.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray
from trainings import SETTINGS, Results, Row, go_on

# Different in kind early, so that a part of them already spreads.
ZOO = (
    *(
        "lstm",
        "gru",
        "rnn_tanh",
        "mingru",
        "mgu",
        "indrnn_relu",
        "lstm_peephole",
        "qrnn_fo",
        "sru",
        "janet",
    ),
    *("cfn", "ugrnn", "ran", "fastgrnn", "minlstm", "rnn_relu", "lem", "nbrc", "slstm", "mut1"),
)
RELIABLE = 0.5
LARGEST, SECONDS = 8, 900.0
Ranks = NDArray[np.float64]


def ranks(values: Sequence[float]) -> Ranks:
    """Ranks from 0 on; equal values share the mean of theirs. Not a number is the worst."""
    array = np.array([math.inf if math.isnan(value) else value for value in values])
    order = np.sort(array)
    low, high = np.searchsorted(order, array, "left"), np.searchsorted(order, array, "right")
    return (low + high - 1) / 2


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlation of the ranks; 0 where one side is all the same."""
    x, y = (found - found.mean() for found in (ranks(a), ranks(b)))
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm else 0.0


def greedy_suite(
    correlation: Ranks, eligible: Sequence[bool], seconds: Sequence[float]
) -> list[tuple[int, float]]:
    """Numbers of the chosen tasks in order, each with the mean over all tasks of the best
    correlation reached with it.
    """
    chosen: list[tuple[int, float]] = []
    best, spent = np.zeros(len(correlation)), 0.0
    while len(chosen) < LARGEST:
        open_ = [
            k
            for k, good in enumerate(eligible)
            if good and k not in dict(chosen) and spent + seconds[k] <= SECONDS
        ]
        gains = {k: float(np.maximum(best, correlation[k]).mean()) for k in open_}
        if not gains or max(gains.values()) <= best.mean():
            break
        k = max(open_, key=lambda k: gains[k])
        best, spent = np.maximum(best, correlation[k]), spent + seconds[k]
        chosen.append((k, gains[k]))
    return chosen


def show(rows: list[Row], names: Sequence[str], zoo: Sequence[str], choice: Sequence[str]) -> str:
    """The tables, for the tasks that have two cells or more, and the cells that all of these have;
    ``choice``: what a suite may hold.
    """
    found: Mapping[tuple[str, str, int], Row] = {
        (row["task"], row["cell"], row["seed"]): row for row in rows
    }
    cells = [cell for cell in zoo if all((task, cell, 0) in found for task in names)]
    if len(cells) < 3:
        return f"{len(cells)} cells are done on all of these tasks; three are the least"

    def column(task: str, seed: int = 0, key: str = "score") -> list[float]:
        return [found[task, cell, seed].get(key, math.inf) for cell in cells]

    correlation = np.array([[spearman(column(a), column(b)) for b in names] for a in names])
    reliability = []
    for task in names:
        again = all((task, cell, 1) in found for cell in cells)
        reliability.append(
            spearman(
                column(task), column(task, seed=1) if again else column(task, key="test_score")
            )
        )
    seconds = [mean(found[task, cell, 0].get("seconds", 0.0) for cell in cells) for task in names]
    lines = [
        f"{len(cells)} cells: {', '.join(cells)}",
        "",
        "| task | s | reliability | " + " | ".join(names) + " |",
    ]
    lines.append("|---" * (3 + len(names)) + "|")
    for k, task in enumerate(names):
        cells_of_row = " | ".join(f"{value:.2f}" for value in correlation[k])
        lines.append(f"| {task} | {seconds[k]:.0f} | {reliability[k]:.2f} | {cells_of_row} |")
    lines += ["", "| suite | mean of best correlation | seconds a cell |", "|---|---|---|"]
    spent = 0.0
    eligible = [
        name in choice and r >= RELIABLE for name, r in zip(names, reliability, strict=True)
    ]
    for k, reached in greedy_suite(correlation, eligible, seconds):
        spent += seconds[k]
        lines.append(f"| {names[k]} | {reached:.3f} | {spent:.0f} |")
    return "\n".join(lines)


def cheap(rows: Iterable[Row], names: Sequence[str], seconds: float) -> list[str]:
    """The tasks on which the LSTM, seed 0, took no longer; those on which it was not trained, or
    failed, are left out too.
    """
    took = {
        row["task"]: row["seconds"]
        for row in rows
        if row["cell"] == "lstm" and row["seed"] == 0 and "seconds" in row
    }
    return [task for task in names if took.get(task, math.inf) <= seconds]


def main() -> None:
    """Run what is asked for and not there yet, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument(
        "--choice",
        nargs="+",
        metavar="TASK",
        help="choose the suite among these only; all tasks are still to be covered",
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=math.inf,
        help="only tasks on which the LSTM takes no longer, on a free core",
    )
    parser.add_argument("--cells", type=int, default=len(ZOO), help="how many of the 20")
    parser.add_argument(
        "--seeds", type=int, default=1, help="how many, from 0 on; two give a better reliability"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tasks.jsonl"))
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="start no training after so many minutes"
    )
    parser.add_argument(
        "--table", action="store_true", help="only print the tables of what is there"
    )
    arguments = parser.parse_args()
    results, zoo, names = Results(arguments.out), ZOO[: arguments.cells], arguments.tasks
    end = time.monotonic() + 60 * arguments.minutes
    if math.isfinite(arguments.max_seconds):
        if not arguments.table:
            go_on(results, [(task, "lstm", 0, False) for task in names], arguments.minutes)
        names = cheap(of_cells(results), names, arguments.max_seconds)
    if not arguments.table:
        wanted = [
            (task, cell, seed, False)
            for seed in range(arguments.seeds)
            for cell in zoo
            for task in names
        ]
        go_on(results, wanted, (end - time.monotonic()) / 60)
    print(show(of_cells(results), names, zoo, arguments.choice or names))


def of_cells(results: Results) -> list[Row]:
    """The rows of compiled cells, without those of torch's layers."""
    return [row for row in results.current() if not row["torch"]]


if __name__ == "__main__":
    main()
