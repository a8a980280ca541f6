"""Trainings that several benchmarks share: settings of every task, one training, and a file of
results that can be gone on with.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any
from unittest import mock

from torch import nn

from cellsearch import tasks, zoo
from cellsearch.errors import TrainingError
from cellsearch.job import Job, Limits, Training
from cellsearch.tasks.base import CellFactory
from cellsearch.training import loop as evaluation

Row = dict[str, Any]
DATA = Path(__file__).parent.parent.parent / "shared" / "data"
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN}

# Task -> training. Sizes and numbers of epochs are near those of the reference results in the
# tasks' docstrings.
SETTINGS: dict[str, dict[str, Any]] = {
    "char_lm": {"steps": 1500, "hidden_size": 64, "tbptt": 32, "learning_rate": 8e-3},
    "time_machine": {"steps": 1080, "hidden_size": 64, "tbptt": 32, "learning_rate": 5e-3},
    "tiny_shakespeare": {"steps": 1400, "hidden_size": 128, "tbptt": 64, "learning_rate": 4e-3},
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
    "pixels": {"steps": 1500, "hidden_size": 64, "batch_size": 64, "learning_rate": 3e-3},
    "sentiment": {"steps": 300, "hidden_size": 32, "learning_rate": 4e-3, "dropout": 0.3},
    "sunspots": {"steps": 600, "hidden_size": 16, "learning_rate": 4e-3},
    "etth1": {"steps": 600, "hidden_size": 48, "learning_rate": 2e-3},
    "online_drift": {"steps": 500, "hidden_size": 32, "learning_rate": 5e-3},
    "word_lm": {
        "steps": 400,
        "hidden_size": 128,
        "learning_rate": 4e-3,
        "dropout": 0.2,
        "evaluations": 3,
    },
    "translation": {"steps": 1000, "hidden_size": 128, "learning_rate": 3e-3, "dropout": 0.2},
    "jsb": {"steps": 1150, "hidden_size": 128, "learning_rate": 4e-3, "dropout": 0.2},
}
EVALUATIONS = 8
LIMIT = 900.0
"""Seconds after which a training is given up; generous, as the machine may be busy. The settings
are for at most 30 s on a free core.
"""
CELLS = ("lstm", "gru", "rnn_tanh")
OPTIONS: dict[str, dict[str, Any]] = {"word_lm": {"softmax": "adaptive"}}


def settings(task: str) -> dict[str, Any]:
    """All that the results of a task depend on, cell and seed apart."""
    work = job(task, "lstm", 0)
    return {"options": dict(work.task_options), "training": asdict(work.training)}


def find_data() -> None:
    """Take the data beside the checkout, unless the environment names others."""
    if DATA.is_dir():
        os.environ.setdefault("CELLSEARCH_DATA", str(DATA))


@cache
def load(task: str) -> tasks.Arrays:
    """The data of a task."""
    find_data()
    return tasks.get(task).load(OPTIONS.get(task, {}))


def job(task: str, cell: str, seed: int) -> Job:
    """One training of a zoo cell with the task's settings."""
    training = Training(**{"evaluations": EVALUATIONS, **SETTINGS[task]})
    return Job(
        trial=0,
        rung=0,
        genome=zoo.load(cell).to_json(),
        task=task,
        task_options=OPTIONS.get(task, {}),
        training=training,
        steps=training.steps,
        seed=seed,
        limits=Limits(seconds=LIMIT),
        test=True,
    )


