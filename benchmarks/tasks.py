"""LSTM, GRU and tanh RNN on every task: validation, test, time, beside what is known.

Usage: python benchmarks/tasks.py [--tasks NAME ...] [--cells NAME ...] [--seeds N ...] [--torch] [--out FILE]

Every cell of a task is trained with the same settings (``SETTINGS``), with one thread. Test data is read once, with the weights that
validation chose. ``--torch`` trains ``torch.nn.LSTM``, ``GRU`` and ``RNN`` in the same way instead of the compiled zoo cells: an
independent check of the compiler. Results are appended to ``--out`` as JSON lines; ``--table`` prints the table of a file of results.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest import mock

from torch import nn

from cellsearch import evaluate as evaluation
from cellsearch import tasks, zoo
from cellsearch.errors import TrainingError
from cellsearch.job import Job, Training
from cellsearch.tasks.base import CellFactory

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN}

# Task -> training. Sizes and numbers of epochs are near those of the reference results in the tasks' docstrings.
SETTINGS: dict[str, dict[str, Any]] = {
    "char_lm": {"steps": 1500, "hidden_size": 64, "tbptt": 32, "learning_rate": 8e-3},
    "time_machine": {"steps": 1080, "hidden_size": 64, "tbptt": 32, "learning_rate": 5e-3},
    "tiny_shakespeare": {"steps": 1850, "hidden_size": 128, "tbptt": 64, "learning_rate": 4e-3},
    "adding": {"steps": 2000, "hidden_size": 64, "learning_rate": 3e-3},
    "copy": {"steps": 2000, "hidden_size": 64, "learning_rate": 3e-3},
    "parity": {"steps": 3000, "hidden_size": 32, "learning_rate": 5e-3},
    "modular_sum": {"steps": 4000, "hidden_size": 32, "learning_rate": 5e-3},
    "selective_copy": {"steps": 3000, "hidden_size": 64, "learning_rate": 3e-3},
    "associative_recall": {"steps": 2000, "hidden_size": 64, "learning_rate": 3e-3},
    "dyck1": {"steps": 1000, "hidden_size": 16, "learning_rate": 5e-3},
    "dyck2": {"steps": 2000, "hidden_size": 32, "learning_rate": 5e-3},
    "anbncn": {"steps": 2000, "hidden_size": 16, "learning_rate": 5e-3},
    "japanese_vowels": {"steps": 400, "hidden_size": 32, "learning_rate": 5e-3},
    "spoken_digits": {"steps": 1100, "hidden_size": 64, "learning_rate": 3e-3},
    "pen_digits": {"steps": 2000, "hidden_size": 32, "batch_size": 64, "learning_rate": 5e-3},
    "mnist1d": {"steps": 3300, "hidden_size": 64, "batch_size": 64, "learning_rate": 2e-3},
    "sentiment": {"steps": 300, "hidden_size": 32, "learning_rate": 4e-3, "dropout": 0.3},
    "sunspots": {"steps": 600, "hidden_size": 16, "learning_rate": 4e-3},
    "etth1": {"steps": 600, "hidden_size": 48, "learning_rate": 2e-3},
    "translation": {"steps": 1000, "hidden_size": 128, "learning_rate": 3e-3, "dropout": 0.2},
    "jsb": {"steps": 1150, "hidden_size": 128, "learning_rate": 4e-3, "dropout": 0.2},
}
EVALUATIONS = 8
CELLS = ("lstm", "gru", "rnn_tanh")
# Test metric that is known from elsewhere, in the order of CELLS: docstrings of the tasks say from where and under which budget.
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


def run(task: str, cell: str, seed: int, arrays: tasks.Arrays) -> dict[str, Any]:
    """Train one cell once."""
    training = Training(**{"evaluations": EVALUATIONS, **SETTINGS[task]})
    job = Job(
        trial=0,
        rung=0,
        genome=zoo.load(cell).to_json(),
        task=task,
        task_options={},
        training=training,
        steps=training.steps,
        seed=seed,
        test=True,
    )
    row: dict[str, Any] = {"task": task, "cell": cell, "seed": seed, "training": asdict(training)}
    try:
        result = evaluation.evaluate(job, arrays)
    except TrainingError as error:
        return {**row, "failed": f"{error.kind}: {error}"}
    return {
        **row,
        "valid": result.metric,
        "test": result.metrics["test_metric"],
        "best_step": result.metrics["best_step"],
        "seconds": result.seconds,
        "parameters": result.parameters,
    }


def torch_factory(cell: str) -> Any:
    """Stands in for :func:`cellsearch.evaluate.cell_factory`: torch's own layers."""

    def factory(genome: object, training: Training) -> CellFactory:
        return CellFactory(
            lambda input_size: TORCH[cell](input_size, training.hidden_size), hidden_size=training.hidden_size, dropout=training.dropout
        )

    return factory


def table(paths: list[Path]) -> str:
    """Markdown: a row for each task and cell: mean and deviation over seeds, shortest time. Of results for one seed the last one counts."""
    groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = defaultdict(dict)
    for path in paths:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            groups[row["task"], row["cell"]][row["seed"]] = row
    lines = [
        "| task | metric | cell | weights | steps | s | seeds | validation | test | known (test) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (task, cell), by_seed in sorted(groups.items(), key=lambda item: (item[0][0], CELLS.index(item[0][1]))):
        rows = list(by_seed.values())
        good = [row for row in rows if "failed" not in row]
        if not good:
            lines.append(f"| {task} | | {cell} | | | | | failed | | |")
            continue
        spread = {key: [row[key] for row in good] for key in ("valid", "test")}
        shown = {key: f"{mean(v):.4g}" + (f" ± {stdev(v):.2g}" if len(v) > 1 else "") for key, v in spread.items()}
        known = KNOWN.get(task, ("",) * len(CELLS))[CELLS.index(cell)]
        lines.append(
            f"| {task} | {tasks.get(task).metric} | {cell} | {good[0]['parameters']:,} | {good[0]['training']['steps']} |"
            f" {min(row['seconds'] for row in good):.0f} | {len(good)} | {shown['valid']} | {shown['test']} | {known} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--torch", action="store_true", help="torch.nn's layers instead of compiled zoo cells")
    parser.add_argument("--out", type=Path, default=Path("runs/tasks.jsonl"))
    parser.add_argument("--table", type=Path, nargs="+", help="print the table of these files and end")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(arguments.table))
        return
    if DATA.is_dir():
        os.environ.setdefault("CELLSEARCH_DATA", str(DATA))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for task in arguments.tasks:
        arrays = tasks.get(task).load({})
        for cell in arguments.cells:
            for seed in arguments.seeds:
                if arguments.torch:
                    with mock.patch.object(evaluation, "cell_factory", torch_factory(cell)):
                        row = run(task, cell, seed, arrays)
                else:
                    row = run(task, cell, seed, arrays)
                print({key: value for key, value in row.items() if key != "training"}, flush=True)
                with open(arguments.out, "a", encoding="utf-8") as file:
                    file.write(json.dumps({**row, "torch": arguments.torch}) + "\n")


if __name__ == "__main__":
    main()
