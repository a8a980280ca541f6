"""Suites in use: searches over a suite, tasks as objectives, and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.suites import DOCUMENT, declared

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import ConfigError, TrainingError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import parse_experiment
from cellsearch.job import Training
from cellsearch.options import render_toml
from cellsearch.runs import suites as table_of_suites
from cellsearch.strategies.nsga2 import Nsga2
from cellsearch.tasks.suite import Suite
from cellsearch.training import ReferenceTraining, prepare, results
from cellsearch.trial import Status

EXPERIMENT: dict[str, Any] = {
    "name": "over a suite",
    "space": "tiny",
    "strategy": "random",
    "trials": 4,
    "workers": 0,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads what another, or the user, has trained. The compiled runtime stays where
    it is.
    """
    monkeypatch.setattr(results, "cache_folder", lambda: tmp_path / "cache")


# -- searching -------------------------------------------------------------------------------------


def experiment(tmp_path: Path, **changes: Any) -> cs.Experiment:
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "small.toml"
    path.write_text(render_toml(declared(stop_below=0.3).to_document()), "utf-8")
    return parse_experiment({**EXPERIMENT, "task": f"suite:{path}", **changes}, source="test")


def test_a_search_over_a_suite_is_resumed_from_its_own_text(tmp_path: Path) -> None:
    first = experiment(tmp_path, trials=2)
    with cs.Search.open(tmp_path / "run", first) as search, InProcess() as executor:
        search.run(executor)
    (tmp_path / "small.toml").unlink()
    written = cs.load_experiment(tmp_path / "run" / "experiment.toml", {"trials": 4})
    assert Suite.parse(written.task_options) == Suite.parse(first.task_options)
    with cs.Search.open(tmp_path / "run", written) as search, InProcess() as executor:
        search.run(executor)
        history = search.history
    assert len(history) == 4
    lstm = history[0]
    assert lstm.status is Status.COMPLETED
    assert lstm.result is not None
    assert lstm.result.metrics["share.parity"] > 0.3
    assert lstm.result.metrics["trained_tasks"] >= 1
    assert lstm.score == pytest.approx(1 - lstm.result.metric)


def test_a_search_trains_no_references_that_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared_so = experiment(tmp_path, trials=2)
    data = prepare(declared_so.task, declared_so.task_options)
    monkeypatch.setattr("cellsearch.training.prepare", None)
    seen: list[object] = []
    with cs.Search.open(tmp_path / "run", declared_so) as search, InProcess() as executor:
        search.run(executor, seen.append, data=data)
        assert search.finished
        assert search.job(search.history[1]).targets == data.targets
    assert not any(isinstance(event, ReferenceTraining) for event in seen)


def test_a_search_that_was_given_nothing_announces_its_references(tmp_path: Path) -> None:
    seen: list[object] = []
    declared_so = experiment(tmp_path, trials=1)
    with cs.Search.open(tmp_path / "run", declared_so) as search, InProcess() as executor:
        search.run(executor, seen.append)
    told = [event for event in seen if isinstance(event, ReferenceTraining)]
    assert [(one.cell, one.task, one.seed) for one in told] == [
        (cell, task, seed)
        for task in ("parity", "adding")
        for cell in ("lstm", "gru")
        for seed in (3, 4)
    ]
    assert not any(one.known for one in told)


def test_data_of_a_suite_without_targets_are_refused(tmp_path: Path) -> None:
    declared_so = experiment(tmp_path, trials=1)
    arrays = prepare(declared_so.task, declared_so.task_options).arrays
    with cs.Search.open(tmp_path / "run", declared_so) as search, InProcess() as executor:
        with pytest.raises(ConfigError, match="0 scores of the references"):
            search.run(executor, arrays=arrays)
        search.run(executor)
        assert search.finished


def test_a_suite_brings_its_own_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="brings its own training"):
        experiment(tmp_path, training={"hidden_size": 3})
    assert experiment(tmp_path).training == Training(
        steps=50, hidden_size=8, evaluations=2, learning_rate=0.02
    )
    changed = experiment(tmp_path, task_options={"stop_below": 0.0, "reference": "best"})
    assert (changed.task_options["stop_below"], changed.task_options["reference"]) == (0.0, "best")
    with pytest.raises(ConfigError, match="unknown key"):
        experiment(tmp_path, task_options={"length": 3})
    with pytest.raises(ConfigError, match="unknown suite 'long_memry'"):
        parse_experiment({**EXPERIMENT, "task": "suite:long_memry"}, source="test")


@pytest.mark.slow
def test_ray_workers_get_the_data_of_all_tasks(tmp_path: Path) -> None:
    from cellsearch.executors.ray import Ray

    alone, ray = (
        experiment(tmp_path, deterministic=True),
        experiment(tmp_path, deterministic=True, workers=1),
    )
    with cs.Search.open(tmp_path / "alone", alone) as search, InProcess() as executor:
        search.run(executor)
        expected = [trial.score for trial in search.history]
    with cs.Search.open(tmp_path / "ray", ray) as search, Ray(1, log_dir=tmp_path) as ray_executor:
        search.run(ray_executor)
        assert [trial.score for trial in search.history] == expected


