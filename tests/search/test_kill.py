"""Kill -9 of real processes. benchmarks/kill.py does it; here a few kills, and that its checks see
what they are for.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from cellsearch import zoo
from cellsearch.history import History
from cellsearch.trial import Budget, Failure, Proposal, Result, Rung, Status, Trial

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill.py"


def kill_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_kill", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(*arguments: str) -> list[dict[str, int]]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, int]] = json.loads(done.stdout)
    return rows


def check(rows: list[dict[str, int]], driver: int, workers: int) -> None:
    assert [(row["killed"], row["kills"]) for row in rows] == [
        ("driver", driver),
        ("workers", workers),
    ]
    for row in rows:
        assert (row["lost"], row["twice"], row["running"], row["differing"]) == (0, 0, 0, 0), row


def test_one_kill_of_each_kind() -> None:
    check(run_script("--driver", "1", "--workers", "1", "--trials", "40", "--sleep", "0.15"), 1, 1)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_many_kills() -> None:
    check(run_script("--driver", "6", "--workers", "8", "--trials", "200", "--seed", "1"), 6, 8)


def trial(
    number: int, score: float | None, cell: str = "lstm", failure: Failure | None = None
) -> Trial:
    result = None if score is None else Result(score, score, 9, 0.0, 1, 1)
    status = Status.FAILED if failure else Status.RUNNING if result is None else Status.COMPLETED
    return Trial(
        number,
        Proposal(zoo.load(cell), origin=f"{number}"),
        status,
        (Rung(Budget(9), result),),
        failure,
    )


def test_the_checks_see_what_is_lost_or_done_twice() -> None:
    checks = kill_module().Checks
    before = History([trial(0, 0.5), trial(1, None, "gru")])
    good = History([trial(0, 0.5), trial(1, 0.7, "gru")])

    fine = checks()
    fine.between(before, good, Counter({(1, 0): 1}))
    fine.at_end(good, 2)
    assert (fine.lost, fine.twice) == (0, 0)

    for after in (
        History([trial(0, 0.6), trial(1, 0.7, "gru")]),
        History([trial(1, 0.7, "gru")]),
        History(),
    ):
        changed = checks()
        changed.between(before, after, Counter())
        assert changed.lost == 1

    again = checks()
    again.between(before, good, Counter({(0, 0): 2, (1, 0): 1}))
    assert again.twice == 2

    unfinished = checks()
    unfinished.at_end(before, 2)
    assert unfinished.lost == 1
    unfinished.at_end(good, 3)
    assert unfinished.lost == 2

    same_cell = checks()
    same_cell.at_end(History([trial(0, 0.5), trial(1, 0.7)]), 2)
    assert same_cell.twice == 1