def run(task: str, cell: str, seed: int, plain_torch: bool = False) -> dict[str, Any]:
    """Train one cell once; what came out, as plain data. ``seconds`` are those of the core, so
    other work on the machine hardly counts.
    """
    work = job(task, cell, seed)
    row: dict[str, Any] = {
        "task": task,
        "cell": cell,
        "seed": seed,
        "torch": plain_torch,
        "settings": settings(task),
    }
    factory = torch_factory(cell) if plain_torch else evaluation.cell_factory
    data = load(task)
    started = time.process_time()
    try:
        with mock.patch.object(evaluation, "cell_factory", factory):
            result = evaluation.evaluate(work, data)
    except TrainingError as error:
        return {**row, "failed": f"{error.kind}: {error}"}
    return {
        **row,
        "score": result.score,
        "valid": result.metric,
        "test": result.metrics["test_metric"],
        "test_score": result.metrics["test_score"],
        "best_step": result.metrics["best_step"],
        "seconds": time.process_time() - started,
        "parameters": result.parameters,
    }


def reached(work: Job, data: tasks.Arrays) -> Row:
    """One training: its score and test score, or what failed; ``seconds`` are those of the core."""
    started = time.process_time()
    try:
        result = evaluation.evaluate(work, data)
        row = {"score": result.score, "test": result.metrics.get("test_score")}
    except TrainingError as error:
        row = {"failed": error.kind}
    return {**row, "seconds": time.process_time() - started}


def torch_factory(cell: str) -> Any:
    """Stands in for :func:`cellsearch.training.model.cell_factory`: torch's own layers."""

    def factory(genome: object, training: Training) -> CellFactory:
        return CellFactory(
            lambda input_size: TORCH[cell](input_size, training.hidden_size),
            hidden_size=training.hidden_size,
            dropout=training.dropout,
        )

    return factory


class Results:
    """A file of JSON lines, one a finished training. Rows of other settings than the present ones
    do not count.

    Nor do trainings that ran out of time: they say more of the machine than of the cell. A line
    that was cut off when the process was killed is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        if path.exists():
            text = path.read_text("utf-8")
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                path.write_text(whole, "utf-8")
            self.rows = [json.loads(line) for line in whole.splitlines()]

    def current(self) -> Iterator[Row]:
        """The rows that count, the last one of each training."""
        found: dict[tuple[Any, ...], Row] = {}
        for row in self.rows:
            if row.get("failed", "").startswith("timeout"):
                continue
            if row["task"] in SETTINGS and row.get("settings") == json.loads(
                json.dumps(settings(row["task"]))
            ):
                found[row["task"], row["cell"], row["seed"], row["torch"]] = row
        yield from found.values()

    def add(self, row: Row) -> None:
        """Append a row, and see to it that it is on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)


def expected(rows: Iterable[Row], wanted: Iterable[tuple[str, str, int, bool]]) -> str:
    """How long the wanted trainings will take by the rows that are there: of the same cell, else of
    the task's other cells.
    """
    known: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in rows:
        if "seconds" in row:
            known[row["task"], row["cell"]].append(row["seconds"])
            known[(row["task"],)].append(row["seconds"])
    count, seconds, unknown = 0, 0.0, set()
    for task, cell, _, _ in wanted:
        found = known.get((task, cell)) or known.get((task,))
        count += 1
        if found:
            seconds += mean(found)
        else:
            unknown.add(task)
    more = f"; unknown, so not counted: {', '.join(sorted(unknown))}" if unknown else ""
    return f"{count} trainings to do, about {seconds / 60:.0f} minutes of a free core{more}"


def go_on(results: Results, wanted: Iterable[tuple[str, str, int, bool]], minutes: float) -> None:
    """Run the trainings (task, cell, seed, torch) that are not there yet, in their order, starting
    none after ``minutes``.

    0 minutes only tells how long it would take.
    """
    rows = list(results.current())
    done = {(row["task"], row["cell"], row["seed"], row["torch"]) for row in rows}
    left = [training for training in wanted if training not in done]
    print(expected(rows, left), flush=True)
    end = time.monotonic() + 60 * minutes
    for task, cell, seed, plain_torch in left:
        if time.monotonic() >= end:
            print("the time is up; the same command goes on from here")
            return
        row = run(task, cell, seed, plain_torch)
        results.add(row)
        print({key: value for key, value in row.items() if key != "settings"}, flush=True)
