"""Warm start and allowances: enqueued cells, imported runs, searches that end when time or steps
are used up and go on with more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellsearch import schedules, zoo
from cellsearch.errors import ConfigError, RunError, SpaceError
from cellsearch.executors.in_process import InProcess
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.job import Allowance, Prefilter, Training
from cellsearch.search import Search
from cellsearch.search.allowance import steps_granted
from cellsearch.store import Store
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import Disordered, differing_rows, final_table, small_experiment
from cellsearch.testing.strategies import space
from cellsearch.trial import Status

MGU = zoo.load("mgu")
OWN = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1])) * sigmoid(linear(x[t]))")


def run(folder: Path, **changes: Any) -> History:
    with Search.open(folder, small_experiment(**changes)) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        return search.history


# -- enqueue ---------------------------------------------------------------------------------------


def test_enqueued_cells_come_right_after_the_baselines(tmp_path: Path) -> None:
    with Search.open(tmp_path / "a", small_experiment(trials=8)) as search:
        first, second = search.enqueue(MGU), search.enqueue(OWN)
        assert search.enqueue(MGU).number == first.number
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        history = search.history
    assert [str(t.proposal.origin) for t in history][:4] == [
        "baseline:lstm",
        "baseline:gru",
        "enqueued",
        "enqueued",
    ]
    assert (first.number, second.number) == (2, 3)
    assert history[2].genome.key == MGU.key
    assert len(history) == 8
    assert all(t.status is Status.COMPLETED for t in history)


def test_an_enqueued_cell_of_a_finished_run_comes_on_top(tmp_path: Path) -> None:
    run(tmp_path / "a", trials=4)
    with Search.open(tmp_path / "a", small_experiment(trials=4)) as search:
        assert search.finished
        number = search.enqueue(OWN).number
        assert not search.finished
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        assert search.finished
        assert len(search.history) == 5
        assert search.history[number].result is not None


def test_an_enqueued_cell_survives_that_the_run_is_closed(tmp_path: Path) -> None:
    with Search.open(tmp_path / "a", small_experiment(trials=6, deterministic=True)) as search:
        search.enqueue(OWN)
    history = run(tmp_path / "a", trials=6, deterministic=True)
    assert [str(t.proposal.origin) for t in history][:3] == [
        "baseline:lstm",
        "baseline:gru",
        "enqueued",
    ]
    with Search.open(tmp_path / "b", small_experiment(trials=6, deterministic=True)) as search:
        search.enqueue(OWN)
        search.run(Disordered(4, seed=2))
        assert differing_rows(final_table(history), final_table(search.history)) == []


def test_a_cell_outside_the_space_is_refused(tmp_path: Path) -> None:
    with (
        Search.open(tmp_path / "a", small_experiment(space=space("tiny"), trials=3)) as search,
        pytest.raises(SpaceError, match="the enqueued cell is not in the space tiny"),
    ):
        search.enqueue(zoo.load("lstm"))


# -- import ----------------------------------------------------------------------------------------


def test_an_imported_run_is_history_that_is_not_trained_again(tmp_path: Path) -> None:
    before = run(tmp_path / "old", trials=10)
    with Search.open(tmp_path / "new", small_experiment(trials=10, seed=6)) as search:
        imported = search.import_run(tmp_path / "old")
        assert (imported.taken, dict(imported.skipped)) == (10, {})
        executor = Disordered(2, seed=0)
        search.run(executor)
        history = search.history
        again = search.import_run(tmp_path / "old")
    assert (again.taken, dict(again.skipped)) == (0, {"were known already": 10})
    assert (
        history.counted == 10
    )  # two baselines, whose results were taken over, and eight cells of its own
    assert len(history) == 18
    assert len(executor.jobs) == 8
    assert [str(t.proposal.origin) for t in history][:3] == [
        "baseline:lstm",
        "baseline:gru",
        "imported:old",
    ]
    scores = {t.genome.key: t.score for t in before}
    assert {t.genome.key: t.score for t in history[:10]} == scores
    assert all(t.genome.key not in scores for t in history[10:])
    with Search.open(tmp_path / "new", small_experiment(trials=10, seed=6)) as search:
        assert final_table(search.history) == final_table(history)


def test_what_follows_an_import_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    run(tmp_path / "old", trials=8)
    tables = []
    for workers in (1, 4):
        with Search.open(
            tmp_path / str(workers), small_experiment(trials=9, seed=7, deterministic=True)
        ) as search:
            search.import_run(tmp_path / "old")
            search.run(Disordered(workers, seed=workers))
            tables.append(final_table(search.history))
    assert len(tables[0]) == 8 - 2 + 9
    assert differing_rows(tables[0], tables[1]) == []


def test_parents_among_imported_trials_keep_their_place(tmp_path: Path) -> None:
    before = run(tmp_path / "old", trials=20)
    children = [t for t in before if t.proposal.parents]
    assert children
    with Search.open(tmp_path / "new", small_experiment(trials=2, baselines=())) as search:
        search.import_run(tmp_path / "old")
        keys = {t.genome.key: t for t in search.history}
    for child in children:
        parents = [search.history[n].genome.key for n in keys[child.genome.key].proposal.parents]
        assert parents == [before[n].genome.key for n in child.proposal.parents]


def test_results_of_another_training_do_not_hold(tmp_path: Path) -> None:
    run(tmp_path / "old", trials=4)
    experiment = small_experiment(trials=4, training=Training(steps=10, hidden_size=4))
    with Search.open(tmp_path / "new", experiment) as search:
        with pytest.raises(ConfigError, match=r"another training\.steps") as caught:
            search.import_run(tmp_path / "old")
        assert "--enqueue" in caught.value.hint
        with pytest.raises(RunError):
            search.import_run(tmp_path / "nowhere")
        assert len(search.history) == 0


def test_cells_outside_the_space_and_other_budgets_are_left_out_and_counted(tmp_path: Path) -> None:
    run(tmp_path / "old", trials=12, schedule=schedules.create("halving", {}))
    small = space("lstm_gru").constrained({"max_nodes": 14})
    with Search.open(tmp_path / "new", small_experiment(trials=4, space=small)) as search:
        imported = search.import_run(tmp_path / "old")
        assert all(small.contains(t.genome) is None for t in search.history if not t.is_baseline)
    assert imported.taken >= 2  # the baselines, trained to the end
    assert imported.taken + sum(imported.skipped.values()) == 12
    assert imported.skipped["were trained with budgets that the schedule does not grant"] > 0


def test_failures_of_the_cell_are_known_and_those_of_the_machine_forgotten(tmp_path: Path) -> None:
    for kind, taken in (("nan", True), ("memory", False)):
        old, new = tmp_path / f"old-{kind}", tmp_path / f"new-{kind}"
        options = {"fail": kind}
        run(old, trials=3, task_options=options)
        with Search.open(new, small_experiment(trials=3, task_options=options)) as search:
            if taken:
                assert search.import_run(old).taken == 3
                assert {t.failure.kind for t in search.history if t.failure} == {"nan"}
            else:
                with pytest.raises(RunError, match="3 failed for reasons of the machine"):
                    search.import_run(old)


# -- allowance -------------------------------------------------------------------------------------


def test_a_search_ends_when_its_steps_are_used_up_and_goes_on_with_more(tmp_path: Path) -> None:
    full = run(tmp_path / "full", trials=12, deterministic=True)
    bounded: dict[str, Any] = {"trials": 12, "deterministic": True}
    with Search.open(
        tmp_path / "a", small_experiment(**bounded, allowance=Allowance(steps=45))
    ) as search:
        search.run(Disordered(3, seed=3))
        assert steps_granted(search.history) == 45
        assert len(search.history) == 5
        assert search.used_up == "the 45 optimizer steps of the allowance"
        assert not search.finished
    history = run(tmp_path / "a", **bounded)
    assert differing_rows(final_table(history), final_table(full)) == []


def test_steps_bound_promotions_too(tmp_path: Path) -> None:
    halving: dict[str, Any] = {
        "trials": 20,
        "schedule": schedules.create("halving", {}),
        "deterministic": True,
    }
    full = run(tmp_path / "full", **halving)
    with Search.open(
        tmp_path / "a", small_experiment(**halving, allowance=Allowance(steps=40))
    ) as search:
        search.run(Disordered(3, seed=3))
        assert 40 <= steps_granted(search.history) < 40 + 9
        assert steps_granted(search.history) < steps_granted(full)
    assert differing_rows(final_table(run(tmp_path / "a", **halving)), final_table(full)) == []


def test_a_search_begins_nothing_when_its_time_is_used_up_and_goes_on_with_more(
    tmp_path: Path,
) -> None:
    """Only lower bounds of times, which hold however busy the machine is."""
    sleeping: dict[str, Any] = {"task_options": {"sleep": 0.05}}
    with Search.open(tmp_path / "a", small_experiment(**sleeping, trials=4)) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        assert search.seconds >= 0.15
        assert search.used_up == ""
    with Search.open(
        tmp_path / "a",
        small_experiment(**sleeping, trials=8, allowance=Allowance(hours=0.1 / 3600)),
    ) as search:
        assert search.seconds >= 0.15  # the first sitting counts
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        assert len(search.history) == 4
        assert "hours of the allowance" in search.used_up
        assert not search.finished
    with Search.open(
        tmp_path / "a", small_experiment(**sleeping, trials=8, allowance=Allowance(hours=100.0))
    ) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        assert len(search.history) == 8
        assert search.finished


# -- runs of earlier versions ----------------------------------------------------------------------

NEWER = (
    "positions",
    "growth",
    "max_gemm_depth",
    "forbid_ops",
    "require_ops",
    "class",
    "evaluations",
    "adaptive",
)


def test_a_run_that_does_not_mention_newer_options_goes_on_as_it_began(tmp_path: Path) -> None:
    experiment = small_experiment(trials=3)
    run(tmp_path / "a", trials=3)
    lines = experiment.to_toml().splitlines()
    older = "\n".join(line for line in lines if line.partition(" = ")[0] not in NEWER)
    assert len(older.splitlines()) == len(lines) - len(NEWER)
    with Store.open(tmp_path / "a") as store:
        store.describe(older)
    assert len(run(tmp_path / "a", trials=5)) == 5
    with Store.open(tmp_path / "a") as store:
        store.describe(older)
    with pytest.raises(RunError, match=r"prefilter\.growth was False, is True"):
        Search.open(tmp_path / "a", small_experiment(trials=5, prefilter=Prefilter(growth=True)))
