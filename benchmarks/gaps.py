"""LSTM, GRU, GRU with decay and CfC on tasks with uneven times, missing values and resets.

    nice python benchmarks/gaps.py [--tasks NAME ...] [--seeds 5] [--steps 600] [--out FILE]

Of each task all cells have about as many weights (the table says how many) and read the same
columns: of ``irregular`` the time, of the measured series the time and the mask are columns of x
too, for cells that do not read ``dt[t]`` and ``mask[t]``. The learning rate of each cell is the
better of two by validation with the first seed; then come the other seeds. Test data is read once a
training, with the weights that validation chose. Finished trainings are lines of ``--out``; the
same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trainings import find_data

from cellsearch import tasks, zoo
from cellsearch.errors import TrainingError
from cellsearch.finals import equal_sizes
from cellsearch.job import Job, Limits, Training
from cellsearch.training import evaluate

CELLS = ("gru", "lstm", "gru_dh", "cfc")
RATES = (4e-3, 1e-2)
TASKS: dict[str, tuple[dict[str, Any], int, int]] = {
    "irregular": ({"time_feature": True, "decay": 4.0, "spread": 1.5}, 32, 2),
    "episodes": ({}, 32, 32),
    "sunspots_gaps": ({"extra_columns": True}, 16, 3),
    "etth1_gaps": ({"extra_columns": True}, 32, 15),
}
"""Options, H of the GRU, and the width of x that its cell reads (an embedding is as wide as H)."""
TOLERANCE = 0.05
"""How far the weights of two cells may differ: their H are whole numbers."""


def sizes(task: str) -> dict[str, int]:
    """H of each cell, such that all have about as many weights."""
    _, hidden, width = TASKS[task]

    def count(name: str) -> Any:
        specs = zoo.load(name).parameters
        square = task == "episodes"
        return lambda h: sum(math.prod(s.sizes(h if square else width, h)) for s in specs)

    return equal_sizes({name: count(name) for name in CELLS}, "gru", hidden, TOLERANCE)


def train(task: str, cell: str, seed: int, rate: float, steps: int, data: Any) -> dict[str, Any]:
    """One training: validation and test metric, and the weights of the cell."""
    training = Training(steps=steps, hidden_size=sizes(task)[cell], learning_rate=rate)
    job = Job(
        trial=0,
        rung=0,
        genome=zoo.load(cell).to_json(),
        task=task,
        task_options=TASKS[task][0],
        training=training,
        steps=steps,
        seed=seed,
        limits=Limits(seconds=900.0),
        test=True,
    )
    row = {"task": task, "cell": cell, "seed": seed, "rate": rate, "steps": steps}
    try:
        result = evaluate(job, data)
    except TrainingError as error:
        return {**row, "failed": error.kind}
    return {
        **row,
        "score": result.score,
        "valid": result.metric,
        "test": result.metrics["test_metric"],
        "weights": result.parameters,
        "hidden": training.hidden_size,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean and deviation over the seeds at the better rate."""
    lines = [
        "| task | metric | cell | H | weights | rate | seeds | validation | test |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        for cell in CELLS:
            found = [r for r in rows if r["task"] == task and r["cell"] == cell and "test" in r]
            rate = best(found)
            found = [r for r in found if r["rate"] == rate]
            if not found:
                continue
            spread = {
                key: f"{mean(r[key] for r in found):.4g} ± "
                + (f"{stdev(r[key] for r in found):.2g}" if len(found) > 1 else "?")
                for key in ("valid", "test")
            }
            lines.append(
                f"| {task} | {tasks.get(task).metric} | {cell} | {found[0]['hidden']} "
                f"| {found[0]['weights']:,} | {rate:g} | {len(found)} | {spread['valid']} "
                f"| {spread['test']} |"
            )
    return "\n".join(lines)


def best(rows: list[dict[str, Any]]) -> float | None:
    """The rate with the better validation score of the first seed."""
    first = [(r["score"], r["rate"]) for r in rows if r["seed"] == 0]
    return min(first)[1] if first else None


def main() -> None:
    """Train what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("runs/gaps.jsonl"))
    given = parser.parse_args()
    find_data()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    text = given.out.read_text(encoding="utf-8") if given.out.exists() else ""
    rows = [r for r in map(json.loads, text.splitlines()) if r["steps"] == given.steps]
    known = {(r["task"], r["cell"], r["seed"], r["rate"]) for r in rows}
    for task in given.tasks:
        data = tasks.get(task).load(TASKS[task][0])
        for seed in range(given.seeds):
            for cell in CELLS:
                mine = [r for r in rows if (r["task"], r["cell"]) == (task, cell) and "score" in r]
                for rate in RATES if seed == 0 else (best(mine),):
                    if rate is None or (task, cell, seed, rate) in known:
                        continue
                    rows.append(train(task, cell, seed, rate, given.steps, data))
                    with given.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print(table([r for r in rows if r["task"] in given.tasks]))


if __name__ == "__main__":
    main()
