"""Longest first: waiting jobs are sorted where the order is free, and only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cellsearch import load_space, zoo
from cellsearch.compiler import cost
from cellsearch.compiler.module import compile_cell
from cellsearch.errors import BackendError
from cellsearch.executors.longest_first import expected_work, longest_first
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import multiply_adds
from cellsearch.job import Training
from cellsearch.runs.facts import predicted
from cellsearch.search import Search
from cellsearch.strategies.nsga2 import OBJECTIVES
from cellsearch.testing.search import small_experiment
from cellsearch.trial import Budget, Proposal, Result, Rung, Status, Trial

TRAINING = Training(hidden_size=32)


def test_longest_first_keeps_the_order_of_equals() -> None:
    assert longest_first(["bb", "a", "ccc", "dd"], len) == ["ccc", "bb", "dd", "a"]


def test_work_grows_with_steps_size_and_cell() -> None:
    lstm, rnn = zoo.load("lstm"), zoo.load("rnn_tanh")
    assert expected_work(lstm, TRAINING, 20) == pytest.approx(2 * expected_work(lstm, TRAINING, 10))
    assert expected_work(lstm, replace(TRAINING, hidden_size=256), 10) > 5 * expected_work(
        lstm, TRAINING, 10
    )
    assert expected_work(lstm, TRAINING, 10) > 1.5 * expected_work(rnn, TRAINING, 10)


def test_without_a_runtime_multiply_adds_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> float:
        raise BackendError("no runtime")

    monkeypatch.setattr(cost, "position_microseconds", none)
    assert expected_work(zoo.load("gru"), TRAINING, 7) == 7 * multiply_adds(zoo.load("gru"), 32, 32)


def waiting(path: Path, *, deterministic: bool) -> list[int]:
    """The trials that are handed out after a run with three trials under way has ended."""
    experiment = small_experiment(deterministic=deterministic)
    with Search.open(path, experiment) as search:
        asked = [trial for _ in range(3) if (trial := search.ask()) is not None]
        work = {
            t.number: expected_work(t.genome, experiment.training, t.rungs[-1].budget.steps)
            for t in asked
        }
    assert len(set(work.values())) > 1
    with Search.open(path, experiment) as search:
        again = [trial.number for _ in asked if (trial := search.ask()) is not None]
    assert sorted(again) == sorted(work)
    if not deterministic:
        assert [work[number] for number in again] == sorted(work.values(), reverse=True)
    return again


def test_a_resumed_run_begins_with_the_longest(tmp_path: Path) -> None:
    waiting(tmp_path, deterministic=False)


def test_a_deterministic_run_keeps_its_order(tmp_path: Path) -> None:
    assert waiting(tmp_path, deterministic=True) == [0, 1, 2]


def test_module_time_is_the_sum_of_its_layers() -> None:
    genome = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
    module = compile_cell(genome, input_size=4, hidden_size=8, num_layers=2, bidirectional=True)
    parts = [cost.position_microseconds(genome, input_size=size, hidden_size=8) for size in (4, 16)]
    assert cost.module_microseconds(module) == pytest.approx(2 * sum(parts))
    assert (
        cost.position_microseconds(genome, input_size=4, hidden_size=8, training=False) < parts[0]
    )


def test_show_predicts_what_the_cost_model_says() -> None:
    found = predicted(zoo.load("gru"), 5, 8)
    assert found is not None
    expected = cost.position_microseconds(
        zoo.load("gru"), input_size=5, hidden_size=8, constants=cost.machine_constants()
    )
    assert found["training"]["microseconds"] == pytest.approx(expected)
    assert (
        found["training"]["multiply_adds"]
        == 3 * found["inference"]["multiply_adds"]
        == 3 * 32 * 3 * 8 * (5 + 8)
    )
    assert predicted(zoo.load("sru"), 5, 8) is None  # needs I = H


def test_a_result_without_a_prediction_counts_as_the_slowest() -> None:
    genome, space = zoo.load("gru"), load_space("lstm_gru")
    result = Result(1.0, 1.0, 10, 2.0, 100, 80, (), {"predicted_us": 5.0}, {}, "")
    trial = Trial(0, Proposal(genome), Status.COMPLETED, (Rung(Budget(0, 10), result),))
    assert OBJECTIVES["time"](space, trial) == 5.0
    older = trial.with_(rungs=(Rung(Budget(0, 10), replace(result, metrics={})),))
    assert OBJECTIVES["time"](space, older) == float("inf")
