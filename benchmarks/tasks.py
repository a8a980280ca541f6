"""LSTM, GRU and tanh RNN on every task: validation, test, time, beside what is known.

Usage: python benchmarks/tasks.py [--tasks NAME ...] [--cells NAME ...] [--seeds N] [--minutes M]
[--torch] [--out FILE] [--table]

Every cell of a task is trained with the same settings (benchmarks/trainings.py), with one thread,
within 30 s on a free core. Test data is read once, with the weights that validation chose. Each
finished training is a line of ``--out``, and the same command goes on where it stopped (``--minutes
0`` only tells how long it would take); all tasks with one seed come first, then the next seed. At
the end, and with ``--table`` at once, the table of all that is there is printed. ``--torch`` trains
``torch.nn.LSTM``, ``GRU`` and ``RNN`` in the same way in place of the compiled zoo cells: an
independent check of the compiler.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

from trainings import CELLS, SETTINGS, Results, Row, go_on

from cellsearch import tasks

# Test metric that is known from elsewhere, in the order of CELLS: docstrings of the tasks say from
# where and under which budget.
KNOWN = {
    "adding": (".0010", ".0003", ".16"),
    "associative_recall": (".28 (H 128)", ".29 (H 128)", ".10 (H 128)"),
    "etth1": (".401", ".393", ""),
    "japanese_vowels": (".965-.981", ".970-.978", ".960-.973"),
    "jsb": ("8.45 published", "8.43 published", "9.59"),
    "mnist1d": (".980", ".981", ".638"),
    "parity": ("1.0", "1.0", "1.0 or .5, by seed"),
    "pen_digits": (".977-.979", ".976", ".968-.974"),
    "sentiment": ("linear model about .80", "", ""),
    "spoken_digits": (".99", "1.00", ".83"),
    "sunspots": (".255", ".232", ".246"),
    "time_machine": ("2.34", "2.21", "2.35"),
    "tiny_shakespeare": ("2.59", "2.38", "2.54"),
}


def table(rows: Iterable[Row]) -> str:
    """Markdown: a row for each task and cell: mean and deviation over seeds, shortest time."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["cell"] in CELLS:
            groups[row["task"], row["cell"]].append(row)
    lines = [
        "| task | metric | cell | weights | steps | s | seeds | validation | test | known (test) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (task, cell), found in sorted(
        groups.items(), key=lambda item: (item[0][0], CELLS.index(item[0][1]))
    ):
        good = [row for row in found if "failed" not in row]
        if not good:
            lines.append(f"| {task} | | {cell} | | | | 0 | {found[0]['failed']} | | |")
            continue
        spread = {key: [row[key] for row in good] for key in ("valid", "test")}
        shown = {
            key: f"{mean(v):.4g}" + (f" ± {stdev(v):.2g}" if len(v) > 1 else "")
            for key, v in spread.items()
        }
        known = KNOWN.get(task, ("",) * len(CELLS))[CELLS.index(cell)]
        lines.append(
            f"| {task} | {tasks.get(task).metric} | {cell} | {good[0]['parameters']:,} "
            f"| {good[0]['settings']['training']['steps']} |"
            f" {min(row['seconds'] for row in good):.0f} | {len(good)} | "
            f"{shown['valid']} | {shown['test']} | {known} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for and not there yet, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument(
        "--torch", action="store_true", help="torch.nn's layers instead of compiled zoo cells"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tasks.jsonl"))
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="start no training after so many minutes"
    )
    parser.add_argument(
        "--table", action="store_true", help="only print the table of what is there"
    )
    arguments = parser.parse_args()
    results = Results(arguments.out)
    if not arguments.table:
        wanted = itertools.product(range(arguments.seeds), arguments.tasks, arguments.cells)
        go_on(
            results,
            ((task, cell, seed, arguments.torch) for seed, task, cell in wanted),
            arguments.minutes,
        )
    print(table(row for row in results.current() if row["torch"] == arguments.torch))


if __name__ == "__main__":
    main()