def test_tasks_as_objectives() -> None:
    strategy = Nsga2(objectives=("share.parity", "share.adding", "parameters"))
    assert strategy.objectives[0] == "share.parity"
    with pytest.raises(ConfigError, match="unknown objective 'parity'"):
        Nsga2(objectives=("parity", "score"))


def test_nsga2_breeds_what_is_best_at_some_task(tmp_path: Path) -> None:
    declared_so = experiment(
        tmp_path,
        strategy="random",
        trials=6,
        task_options={"stop_below": 0.0, "aggregation": "pareto"},
    )
    with cs.Search.open(tmp_path / "run", declared_so) as search, InProcess() as executor:
        search.run(executor)
        history = search.history
    strategy = Nsga2(objectives=("share.parity", "share.adding"), population=4, initial=2)
    parents, _ = strategy._parents(declared_so.space, history)
    for objective in strategy.objectives:
        best = max(
            (t for t in history if not t.is_baseline and t.result),
            key=lambda t: t.result.metrics[objective],
        )  # type: ignore[union-attr]
        assert any(
            p.result.metrics[objective] == best.result.metrics[objective]
            for p in parents
            if p.result and best.result
        )


# -- command line ----------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = guarded(cli, list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_terminal_says_which_references_are_trained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "small.toml"
    path.write_text(render_toml(declared(seeds=[3]).to_document()), "utf-8")
    file = tmp_path / "over.toml"
    file.write_text(
        f'task = "suite:{path}"\nspace = "tiny"\nstrategy = "random"\nworkers = 0\n', "utf-8"
    )
    arguments = ("search", str(file), "--run", str(tmp_path / "run"), "--json")
    code, _, err = run(capsys, *arguments, "--trials", "2")
    assert code in (0, 5)
    lines = err.splitlines()
    assert lines[:4] == [
        f"reference {cell} on {task}, seed 3 ..."
        for task in ("parity", "adding")
        for cell in ("lstm", "gru")
    ]
    assert not any("reference" in line for line in lines[4:])
    _, _, err = run(capsys, *arguments, "--trials", "3")
    assert err.splitlines()[0] == "reference lstm on parity, seed 3 ... (known)"


def test_suites_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "suites", "--json")
    assert code == 0
    found = {row["name"]: row for row in json.loads(out)}
    assert [task["name"] for task in found["long_memory"]["tasks"]] == [
        "text",
        "parity",
        "recall",
        "adding",
    ]
    code, out, _ = run(capsys, "suites")
    assert "long_memory" in out


def test_a_cell_is_evaluated_on_a_suite(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(render_toml(DOCUMENT), "utf-8")
    code, out, err = run(capsys, "evaluate", "lstm", "--suite", str(path), "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["seeds"] == [3, 4] == document["baseline_seeds"]
    for task in document["tasks"]:
        assert task["scores"] == task["lstm"], "the LSTM against itself, same seeds"
        assert task["share"] == pytest.approx(1.0, abs=0.2)
        assert task["baselines_cached"] is False
    assert document["fitness"] == min(task["share"] for task in document["tasks"])
    assert document["fitness"] == pytest.approx(1.0)
    code, out, _ = run(capsys, "evaluate", "gru", "--suite", str(path), "--seed", "4", "--json")
    again = json.loads(out)
    assert [task["baselines_cached"] for task in again["tasks"]] == [True, True]
    assert [task["scores"] for task in again["tasks"]] == [
        task["gru"][1:] for task in document["tasks"]
    ]
    code, out, _ = run(capsys, "evaluate", "gru", "--suite", str(path), "--seed", "4")
    assert code == 0
    assert "smallest share" in out


def test_a_failed_seed_is_the_worst_result(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.toml"
    path.write_text(render_toml(DOCUMENT), "utf-8")
    whole = json.loads(run(capsys, "evaluate", "lstm", "--suite", str(path), "--json")[1])
    train = table_of_suites.train_suite

    def failing(job, arrays, *, seed):
        if seed == 4:
            raise TrainingError("scripted", kind="diverged")
        return train(job, arrays, seed=seed)

    monkeypatch.setattr(table_of_suites, "train_suite", failing)
    found = json.loads(run(capsys, "evaluate", "lstm", "--suite", str(path), "--json")[1])
    for before, row in zip(whole["tasks"], found["tasks"], strict=True):
        assert row["scores"] == [before["scores"][0], None]
        assert row["share"] == pytest.approx(before["shares"][0] / 2)
        assert row["failures"] == 1
    assert found["fitness"] < whole["fitness"]
    shown = run(capsys, "evaluate", "lstm", "--suite", str(path))[1]
    assert "1 of 2 trainings failed (diverged)" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "lstm"],
        ["evaluate", "lstm", "--task", "parity", "--suite", "long_memory"],
        ["evaluate", "lstm", "--suite", "long_memory", "--steps", "300"],
        ["evaluate", "lstm", "--suite", "long_memory", "--set", "training.dropout=0.1"],
        ["evaluate", "lstm", "--suite", "long_memory", "--test"],
        ["evaluate", "lstm", "--suite", "short_memory"],
    ],
)
def test_wrong_usage_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "error" in err.lower()
