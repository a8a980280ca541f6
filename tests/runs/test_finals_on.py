"""Finals on other tasks than the searched one, and on the tasks of a suite: apart from one another,
resumable, and judged together.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import ConfigError, InputFileError, RunError
from cellsearch.finals import FinalRow, FinalTables, TaskTable
from cellsearch.finals.table import judge
from cellsearch.job import Job, Outcome
from tests.support.small_runs import SETTINGS, Untrained

CHOICE: dict[str, Any] = {"top": 1, "seeds": 2, "hidden_size": 90, "steps": 2}
Asked = Counter[tuple[str, str, int, float]]
SUITE = """
name = "pair"
[training]
hidden_size = 80
learning_rate = 5e-3
[[tasks]]
name = "sums"
task = "adding"
steps = 2
chance = 0.1667
[[tasks]]
task = "copy"
steps = 3
chance = 2.0
training = { hidden_size = 90 }
"""


class Counting(Untrained):
    """Counts what it is asked for."""

    def __init__(self, asked: Asked, until: float = 1e9) -> None:
        super().__init__(until)
        self.asked = asked

    def submit(self, job: Job) -> None:
        assert self._check is not None
        self._check(job)
        super().submit(job)

    def outcome(self, job: Job) -> Outcome:
        self.asked[job.task, job.genome, job.seed, job.training.learning_rate] += 1
        return super().outcome(job)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("finals*")}


@pytest.mark.parametrize("until", [3, 25, 40])
def test_interrupted_ones_go_on_and_train_nothing_twice(folder: Path, until: int) -> None:
    whole, asked = Asked(), Asked()
    other = Path(shutil.copytree(folder, folder.with_name("whole")))
    choice = {**CHOICE, "on": ["adding", "copy"]}
    expected = cs.open_run(other).run_finals_on(Counting(whole), **choice)
    with pytest.raises(KeyboardInterrupt):
        cs.open_run(folder).run_finals_on(Counting(asked, until), **choice)
    assert files(folder) == {"finals-adding+copy.partial.json"}
    found = cs.open_run(folder).run_finals_on(Counting(asked), **choice)
    assert asked == whole
    assert set(asked.values()) == {1}
    assert found.to_document() == expected.to_document()
    assert files(folder) == {"finals-adding+copy.json"}
    assert [one.name for one in found.tasks] == ["adding", "copy"]


def test_each_is_kept_by_itself_and_a_second_time_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pair.toml"
    path.write_text(SUITE, "utf-8")
    run = cs.open_run(folder)
    own = run.run_finals(Counting(Asked()), **CHOICE)
    run.run_finals_on(Counting(Asked()), on=["copy"], **CHOICE)
    given = {"suite": path, "top": 1, "seeds": 2}
    suite = run.run_finals_on(Counting(Asked()), **given)
    assert files(folder) == {"finals.json", "finals-copy.json", "finals-pair.json"}
    with pytest.raises(RunError, match="test data are read once"):
        run.run_finals_on(Counting(Asked()), **given)
    run.run_finals_on(Counting(Asked()), **given, again=True)
    assert "finals-pair-1.json" in files(folder)
    opened = cs.open_run(folder)
    assert set(opened.finals_on()) == {"copy", "pair"}
    assert opened.finals_on()["pair"].to_document() == suite.to_document()
    assert opened.finals() is not None
    assert opened.finals().to_document() == own.to_document()  # type: ignore[union-attr]
    page = opened.report().read_text("utf-8")
    for title in ("Finals</h2>", "Finals on copy", "Finals on pair", "pair: sums"):
        assert title in page
    assert "mean rank" in page
    (folder / "finals-copy.json").write_text("{}", "utf-8")
    with pytest.raises(InputFileError, match="not a table of finals"):
        cs.open_run(folder).finals_on()


def test_a_suite_is_trained_as_it_says(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pair.toml"
    path.write_text(SUITE, "utf-8")
    plans = dict(cs.open_run(folder).plan_finals_on(suite=path, top=1).plans)
    assert {name: p.protocol.training.steps for name, p in plans.items()} == {"sums": 2, "copy": 3}
    assert {p.protocol.training.learning_rate for p in plans.values()} == {5e-3}
    assert {p.protocol.seeds for p in plans.values()} == {5}
    small = dict(cs.open_run(folder).plan_finals_on(on={"copy": {"delay": 3}}, top=1).plans)
    protocol = small["copy"].protocol
    assert protocol.task_options == {"delay": 3}
    assert protocol.training.steps == SETTINGS["training.steps"]


def test_it_really_trains_and_the_command_prints_and_shows_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["finals", str(folder), "--on", "adding", "--on", "copy", "--top", "1"]
    command += ["--seeds", "2", "--steps", "1", "--hidden", "60", "--sweep-seeds", "1"]
    command += ["--workers", "0"]
    assert guarded(cli, command) == 0
    out, err = capsys.readouterr()
    assert "mean rank" in out
    assert "is better than" in out
    least = int(re.findall(r"^\[1/(\d+)\+\] ", err, re.MULTILINE)[0])
    assert re.findall(r"at least (\d+) trainings", err) == [f"{least // 2}"] * 2
    assert len(re.findall(rf"^\[\d+/{least}\+\] ", err, re.MULTILINE)) == least
    assert guarded(cli, command) == 4
    assert "--again" in capsys.readouterr().err
    assert guarded(cli, ["finals", str(folder), "--show"]) == 0
    assert capsys.readouterr().out == out
    assert guarded(cli, ["finals", str(folder), "--show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"adding+copy": cs.open_run(folder).finals_on()["adding+copy"].to_document()}
    names = [row["name"] for row in shown["adding+copy"]["tasks"][0]["table"]["rows"]]
    assert {"lstm", "gru"} < set(names)
    assert len(names) == 3


def test_the_command_tells_an_accuracy_from_the_errors_it_judges(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        FinalRow(name, name == "gru", 8, 1000, 0.01, (error,) * 2, (1 - error,) * 2, 1.0, 0)
        for name, error in (("found", 0.125), ("gru", 0.25))
    ]
    tables = FinalTables("parity", (TaskTable("parity", "parity", "accuracy", judge(rows)),))
    (folder / "finals-parity.json").write_text(tables.to_json(), "utf-8")
    assert guarded(cli, ["finals", str(folder), "--show"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"cell +test score +deviation +accuracy +cell weights", out)
    assert re.search(r"found +0\.1250 +0\.0000 +0\.8750 ", out)


def test_finals_of_a_search_on_a_suite_are_on_its_tasks(tmp_path: Path) -> None:
    suite = tmp_path / "pair.toml"
    suite.write_text(re.sub("chance = .*", "chance = 1000.0", SUITE), "utf-8")
    (tmp_path / "on_pair.toml").write_text(
        'name = "on_pair"\ntask = "suite:./pair.toml"\nspace = "tiny"\nstrategy = "random"\n'
        "trials = 4\nworkers = 0\n",
        "utf-8",
    )
    experiment = cs.load_experiment(tmp_path / "on_pair.toml")
    with cs.Search.open(tmp_path / "copy", experiment) as search, cs.InProcess() as executor:
        search.run(executor)
    run = cs.open_run(tmp_path / "copy")
    with pytest.raises(ConfigError, match="test data of a suite"):
        run.plan_finals(top=1)
    tables = run.run_finals_on(Counting(Asked()), top=1, seeds=2)
    assert [(one.name, one.task) for one in tables.tasks] == [("sums", "adding"), ("copy", "copy")]
    assert files(run.path) == {"finals-pair.json"}


def test_what_cannot_be_is_said(folder: Path) -> None:
    run = cs.open_run(folder)
    with pytest.raises(ConfigError, match="copi"):
        run.plan_finals_on(on=["copi"])
    with pytest.raises(ConfigError, match="need their names"):
        run.plan_finals_on()
    with pytest.raises(ConfigError, match="either tasks or a suite"):
        run.plan_finals_on(on=["copy"], suite="standard")
    assert guarded(cli, ["finals", str(folder), "--set", "training.tbptt=3"]) == 2
    assert guarded(cli, ["finals", str(folder.parent)]) == 4
