"""The benchmarks of state tracking, formal languages and MAD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cellsearch import benchmark, tasks, zoo
from cellsearch.benchmark.algorithmic import AlgorithmicBenchmark, AlgorithmicOptions
from cellsearch.benchmark.base import Contestant, ExerciseResult
from cellsearch.benchmark.formal import MadBenchmark, MadBenchmarkOptions, StateTrackingBenchmark
from cellsearch.cli import cli
from cellsearch.errors import ConfigError
from cellsearch.executors.in_process import InProcess
from cellsearch.genome import Genome
from cellsearch.job import Failure, Result
from cellsearch.training.model import cell_factory
from cellsearch.training.results import ResultCache

ALL = ("state_tracking", "formal_languages", "mad")
GRU = Contestant("gru", zoo.load("gru"))
BREAKS = Contestant("breaks", Genome.from_text("h[t] = 1 / (h[t-1] * linear(x[t], bias=False))"))
SMALL: dict[str, Any] = {"seeds": 2, "rates": (1e-2, 1e-3), "hidden": 4, "steps": 4}


def kind(name: str) -> type[AlgorithmicBenchmark]:
    found = benchmark.get(name)
    assert issubclass(found, AlgorithmicBenchmark)
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_problem_is_a_task_with_legal_options(name: str) -> None:
    made = kind(name)()
    assert made.questions
    assert len(made.others) == {"state_tracking": 5, "formal_languages": 2}.get(name, 0)
    for problem, question in made.questions.items():
        task = tasks.get(question.task)
        parsed: Any = task.Options(**question.options)
        assert parsed.batch_size == 128
        assert 0 <= made.chance(problem) < 0.6
    for model in made.others:
        assert model.accuracy
        assert set(model.accuracy) <= set(made.problems())
        assert any("not verified" in remark for remark in made.remarks)


def test_there_are_eight_fifteen_and_six() -> None:
    assert [len(kind(name).problems()) for name in ALL] == [8, 15, 6]


def test_what_is_trained() -> None:
    made = StateTrackingBenchmark(AlgorithmicOptions(**SMALL, tasks=("s3", "parity")))
    found = made.exercises(GRU)
    assert len(found) == 2 * 2 * 2
    assert {(one.training.learning_rate, one.seed) for one in found} == {
        (rate, seed) for rate in SMALL["rates"] for seed in (0, 1)
    }
    assert {one.task for one in found} == {"group_word", "parity_check"}
    assert {one.task_options["test_lengths"][-1] for one in found} == {100, 256}


def test_mad_counts_epochs_and_tries_weight_decay() -> None:
    made = MadBenchmark(MadBenchmarkOptions(seeds=1, tasks=("memorization", "compression")))
    found = made.exercises(GRU)
    assert len(found) == 2 * 3 * 2
    assert {(one.problem, one.training.steps) for one in found} == {
        ("memorization", 400),
        ("compression", 20_000),
    }
    assert {one.training.weight_decay for one in found} == {0.0, 0.1}


def test_a_budget_of_weights_decides_the_width() -> None:
    made = StateTrackingBenchmark(AlgorithmicOptions(**SMALL, weights=1000, tasks=("s3",)))
    one = made.exercises(GRU)[0]
    task = tasks.get(one.task).create(one.task_options, tasks.get(one.task).load(one.task_options))
    model = task.model(cell_factory(GRU.genome, one.training))
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(1000, rel=0.15)
    with pytest.raises(ConfigError, match="cannot have 20 weights"):
        StateTrackingBenchmark(AlgorithmicOptions(**{**SMALL, "weights": 20})).exercises(GRU)


def findings(made: AlgorithmicBenchmark, reached: dict[float, list[Any]]) -> list[ExerciseResult]:
    """By learning rate, for each seed: (validation score, test accuracy, error at the end) or
    ``None`` for a failure.
    """
    found = []
    for exercise in made.exercises(GRU):
        numbers = reached[exercise.training.learning_rate][exercise.seed]
        if numbers is None:
            found.append(ExerciseResult(exercise, None, Failure("diverged", "not finite")))
            continue
        score, accuracy, last = numbers
        metrics = {"test_metric": accuracy, "test length 100": last}
        result = Result(score, 1 - score, 4, 1.0, 77, 50, metrics=metrics)
        found.append(ExerciseResult(exercise, result, None))
    return found


def test_validation_chooses_the_rate_and_failures_count_as_nothing() -> None:
    made = StateTrackingBenchmark(AlgorithmicOptions(**SMALL, tasks=("s3",)))
    reached: dict[float, list[Any]] = {
        1e-2: [(0.0, 0.9, 0.01), None],
        1e-3: [(0.3, 0.8, 0.05), (0.3, 0.8, 0.5)],
    }
    row = made.row("gru", findings(made, reached))
    assert row.settings == {"s3": "0.001"}  # (0 + 1) / 2 is worse than 0.3
    assert row.accuracy == {"s3": (0.95, 0.5)}  # at the last position
    assert (row.solved("s3"), row.failures, row.weights["s3"]) == (1, 1, 77)
    reached[1e-3] = [(0.6, 0.8, 0.05), (0.6, 0.8, 0.5)]
    row = made.row("gru", findings(made, reached))
    assert row.accuracy == {"s3": (0.99, 0.0)}
    assert row.mean("s3") == pytest.approx(0.495)


def test_scaled_accuracy() -> None:
    made = StateTrackingBenchmark(AlgorithmicOptions(**SMALL, tasks=("cycle_navigation",)))
    reached = {rate: [(0.1, 0.2, 0), (0.1, 1.0, 0)] for rate in SMALL["rates"]}
    row = made.row("gru", findings(made, reached))
    assert row.accuracy["cycle_navigation"] == pytest.approx((0.0, 1.0))


def test_it_trains_each_once_and_shows_failures(tmp_path: Path) -> None:
    made = StateTrackingBenchmark(AlgorithmicOptions(**SMALL, tasks=("s3",), batch_size=4))
    with InProcess() as executor:
        cache = ResultCache(tmp_path)
        report = benchmark.run_benchmark(made, [GRU, BREAKS], executor, cache)
    known: list[ExerciseResult] = []
    with InProcess() as executor:
        again = benchmark.run_benchmark(made, [GRU, BREAKS], executor, cache, known.append)
    assert again == report
    assert all(one.known for one in known)
    summary, tasks_table = report.tables
    assert [row[0] for row in summary.rows] == ["gru", "breaks"]
    assert summary.rows[1][1] == "0.000"
    assert summary.rows[1][-1] == "4"
    assert tasks_table.rows[0][3] == "0.000 0.000 0/2"
    document = json.loads(json.dumps(report.document))
    assert document["rows"][1]["failures"] == 4
    assert document["chance"]["s3"] == pytest.approx(1 / 6)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path))
    listed = CliRunner().invoke(cli, ["benchmark"])
    assert all(name in listed.output for name in ALL)
    words = "benchmark mad gru --seeds 1 --rates 0.001 --tasks memorization --set steps=3"
    ran = CliRunner().invoke(cli, words.split())
    assert ran.exit_code == 0, ran.output
    assert "mad, task by task" in ran.output
    assert "memorization" in ran.output
