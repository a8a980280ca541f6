"""A run that was begun before its strategy had an option goes on as it began, also where the
option's default is something new.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cellsearch import strategies
from cellsearch.errors import RunError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import Experiment
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import Row, final_table, small_experiment

BEFORE = {"grow": 0.0, "sift": False}
"""What the genetic search did before it had these options."""
CHANGED = {"sift": False}
"""Of it, what is no default today."""


def experiment(trials: int, **options: object) -> Experiment:
    strategy = strategies.create("genetic", {"initial": 2, **options})
    return small_experiment(strategy, space_name="tanh_start", trials=trials, lookahead=1)


def search(folder: Path, declared: Experiment) -> tuple[list[Row], Experiment]:
    with Search.open(folder, declared) as one:
        one.run(InProcess(evaluation=EVALUATION))
        return final_table(one.history), one.experiment


def forget(folder: Path) -> None:
    """Make the run look as if it was begun before there were the options."""
    with Store.open(folder) as store:
        lines = store.experiment.splitlines(keepends=True)
        kept = [line for line in lines if line.partition(" = ")[0] not in BEFORE]
        assert len(kept) == len(lines) - len(BEFORE)
        store.describe("".join(kept))


def test_what_was_done_before_is_no_default_any_more() -> None:
    said = {name: dict(strategies.get(name).before) for name in strategies.names()}
    found = {name: before for name, before in said.items() if before}
    assert found == {"genetic": CHANGED, "prune": {"memories": "never"}}
    for name, before in found.items():
        usual = strategies.options(name)
        assert all(usual[option] != value for option, value in before.items())
    assert strategies.options("genetic")["grow"] == BEFORE["grow"]


def test_an_old_run_goes_on_as_it_began(tmp_path: Path) -> None:
    expected, _ = search(tmp_path / "whole", experiment(24, **BEFORE))
    search(tmp_path / "part", experiment(8, **BEFORE))
    forget(tmp_path / "part")
    found, meant = search(tmp_path / "part", experiment(24))  # as the file says it today
    assert found == expected
    assert {option: getattr(meant.strategy, option) for option in BEFORE} == BEFORE
    assert search(tmp_path / "new", experiment(24))[0] != expected
    again, _ = search(tmp_path / "part", replace(meant, trials=26))
    assert again[:24] == expected


def test_an_old_run_refuses_another_value(tmp_path: Path) -> None:
    search(tmp_path, experiment(6, **BEFORE))
    forget(tmp_path)
    with pytest.raises(RunError, match=r"strategy_options.grow was 0.0, is 0.25"):
        Search.open(tmp_path, experiment(6, grow=0.25))


def test_a_new_run_means_what_it_says(tmp_path: Path) -> None:
    first, _ = search(tmp_path, experiment(8))
    again, meant = search(tmp_path, experiment(12))
    assert again[:8] == first
    assert meant.strategy == experiment(12).strategy
    with pytest.raises(RunError, match=r"strategy_options.sift was True, is False"):
        Search.open(tmp_path, experiment(12, sift=False))
