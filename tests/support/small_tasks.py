"""Every task in a small form, for grids over all of them: options that make it cheap, and data."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from cellsearch import tasks
from cellsearch.tasks.base import CellFactory, Task
from cellsearch.tasks.data import registry
from cellsearch.tasks.registry import TaskData

DATA = Path(os.environ.get("CELLSEARCH_DATA") or Path(__file__).parents[3] / "shared" / "data")

OPTIONS: dict[str, dict[str, Any]] = {
    "adding": {"length": 6, "evaluation_size": 40},
    "anbncn": {"max_n": 3, "valid_n": 3, "test_n": 5},
    "associative_recall": {"pairs": 1, "length": 3, "evaluation_size": 40},
    "char_lm": {"tbptt": 16, "valid_tokens": 512},
    "copy": {"delay": 1, "items": 2, "evaluation_size": 20},
    "dyck1": {"max_length": 8, "valid_lengths": [8, 12], "test_lengths": [8], "evaluation_size": 9},
    "dyck2": {"max_length": 8, "valid_lengths": [8, 12], "test_lengths": [8], "evaluation_size": 9},
    "etth1": {"history": 12, "horizon": 3},
    "etth1_gaps": {"history": 12, "horizon": 3},
    "mackey_glass": {"history": 12, "horizon": 2},
    "modular_sum": {"max_length": 3, "valid_lengths": [3, 5], "evaluation_size": 40},
    "online_drift": {"length": 96, "laws": 2, "taps": 2, "tbptt": 16},
    "parity": {"max_length": 3, "valid_lengths": [3, 5], "evaluation_size": 40},
    "pixels": {"pool": 7, "per_step": 4},
    "selective_copy": {"length": 4, "items": 1, "test_lengths": [4, 6], "evaluation_size": 40},
    "sunspots": {"history": 12, "horizon": 2},
    "sunspots_gaps": {"history": 12, "horizon": 2},
    "time_machine": {"tbptt": 16, "valid_tokens": 512},
    "tiny_shakespeare": {"tbptt": 16, "valid_tokens": 512},
    "word_lm": {"max_words": 200, "valid_tokens": 512, "tbptt": 16},
}
OWN = ("arrays", "distil", "table", "table_labels")
"""Tasks over data of the user's own."""
GENERATED = sorted(
    name for name in tasks.names() if not tasks.get(name).dataset and name not in OWN
)
"""Tasks that need no data set; the grid of the default suite."""


def labelled() -> TaskData:
    """Sequences of different lengths with labels that are words."""
    rng = np.random.default_rng(0)
    x = [rng.normal([1e6, -3], [1e3, 0.1], (rng.integers(2, 7), 2)) for _ in range(60)]
    y = ["rising" if s[-1, 0] > s[0, 0] else "falling, or so" for s in x]
    return tasks.from_arrays(
        x, y, names=["pressure", "tilt"], units=["Pa", ""], batch_size=8, readout="mean"
    )


def measured() -> TaskData:
    """Two steps of two targets from three features, far from 0."""
    rng = np.random.default_rng(1)
    x = rng.normal([20, 1013, 0.5], [5, 8, 0.1], (80, 6, 3))
    y = np.stack([x[:, -1, 0] + 1, x[:, -1, 1], x[:, -1, 0] + 2, x[:, -2, 1]], axis=1)
    return tasks.from_arrays(
        x,
        y,
        kind="regression",
        names=["t", "p", "h"],
        units=["°C", "hPa", ""],
        target_names=["t", "p"],
        target_units=["°C", "hPa"],
        horizon=2,
    )


def every() -> TaskData:
    """A number at each position of sequences of different lengths."""
    rng = np.random.default_rng(2)
    x = [rng.normal(5, 2, int(rng.integers(3, 8))) for _ in range(50)]
    return tasks.from_arrays(x, [np.cumsum(s) for s in x], kind="regression", readout="every")


