"""Cells on a published benchmark: the authors' rows, budgets of weights, failures, resuming."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cellsearch import benchmark, tasks, zoo
from cellsearch.benchmark.base import BenchmarkReport, Contestant, ExerciseResult
from cellsearch.benchmark.cogscale import (
    SEARCHED,
    CogscaleBenchmark,
    CogscaleBenchmarkOptions,
    CogscaleRow,
)
from cellsearch.benchmark.page import BEGIN, END, cell_picture, write_page
from cellsearch.benchmark.published_cogscale import published
from cellsearch.cli import cli
from cellsearch.errors import ConfigError, InputFileError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import catalog
from cellsearch.genome import Genome
from cellsearch.job import Outcome
from cellsearch.tasks.cogscale import CATEGORIES
from cellsearch.training.budget import model_weights, size_within
from cellsearch.training.model import cell_factory
from cellsearch.training.results import ResultCache

ERRORS = [problem for problem, category in CATEGORIES.items() if category != "regression"]
SMALL = CogscaleBenchmarkOptions(
    seeds=2, rates=(1e-2, 1e-4), tasks=("adding_problem",), weights=150
)
GRU = Contestant("gru", zoo.load("gru"))
BREAKS = Contestant("breaks", Genome.from_text("h[t] = 1 / (h[t-1] * linear(x[t], bias=False))"))


def run(
    contestants: list[Contestant], folder: Path, executor: InProcess | None = None
) -> tuple[BenchmarkReport, list[ExerciseResult]]:
    found: list[ExerciseResult] = []
    with executor or InProcess() as ready:
        report = benchmark.run_benchmark(
            CogscaleBenchmark(SMALL), contestants, ready, ResultCache(folder), found.append
        )
    return report, found


@pytest.mark.parametrize(
    ("difficulty", "weights", "means"),
    [
        ("small", 1000, {"gru": 0.382, "lstm": 0.447, "xlstm": 0.432, "mamba": 0.492}),
        ("small", 10000, {"gru": 0.348, "lstm": 0.404, "esn": 0.175}),
        ("medium", 1000, {"gru": 0.535, "lstm": 0.586, "esn": 0.623}),
        ("medium", 10000, {"mamba": 0.318, "transformer_decoder": 0.123}),
    ],
)
def test_the_published_means_are_those_of_the_authors_runs(
    difficulty: str, weights: int, means: dict[str, float]
) -> None:
    found = published(difficulty, weights)
    for model, mean in means.items():
        row = CogscaleRow(model, False, **found[model])
        assert row.mean(ERRORS) == pytest.approx(mean, abs=6e-4)
        assert len(row.scores["simple_copy"]) == 10
        low, high = row.interval(ERRORS)
        assert low < mean < high


def test_nothing_is_published_for_other_budgets() -> None:
    assert published("small", 2000) == {}


def test_the_hidden_size_follows_from_the_weights() -> None:
    kind = tasks.get("cogscale:adding_problem:small")
    task = kind.create({}, kind.load({}))
    for name in ("gru", "lstm", "ran"):
        genome = zoo.load(name)
        count = model_weights(task, genome)
        hidden = size_within(count, 1000, name)
        training = CogscaleBenchmark(CogscaleBenchmarkOptions()).exercises(Contestant(name, genome))
        assert {e.training.hidden_size for e in training if e.problem == "adding_problem"} == {
            hidden
        }
        model = task.model(cell_factory(genome, training[0].training))
        assert count(training[0].training.hidden_size) == sum(
            weight.numel() for weight in model.parameters()
        )
        assert 850 <= count(hidden) <= 1000 < count(hidden + 1)


def test_a_budget_that_no_size_meets_is_refused() -> None:
    assert size_within(lambda size: 90 * size, 100, "cell") == 1
    assert size_within(lambda size: 110 * size, 100, "cell") == 1
    with pytest.raises(ConfigError, match="cannot have 100 weights") as caught:
        size_within(lambda size: 60 * size, 100, "cell")
    assert "allow more weights" in caught.value.hint


def test_it_goes_on_where_it_was_interrupted_and_trains_nothing_twice(tmp_path: Path) -> None:
    class Interrupted(InProcess):
        ended = 0

        def events(self, timeout: float | None = None) -> Iterator[Outcome]:
            if self.ended == 2:
                raise KeyboardInterrupt
            self.ended += 1
            yield from super().events(timeout)

    with pytest.raises(KeyboardInterrupt):
        run([GRU], tmp_path, Interrupted())
    report, found = run([GRU], tmp_path)
    assert [one.known for one in found].count(True) == 2
    again, known = run([GRU], tmp_path)
    assert all(one.known for one in known)
    assert len(known) == 4
    assert again == report


def test_validation_chooses_the_rate_and_a_failure_is_the_worst_score(tmp_path: Path) -> None:
    report, found = run([GRU, BREAKS], tmp_path)
    rows = {row["name"]: row for row in report.document["rows"]}
    assert rows["gru"]["rates"] == {"adding_problem": "0.01"}  # 1e-4 learns nothing in 50 epochs
    tested = [
        one.result.metrics["test_score"]
        for one in found
        if one.result and one.exercise.training.learning_rate == 1e-2
    ]
    assert sorted(rows["gru"]["scores"]["adding_problem"]) == sorted(tested)
    assert rows["breaks"]["failures"] == 4
    assert rows["breaks"]["scores"] == {"adding_problem": (1.0, 1.0)}
    assert rows["breaks"]["mean error"] == 1.0
    assert rows["gru"]["searched"] == rows["gru"]["mean error"]
    assert math.isnan(rows["gru"]["not searched"])
    assert report.tables[0].rows[-1][0] == "breaks"


def test_five_tasks_were_searched_and_five_of_the_ten_were_not() -> None:
    assert len(SEARCHED) == 5
    assert len(set(ERRORS) - set(SEARCHED)) == 5


def test_the_page_keeps_what_else_stands_in_it(tmp_path: Path) -> None:
    page = tmp_path / "cogscale.md"
    report = BenchmarkReport((), {})
    page.write_text(f"# Title\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    write_page(page, CogscaleBenchmark, [report], [cell_picture(GRU, page)])
    text = page.read_text()
    assert text.startswith("# Title\n\nBefore.\n\n")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "old" not in text
    assert "blend(" in text
    assert "<svg" in (tmp_path / "pictures" / "gru.svg").read_text()
    (tmp_path / "other.md").write_text("something else")
    with pytest.raises(InputFileError, match="no place"):
        write_page(tmp_path / "other.md", CogscaleBenchmark, [report], [])


def test_the_command_lists_shows_and_refuses() -> None:
    listed = CliRunner().invoke(cli, ["benchmark", "--json"])
    assert "cogscale" in [one["name"] for one in json.loads(listed.output)]
    shown = CliRunner().invoke(cli, ["benchmark", "cogscale", "--json"])
    assert json.loads(shown.output)["options"]["seeds"] == 10
    for arguments, words in (
        (["cogscale", "gru", "--tasks", "chess"], "no task 'chess'"),
        (["cogscale", "gru", "--difficulty", "huge"], "difficulty"),
        (["chess", "gru"], "no benchmark 'chess'"),
        (["cogscale", "lstm", "--weights", "10"], "cannot have 10 weights"),
    ):
        refused = CliRunner().invoke(cli, ["benchmark", *arguments])
        assert isinstance(refused.exception, ConfigError)
        assert words in f"{refused.exception.where}{refused.exception.message}"


def test_the_command_prints_our_row_beside_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path / "cache"))
    arguments = ["--tasks", "adding_problem", "--seeds", "1", "--rates", "1e-2", "--weights", "1k"]
    page = tmp_path / "page.md"
    done = CliRunner().invoke(
        cli, ["benchmark", "cogscale", "rnn_tanh", *arguments, "--write", str(page)]
    )
    assert done.exception is None
    assert "rnn_tanh" in done.output
    assert "mamba (published)" in done.output
    assert "| gru (published) " in page.read_text()


@pytest.mark.slow
def test_workers_of_ray_give_the_same_numbers(tmp_path: Path) -> None:
    from cellsearch.executors.ray import Ray

    alone, _ = run([GRU], tmp_path / "alone")
    with Ray(1, log_dir=tmp_path) as executor:
        found = benchmark.run_benchmark(
            CogscaleBenchmark(SMALL), [GRU], executor, ResultCache(tmp_path / "ray")
        )
    assert found == alone


def test_the_cell_of_the_page_is_one_that_the_experiment_may_find() -> None:
    root = Path(__file__).parents[2]
    genome = Genome.from_text((root / "benchmarks" / "gated_rotor.cell").read_text("utf-8"))
    space = catalog.load_space("rotations")
    assert space.contains(genome) is None
    other = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1])) * exp(linear(x[t]))")
    assert space.contains(other) is not None
