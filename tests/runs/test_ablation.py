"""Ablations of the cells of a run: kept in its folder, gone on with, shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import ConfigError, InputFileError, RunError
from cellsearch.job import Failure, Job, Outcome
from cellsearch.store.lock import RunLock
from tests.support.small_runs import Untrained, outcome_of


class Scripted(Untrained):
    """Scores follow from cell and seed; with ``fail`` some cells fail."""

    def __init__(self, until: float = 1e9, fail: bool = False) -> None:
        super().__init__(until)
        self.fail = fail

    def outcome(self, job: Job) -> Outcome:
        if self.fail and len(job.genome) % 2:
            return Outcome(job.trial, 0, failure=Failure("nan", "not a number"))
        return outcome_of(job, 1.0 + len(job.genome) % 17 + (job.seed % 5) / 10)


@pytest.mark.parametrize("until", [0, 1, 5, 12])
def test_an_interrupted_ablation_goes_on_and_trains_nothing_twice(folder: Path, until: int) -> None:
    trial = cs.open_run(folder).trial(0)
    other = Path(shutil.copytree(folder, folder.with_name("other")))
    whole = Scripted()
    expected = cs.open_run(other).trial(0).ablate(whole, seeds=2)
    first, second = Scripted(until), Scripted()
    with pytest.raises(KeyboardInterrupt):
        trial.ablate(first, seeds=2)
    assert trial.run.ablations() == {}
    table = trial.ablate(second, seeds=2)
    seen = [(job.genome, job.seed) for job in (*first.jobs, *second.jobs)]
    assert sorted(seen) == sorted((job.genome, job.seed) for job in whole.jobs)
    assert len(set(seen)) == len(seen) == table.trainings == trial.plan_ablation(seeds=2).trainings
    assert table.rows == expected.rows
    assert cs.open_run(folder).ablations()[0].to_document() == table.to_document()


def test_more_seeds_train_what_is_missing_and_another_training_starts_anew(folder: Path) -> None:
    trial = cs.open_run(folder).trial(0)
    trial.ablate(Scripted(), seeds=2)
    more = Scripted()
    table = trial.ablate(more, seeds=3)
    assert len({job.seed for job in more.jobs}) == 1
    assert len(more.jobs) == 1 + len(table.rows)
    assert {row.trainings for row, _ in table.rows} == {3}
    other = Scripted()
    quick = trial.ablate(other, seeds=2, share=0.5)
    assert {job.steps for job in other.jobs} == {2}
    assert (quick.steps, table.steps) == (2, 4)
    kept = {path.name for path in (folder / "ablation").glob("trial*")}
    assert kept == {
        *("trial-0.json", "trial-0.trainings.json"),
        *("trial-0-1.json", "trial-0-1.trainings.json"),
    }
    assert list(cs.open_run(folder).ablations()) == [0]


def test_jobs_are_those_of_the_run_from_scratch_and_read_no_test_data(folder: Path) -> None:
    run = cs.open_run(folder)
    executor = Scripted()
    run.trial(1).ablate(executor, seeds=2)
    training = run.experiment.training
    for job in executor.jobs:
        assert (job.training, job.steps, job.limits) == (training, 4, run.experiment.limits)
        assert (job.test, job.inherit, job.resume, job.checkpoint) == (False, "", "", "")
    assert {job.seed for job in executor.jobs} == {30_000, 30_001}


def test_a_part_can_be_chosen_and_the_rest_added(folder: Path) -> None:
    trial = cs.open_run(folder).trial(0)
    first, second = Scripted(), Scripted()
    some = trial.ablate(first, seeds=2, kinds=["connection"])
    assert {row.kind for row, _ in some.rows} == {"connection"}
    trial.ablate(second, seeds=2)
    seen = [(job.genome, job.seed) for job in (*first.jobs, *second.jobs)]
    assert len(set(seen)) == len(seen)


def test_a_damaged_journal_is_an_error_that_says_what_helps(folder: Path) -> None:
    plan, executor = cs.open_run(folder).trial(0).plan_ablation(seeds=1), Scripted()
    plan.folder.mkdir()
    plan.journal.write_text("{}")
    with pytest.raises(InputFileError, match="not a journal of an ablation") as caught:
        plan.run(executor)
    assert caught.value.hint == "remove it to start anew"
    assert executor.jobs == []
    plan.journal.unlink()
    assert plan.run(executor).trainings == plan.trainings


def test_failures_count(folder: Path) -> None:
    table = cs.open_run(folder).trial(0).ablate(Scripted(fail=True), seeds=2)
    failed = [row for row in (table.whole, *table.removed) if row.failures]
    assert failed
    assert all(row.failures == ("nan", "nan") for row in failed)


def test_one_at_a_time(folder: Path) -> None:
    trial = cs.open_run(folder).trial(0)
    (folder / "ablation").mkdir()
    lock = RunLock(folder / "ablation", "making an ablation")
    with pytest.raises(RunError, match="under way"):
        trial.ablate(Scripted(), seeds=2)
    lock.close()
    trial.ablate(Scripted(), seeds=2)


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"share": 0.0}, {"share": 1.5}, {"kinds": ["x"]}])
def test_what_makes_no_sense_is_refused(folder: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        cs.open_run(folder).trial(0).plan_ablation(**wrong)
    assert caught.value.hint


def test_the_command_and_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ablate", f"{folder}:0", "--seeds", "1", "--steps", "50%", "--only", "nodes"]
    assert guarded(cli, [*words, "--workers", "0", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["steps"] == 2
    assert document["trainings"] == 1 + len(document["rows"])
    assert guarded(cli, ["ablate", str(folder), "--show"]) == 0
    shown = capsys.readouterr().out
    assert document["sentence"] in shown
    assert all(row["removed"] in shown for row in document["rows"])
    page = cs.open_run(folder).report().read_text("utf-8")
    assert "Ablation: what each part is worth" in page


def test_a_cell_of_the_zoo_on_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ablate", "mingru", "--task", "parity", "--seeds", "1", "--steps", "2"]
    words += ["--hidden", "4", "--out", str(tmp_path), "--set", "task_options.batch_size=4"]
    assert guarded(cli, [*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["cell"], document["hidden_size"]) == ("mingru", 4)
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "mingru-parity.json",
        "mingru-parity.trainings.json",
    }
    assert guarded(cli, ["ablate", str(tmp_path), "--hidden", "4"]) != 0
    assert guarded(cli, [*words, "--steps", "0%"]) == 2
    assert "a share of them" in capsys.readouterr().err