def numbered() -> TaskData:
    """Tokens, and labels that are whole numbers from 3 on."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 7, (60, 5))
    return tasks.from_arrays(x, x.sum(1) % 2 + 3)


@cache
def tabled() -> TaskData:
    """Three hours of one column of a table with gaps, two of whose columns are read."""
    rng = np.random.default_rng(4)
    v, w = 20 + 5 * np.sin(np.arange(300) / 2) + rng.normal(size=(2, 300))
    rows = [
        f"{k},{a:.4f},{'' if k % 9 == 4 else f'{b:.4f}'}"
        for k, (a, b) in enumerate(zip(v, w, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_text("\n".join(["hour,v,w", *rows]), encoding="utf-8")
        options = {"path": str(path), "predict": ["v"], "horizon": 3, "window": 12}
        return TaskData("table", options, tasks.get("table").load(options))


@cache
def grouped() -> TaskData:
    """Groups of rows of a table, each with its label; one column has gaps."""
    rng = np.random.default_rng(6)
    rows = []
    for group in range(40):
        label = ("calm", "wild, or so")[group % 2]
        for k, value in enumerate(rng.normal(50, 1 + 9 * (group % 2), 6)):
            gap = "" if k == 3 else f"{value / 2:.3f}"
            rows.append(f'g{group},{value:.3f},{gap},"{label}"')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "groups.csv"
        path.write_text("\n".join(["series,v,w,mood", *rows]), encoding="utf-8")
        options = {"path": str(path), "predict": ["mood"], "group": "series"}
        return TaskData("table_labels", options, tasks.get("table_labels").load(options))


def taught(loss: Literal["mse", "kl"]) -> TaskData:
    """What a teacher says of sequences far from 0."""
    import torch

    torch.manual_seed(5)
    x = np.random.default_rng(5).normal(20, 5, (50, 6, 3))
    return tasks.from_teacher(torch.nn.GRU(3, 4), x, loss=loss)


ARRAYS: dict[str, Callable[[], TaskData]] = {
    "arrays: labels": labelled,
    "arrays: values": measured,
    "arrays: every": every,
    "arrays: tokens": numbered,
    "distil": partial(taught, "mse"),
    "distil: classes": partial(taught, "kl"),
    "table": tabled,
    "table_labels": grouped,
}
NO_INTERFACE = {"translation", "mad_compression"}
"""Tasks whose models are no layer with a readout."""
QUICK = [*ARRAYS, *(name for name in GENERATED if name not in NO_INTERFACE)]
NEED_DATA = sorted(set(tasks.names()) - {*OWN, *GENERATED, *NO_INTERFACE})
"""Tasks with a data set."""


def small_data(name: str) -> TaskData:
    """A task by the name in these lists. Skips the test if its data are not there."""
    if name in ARRAYS:
        return ARRAYS[name]()
    kind, options = tasks.get(name), OPTIONS.get(name, {})
    if kind.dataset:
        if not DATA.is_dir():
            pytest.skip(f"no data sets in {DATA}: set CELLSEARCH_DATA")
        os.environ["CELLSEARCH_DATA"] = str(DATA)
        missing = registry.available(kind.dataset)
        if missing:
            pytest.skip(missing)
    return TaskData(name, options, kind.load(options))


def small_task(name: str) -> Task:
    """The task over these data."""
    return small_data(name).create()


def factory(hidden_size: int = 5, *, directions: int = 1) -> CellFactory:
    """Layers of torch's own LSTM."""
    import torch

    return CellFactory(
        lambda width: torch.nn.LSTM(width, hidden_size, bidirectional=directions == 2),
        hidden_size=hidden_size,
        directions=directions,
    )


def trained(
    name: str, path: Path, *, cell: str = "gru", steps: int = 3, **training: Any
) -> tuple[Any, Any]:
    """A model of the task that was trained a little, its checkpoint at ``path``: the job and its
    result.
    """
    from cellsearch import zoo
    from cellsearch.job import Job, Training
    from cellsearch.training import evaluate

    data = small_data(name)
    job = Job(
        trial=0,
        rung=0,
        genome=zoo.load(cell).to_json(),
        task=data.name,
        task_options=data.options,
        training=Training(**{"hidden_size": 5, "evaluations": 1, **training}),
        steps=steps,
        seed=1,
        checkpoint=str(path),
    )
    return job, evaluate(job, data.arrays)


def raw_sequences(task: Task, split: str = "valid") -> tuple[list[Any], list[Any]]:
    """Inputs of a split as a user has them (raw values, token numbers) and what the model reads of
    them, each ``[T, ...]``, of every batch one after another.
    """
    inputs = task.interface().inputs
    raw, read = [], []
    for batch in task.batches(split, 0):  # type: ignore[arg-type]
        for column in range(batch.x.shape[1]):
            length = len(batch.x) if batch.lengths is None else int(batch.lengths[column])
            given = batch.x[:length, column].numpy()
            read.append(given)
            raw.append(given if not hasattr(inputs, "mean") else unscaled(given, inputs))
    return raw, read


def unscaled(values: Any, inputs: Any) -> Any:
    """Raw values of what a model reads; windows of a forecast end where the training mean is."""
    return values.astype(np.float64) * inputs.scale + inputs.mean
