"""Columns say of each trial what the trial says, and follow a store that is being written."""

from __future__ import annotations

import json
import math
from array import array
from pathlib import Path

import numpy as np
import pytest

from cellsearch.executors.in_process import InProcess
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.store.columns import FIELDS, RANKS, REASONED, STATUSES, Columns
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.trial import Status, Trial


def agrees(columns: Columns, trial: Trial) -> None:
    """A row of the columns is what the trial says; a duplicate has no results of its own."""
    row = dict(zip((name for name, _ in FIELDS), columns.row(trial.number), strict=True))
    assert STATUSES[row["status"]] == trial.status.value
    assert columns.origins[row["origin"]] == str(trial.proposal.origin)
    parents = [p for p in (row["parent"], row["other"]) if p >= 0]
    assert parents == list(trial.proposal.parents[:2])
    assert row["twin"] == (-1 if trial.duplicate_of is None else trial.duplicate_of)
    kind = columns.kinds[row["kind"]] if row["kind"] >= 0 else None
    assert kind == (trial.failure.kind if trial.failure else None)
    assert bool(row["flags"] & RANKS) == trial.ranks
    assert bool(row["flags"] & REASONED) == bool(trial.proposal.reason)
    if trial.duplicate_of is None and trial.result is not None:
        score = trial.score if math.isfinite(trial.score) else None
        assert row["score"] == score
        assert row["weights"] == trial.result.cell_parameters
        assert row["parameters"] == trial.result.parameters
        assert row["trainings"] == trial.trainings
        assert row["metric"] == trial.result.metric
        assert row["steps"] == trial.result.steps
        assert row["seconds"] == pytest.approx(
            sum(r.result.seconds for r in trial.rungs if r.result)
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search by halving whose evaluation does nothing."""
    folder = tmp_path_factory.mktemp("columns") / "run"
    experiment = small_experiment("genetic", trials=60, baselines=("lstm",))
    with (
        InProcess(evaluation=EVALUATION) as executor,
        Search.open(folder, experiment) as search,
    ):
        search.run(executor, arrays={"x": np.zeros(10)})
    return folder


def test_columns_agree_with_the_trials(run: Path) -> None:
    with Store.read(run) as store:
        columns = Columns()
        while columns.follow(store.lookup, most=7):
            pass
        history = store.history()
        assert len(columns) == len(history) == 60
        for trial in history:
            agrees(columns, trial)
        assert columns.follow(store.lookup) == []


def test_columns_follow_a_search(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    experiment = small_experiment("random", trials=30, baselines=())
    columns, seen = Columns(), set[int]()
    with (
        InProcess(evaluation=EVALUATION) as executor,
        Search.open(folder, experiment) as search,
        Store.read(folder) as store,
    ):

        def look(event: object) -> None:
            seen.update(columns.follow(store.lookup))

        search.run(executor, look, arrays={"x": np.zeros(10)})
        look(None)
        for trial in store.history():
            agrees(columns, trial)
        assert seen == set(range(len(columns)))
        assert {STATUSES[s] for s in columns.arrays["status"]} <= {
            Status.COMPLETED,
            Status.FAILED,
            Status.DUPLICATE,
        }


def test_packed_columns_can_be_read_without_copying(run: Path) -> None:
    with Store.read(run) as store:
        columns = Columns()
        while columns.follow(store.lookup):
            pass
    packed = columns.pack()
    size = int.from_bytes(packed[:8], "little")
    header = json.loads(packed[8 : 8 + size])
    place = 8 + size
    for name, code in header["fields"]:
        found = array(code)
        assert place % found.itemsize == 0, name
        found.frombytes(packed[place : place + found.itemsize * header["count"]])
        place += found.itemsize * header["count"]
        assert found.tobytes() == columns.arrays[name].tobytes(), name
    assert place == len(packed)
