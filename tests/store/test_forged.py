"""Stores whose seals are right and whose rows are not: whoever forges one can forge both."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from cellsearch import schedules
from cellsearch.errors import CellsearchError, InputFileError
from cellsearch.executors.in_process import InProcess
from cellsearch.runs import open_run
from cellsearch.search import Search
from cellsearch.store.database import FILE_NAME
from cellsearch.store.seals import reseal
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment

EXPERIMENT = small_experiment(
    trials=6, schedule=schedules.create("halving", {}), deterministic=True
)

REFERENCES = (
    "UPDATE decisions SET trial = 999 WHERE position = 2",
    "UPDATE parents SET parent = 999",
    "UPDATE rungs SET trial = 999 WHERE trial = 3",
    "UPDATE trials SET inherit = 999 WHERE number = 3",
    "UPDATE curves SET rung = 99 WHERE trial = 3",
    "UPDATE metrics SET trial = 999 WHERE trial = 3 AND rung = 0",
    "INSERT INTO duplicates (trial, attempt, duplicate_of) VALUES (2, 0, 999)",
    "UPDATE trials SET duplicate_of = 999, status = 'duplicate' WHERE number = 3",
)
ODD = (
    "DELETE FROM decisions",
    "DELETE FROM decisions WHERE trial = 3",
    "DELETE FROM rungs WHERE trial = 3",
    "UPDATE trials SET status = 'running'",
    "UPDATE trials SET status = 'waiting'; DELETE FROM decisions",
    "UPDATE trials SET status = 'completed'",
    "UPDATE trials SET origin = 'baseline:' WHERE number = 4",
    "UPDATE trials SET origin = 'baseline:nothing' WHERE number = 4",
    "UPDATE trials SET genome = '{}' WHERE number = 3",
    "UPDATE trials SET genome = '[[[[' WHERE number = 3",
    "UPDATE trials SET key = '', cell_key = ''  WHERE number = 3",
    "UPDATE trials SET standing = -1e308 WHERE number = 3",
    "UPDATE trials SET seed = -5",
    "UPDATE rungs SET granted = -1",
    "UPDATE rungs SET granted = 9000000000000000000",
    "UPDATE rungs SET score = 9e999, metric = 9e999",
    "UPDATE rungs SET score = NULL",
    "UPDATE rungs SET steps = -1, seconds = -1",
    "UPDATE rungs SET checkpoint = '/etc/passwd' WHERE trial = 3",
    "UPDATE rungs SET checkpoint = '../../outside' WHERE trial = 3",
    "UPDATE rungs SET ended = NULL",
    "UPDATE decisions SET horizon = 999",
    "UPDATE decisions SET horizon = -7",
    "UPDATE decisions SET rung = 7 WHERE position = 3",
    "UPDATE run SET value = '' WHERE name = 'experiment'",
    "UPDATE run SET value = '[[[[' WHERE name = 'experiment'",
    "UPDATE run SET value = 'x = ' || '9999999999999999999999' WHERE name = 'experiment'",
    "UPDATE environments SET fingerprint = '[]'",
    "UPDATE environments SET fingerprint = '[[[['",
    "UPDATE events SET kind = char(27) || '[2J'",
    "UPDATE trials SET failure_kind = char(27), failure_message = char(27), status = 'failed'",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged") / "run"
    with Search.open(folder, EXPERIMENT) as search, InProcess(evaluation=EVALUATION) as executor:
        search.run(executor, arrays={})
    return folder


def forge(run: Path, folder: Path, change: str) -> Path:
    """A copy of the run with something changed and everything sealed again."""
    here = Path(shutil.copytree(run, folder / "run"))
    connection = sqlite3.connect(here / FILE_NAME, isolation_level=None)
    connection.executescript(change)
    reseal(connection, "")
    connection.close()
    return here


@pytest.mark.parametrize("change", REFERENCES)
def test_a_row_that_names_one_that_is_not_there(change: str, run: Path, tmp_path: Path) -> None:
    here = forge(run, tmp_path, change)
    with pytest.raises(InputFileError, match=r"damaged: .* is not there"):
        open_run(here).report()
    with pytest.raises(InputFileError, match=r"damaged: .* is not there"):
        Search.open(here, EXPERIMENT)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("change", [*ODD, *REFERENCES])
def test_odd_rows_are_errors_or_read(
    change: str, large: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never an error that is not declared, neither where all is checked nor where what is read
    is.
    """
    if large:
        monkeypatch.setattr("cellsearch.store.database._SMALL", 0)
    here = forge(run, tmp_path, change)

    def resume() -> None:
        with Search.open(here, EXPERIMENT) as search:
            search.run(InProcess(evaluation=EVALUATION), arrays={})

    def look() -> None:
        found = open_run(here)
        found.report()
        found.trials.to_rows()
        found.best()

    for do in (look, resume, look):
        with suppress(CellsearchError):  # any other error fails the test
            do()
