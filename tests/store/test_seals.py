"""Damage to a store is seen, wherever a bit has changed."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from store.test_store import add, result

import cellsearch as cs
from cellsearch import schedules
from cellsearch.errors import CellsearchError, InputFileError
from cellsearch.executors.in_process import InProcess
from cellsearch.job import Outcome
from cellsearch.search import Search
from cellsearch.store import Duplicate, Store
from cellsearch.store.database import FILE_NAME
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.trial import Status

FLIPS = 1000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has something in every table."""
    folder = tmp_path_factory.mktemp("seals") / "run"
    experiment = small_experiment(trials=20, schedule=schedules.create("halving", {}))
    with Search.open(folder, experiment) as search, InProcess(evaluation=EVALUATION) as executor:
        search.run(executor)
        count = len(search.history)
    with Store.open(folder) as store:
        store.add_event("stopped", "by a test")
        add(store, count, duplicates=(Duplicate(count, 0, 1),), attempt=1)
        store.add_outcome(Outcome(count, 0, result()), Status.COMPLETED)
    return folder


def everything(folder: Path) -> str:
    """All that a store answers; as text, in which NaN equals NaN."""
    with Store.read(folder) as store:
        history = store.history()
        return ascii(
            (
                # genomes, which take most of the time to read, of some only
                [(t.number, t.key, t.rungs, t.status, t.failure, t.duplicate_of) for t in history],
                [(*t.proposal.parents, t.proposal.origin, t.proposal.inherit) for t in history],
                [store.trial(number) for number in (0, 7, len(history) - 1)],
                store.experiment,
                store.created,
                store.decisions(),
                store.duplicates(),
                store.timings(),
                store.inherited(),
                store.keys(),
                store.seeds(),
                store.environments(),
                store.events(),
            )
        )


def test_every_table_has_rows(run: Path) -> None:
    connection = sqlite3.connect(run / FILE_NAME)
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    assert len(tables) >= 12
    assert all(connection.execute(f"SELECT 1 FROM {name}").fetchone() for (name,) in tables)
    connection.close()


@pytest.mark.parametrize("small", [True, False])
def test_no_flipped_bit_gives_another_table(
    small: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is an error that says where, or changes nothing that is read, whether the store is
    checked as a whole or as it is read.
    """
    if not small:
        monkeypatch.setattr("cellsearch.store.database._SMALL", 0)
    whole = everything(run)
    data = (run / FILE_NAME).read_bytes()
    draw = np.random.default_rng(small)
    file = tmp_path / FILE_NAME
    silent, codes, found, named = [], set(), 0, 0
    for bit in draw.choice(8 * len(data), FLIPS // 2, replace=False):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(changed)
        try:
            read = everything(tmp_path)
        except CellsearchError as error:
            found += 1
            named += "trial" in str(error.where) or ", " in str(error.where)
            codes.add(error.exit_code)
        else:
            if read != whole:
                silent.append(int(bit))
    assert silent == []
    assert codes <= {3, 4}
    assert found > FLIPS // 8
    assert named > found // 2


TABLES = (
    *("run", "environments", "trials", "parents", "decisions", "rungs"),
    *("curves", "metrics", "connections", "duplicates", "events"),
)
CHANGES = {
    "gone": "DELETE FROM {table} WHERE {key} = (SELECT max({key}) FROM {table})",
    "all gone": "DELETE FROM {table}",
    "another's": "UPDATE {table} SET {key} = '9999' WHERE {key} = (SELECT max({key}) FROM {table})",
    "changed": "UPDATE {table} SET {last} = {last} || '1'",
    "unsealed": "DELETE FROM seals WHERE part = '{table}'",
}
"""What somebody may do to a table who does not know of seals."""


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_table_is_seen_and_named(
    change: str, table: str, run: Path, tmp_path: Path
) -> None:
    shutil.copy(run / FILE_NAME, tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    key = next(column[1] for column in columns if column[5] == 1)
    last = "failure_message" if table == "trials" else columns[-1][1]
    if change == "changed":
        connection.execute(f"UPDATE {table} SET {last} = 0 WHERE {last} IS NULL")
    connection.execute(CHANGES[change].format(table=table, key=key, last=last))
    connection.commit()
    connection.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(InputFileError, match=f"{table}, ") as caught:
        everything(tmp_path)
    assert "damaged" in str(caught.value)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_rows_that_changed_places_are_seen(run: Path, tmp_path: Path) -> None:
    """Each value is one that was written, and stands in a row that is there."""
    shutil.copy(run / FILE_NAME, tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    scores = dict(connection.execute("SELECT trial, score FROM rungs WHERE rung = 0").fetchall())
    for trial, other in ((0, 1), (1, 0)):
        connection.execute(
            "UPDATE rungs SET score = ? WHERE trial = ? AND rung = 0", (scores[other], trial)
        )
    connection.commit()
    connection.close()
    with pytest.raises(InputFileError, match="rungs, trial 0"):
        everything(tmp_path)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_store_that_forgot_its_version_is_not_read_unchecked(
    version: int, run: Path, tmp_path: Path
) -> None:
    shutil.copy(run / FILE_NAME, tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    for attempt in (Store.read, Store.open):
        with pytest.raises(InputFileError):
            attempt(tmp_path)


def test_a_damaged_store_is_not_gone_on_with(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the writer does to a damaged row of a large store does not heal its seal."""
    shutil.copy(run / FILE_NAME, tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("UPDATE trials SET origin = 'mutate:op' WHERE number = 3")
    connection.commit()
    connection.close()
    with pytest.raises(InputFileError, match="trials, trial 3"):
        Store.open(tmp_path)
    monkeypatch.setattr("cellsearch.store.database._SMALL", 0)
    with Store.open(tmp_path) as store:
        store.stop(3)
        store.requeue()
        with pytest.raises(InputFileError, match="trials, trial 3"):
            store.history()


@pytest.mark.parametrize("text", ["", "a = 1", 'name = "a"\ntask = 3', "name = ["])
def test_a_run_without_its_experiment_is_a_declared_error(text: str, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.describe(text)
    with pytest.raises(CellsearchError) as caught:
        cs.open_run(tmp_path).report()
    assert caught.value.exit_code in (2, 3, 4)


def test_a_row_that_is_replaced_is_sealed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.describe("a")
        with store._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO run VALUES ('experiment', 'b')")
            connection.execute("UPDATE run SET name = 'other' WHERE name = 'created'")
        assert store.experiment == "b"
        assert store.created == 0
