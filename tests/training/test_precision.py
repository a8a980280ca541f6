"""Trainings with products in bf16: where it is said, what is kept of it, and who does without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.small_runs import SETTINGS, Untrained
from support.trainings import SHORT, facts, job

import cellsearch as cs
from cellsearch import InProcess, training
from cellsearch.cli import cli
from cellsearch.cli.runs import summary
from cellsearch.errors import CheckpointError, ConfigError
from cellsearch.experiment.experiment import load_experiment, parse_experiment
from cellsearch.job import Job, Training
from cellsearch.options import parse_toml, read_options, table_of
from cellsearch.reporting.page import precision_note
from cellsearch.runs.trained import load_trained
from cellsearch.tasks.suite import Suite
from cellsearch.training.state import identity
from cellsearch.training.suite import member_training

ROUNDED = replace(SHORT, precision="bf16", backend="reference")
"""By plain torch, so that the test is of the same numbers on every machine."""


def evaluated(job: Job) -> cs.Result:
    return training.evaluate(job, training.prepare(job.task, job.task_options).arrays)


# -- what is said, and kept ------------------------------------------------------------------------


def test_float32_is_not_said_in_tables() -> None:
    """What was written before there was a precision, and what is computed of it, stays."""
    assert "precision" not in table_of(SHORT)
    assert "precision" not in identity(job())["training"]
    assert table_of(ROUNDED)["precision"] == "bf16"
    assert identity(job(training=ROUNDED))["training"]["precision"] == "bf16"
    for made in (SHORT, ROUNDED):
        assert read_options(Training, table_of(made)) == made


def test_another_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision") as caught:
        read_options(Training, {"precision": "bfloat16"}, path="training")
    assert "float32, bf16" in str(caught.value.hint)


def test_an_experiment_is_told() -> None:
    plain = load_experiment("quickstart")
    told = load_experiment("quickstart", {"training.precision": "bf16"})
    assert told.training == replace(plain.training, precision="bf16")
    assert "precision" not in plain.to_toml()
    assert 'precision = "bf16"' in told.to_toml()


def test_a_suite_takes_a_precision_and_nothing_else() -> None:
    document = {"name": "mine", "space": "tiny", "task": "suite:standard"}
    document |= {"trials": 3, "strategy": "random", "workers": 0}
    told = parse_experiment({**document, "training": {"precision": "bf16"}}, source="mine")
    suite = Suite.parse(told.task_options)
    assert {member_training(suite, member).precision for member in suite.members} == {"bf16"}
    assert told.training.precision == "bf16"
    again = parse_experiment(parse_toml(told.to_toml(), "mine"), source="mine")
    assert again.to_toml() == told.to_toml()
    with pytest.raises(ConfigError, match="brings its own training"):
        parse_experiment({**document, "training": {"precision": "bf16", "steps": 3}}, source="mine")
    with pytest.raises(ConfigError, match="unknown value"):
        parse_experiment({**document, "training": {"precision": "half"}}, source="mine")


# -- trainings -------------------------------------------------------------------------------------


def test_a_training_rounds() -> None:
    full, rounded = (evaluated(job(training=t)) for t in (SHORT, ROUNDED))
    assert facts(evaluated(job(training=ROUNDED))) == facts(rounded)
    assert full.score != rounded.score
    assert rounded.score == pytest.approx(full.score, rel=0.01)
    assert full.parameters == rounded.parameters


def test_a_checkpoint_goes_on_in_its_own_precision_only(tmp_path: Path) -> None:
    path = str(tmp_path / "kept.safetensors")
    half = job(training=ROUNDED, steps=6, checkpoint=path)
    evaluated(half)
    whole = evaluated(job(training=ROUNDED, resume=path))
    assert whole.curve[-1][0] == 12
    with pytest.raises(CheckpointError, match="another training"):
        evaluated(job(training=replace(SHORT, backend="reference"), resume=path))
    trained = load_trained(Path(path), half, training.prepare(half.task, half.task_options).arrays)
    assert trained.model.cell.precision == "float32"  # as everything that is written of the weights
    assert {weight.dtype.itemsize for weight in trained.model.parameters()} == {4}


def test_what_nothing_here_computes_fast_is_said_before_it_starts() -> None:
    slow: list[dict[str, Any]] = [{"backend": "aten"}, {"dtype": "float64"}]
    for settings in slow:
        asked = Training(precision="bf16", **settings)
        with pytest.raises(ConfigError, match="cannot compute in bf16 here") as caught:
            training.check_precision(asked)
        assert 'training.backend = "reference"' in str(caught.value.hint)
        with pytest.raises(ConfigError, match="cannot compute in bf16 here"):
            evaluated(job(training=asked))
        training.check_precision(replace(asked, precision="float32"))
    training.check_precision(ROUNDED)


# -- runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> cs.Run:
    settings = {"training.precision": "bf16", "training.backend": "reference"}
    experiment = load_experiment("parity", {**SETTINGS, **settings})
    folder = tmp_path_factory.mktemp("bf16") / "run"
    with cs.Search.open(folder, experiment) as search, InProcess() as executor:
        search.run(executor)
    return cs.open_run(folder)


def test_a_run_says_what_its_scores_are(run: cs.Run) -> None:
    assert "scores of trainings with products in bf16" in summary(run)
    assert "scores of trainings with products in bf16" in run.report().read_text("utf-8")
    assert precision_note(run.declared)
    assert not precision_note({"training": {}})


def test_a_search_says_before_it_starts_that_it_cannot(tmp_path: Path) -> None:
    settings = {"training.precision": "bf16", "training.dtype": "float64"}
    experiment = load_experiment("parity", {**SETTINGS, **settings})
    with cs.Search.open(tmp_path / "run", experiment) as search:
        with pytest.raises(ConfigError, match="cannot compute in bf16 here"):
            search.run(Untrained())
        assert not search.history.totals.ended


def test_finals_are_in_float32_unless_asked(run: cs.Run) -> None:
    plan = run.plan_finals(top=1, seeds=2, hidden_size=64)
    assert plan.protocol.training.precision == "float32"
    assert "precision" not in plan.described["training"]
    asked = run.plan_finals(top=1, seeds=2, hidden_size=64, precision="bf16")
    assert asked.protocol.training.precision == "bf16"
    others = run.plan_finals_on(on=["adding"], top=1, seeds=2, hidden_size=64)
    assert others.plans[0][1].protocol.training.precision == "float32"
    with pytest.raises(ConfigError, match="transformer has no products in bf16"):
        run.plan_finals(top=1, seeds=2, hidden_size=64, precision="bf16", against=["transformer"])
    told = run.plan_finals_on(
        on=["adding"], top=1, seeds=2, hidden_size=64, training={"precision": "bf16"}
    )
    assert told.plans[0][1].protocol.training.precision == "bf16"


def test_an_evaluation_says_its_precision() -> None:
    settings = ["training.precision=bf16", "training.backend=reference", "task_options.length=6"]
    told = [part for setting in settings for part in ("--set", setting)]
    asked = ["evaluate", "gru", "--task", "adding", "--steps", "2", "--hidden", "4", *told]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0
    assert ", products in bf16" in done.output
