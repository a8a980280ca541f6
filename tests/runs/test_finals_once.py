"""Test data are read once: finals are made once, go on where they were interrupted, and are made
again only where that is said.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import RunError
from cellsearch.job import Job, Outcome
from tests.support.small_runs import SETTINGS, Untrained, outcome_of

CHOICE: dict[str, Any] = {"top": 1, "seeds": 2, "hidden_size": 90, "steps": 2}


class Counting(Untrained):
    """Counts what it is asked for."""

    def __init__(self, asked: Counter[tuple[str, int, float]], until: float = 1e9) -> None:
        super().__init__(until)
        self.asked = asked

    def outcome(self, job: Job) -> Outcome:
        self.asked[job.genome, job.seed, job.training.learning_rate] += 1
        score = 1.0 + len(job.genome) % 7 + (job.seed % 5) / 10 + job.training.learning_rate
        return outcome_of(job, score)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("finals*")}


@pytest.mark.parametrize("until", range(0, 40, 13))
def test_interrupted_finals_go_on_and_read_no_test_data_twice(folder: Path, until: int) -> None:
    whole = Counter[tuple[str, int, float]]()
    other = Path(shutil.copytree(folder, folder.with_name("whole")))
    expected = cs.open_run(other).run_finals(Counting(whole), **CHOICE)
    asked = Counter[tuple[str, int, float]]()
    if until < sum(whole.values()):
        with pytest.raises(KeyboardInterrupt):
            cs.open_run(folder).run_finals(Counting(asked, until), **CHOICE)
        assert files(folder) == {"finals.partial.json"}
    table = cs.open_run(folder).run_finals(Counting(asked), **CHOICE)
    assert table == expected
    assert asked == whole
    assert files(folder) == {"finals.json"}


@pytest.mark.parametrize("change", [{}, {"top": 2}, {"seeds": 3}, {"against": ("gru",)}])
def test_a_second_time_is_refused_and_again_keeps_the_first(
    folder: Path, change: dict[str, Any]
) -> None:
    asked = Counter[tuple[str, int, float]]()
    first = cs.open_run(folder).run_finals(Counting(asked), **CHOICE)
    count = sum(asked.values())
    with pytest.raises(RunError, match="test data are read once") as caught:
        cs.open_run(folder).run_finals(Counting(asked), **{**CHOICE, **change})
    assert "--again" in caught.value.hint
    assert sum(asked.values()) == count
    second = cs.open_run(folder).run_finals(Counting(asked), again=True, **{**CHOICE, **change})
    assert files(folder) == {"finals.json", "finals-1.json"}
    assert json.loads((folder / "finals-1.json").read_text("utf-8")) == first.to_document()
    found = cs.open_run(folder).finals()
    assert found is not None
    assert found.to_document() == second.to_document()


@pytest.mark.parametrize(("until", "begun"), [(4, False), (29, True)])
def test_a_choice_changed_on_the_way_needs_to_be_said(
    folder: Path, until: int, begun: bool
) -> None:
    asked = Counter[tuple[str, int, float]]()
    choice = {**CHOICE, "sweep_seeds": 1}
    with pytest.raises(KeyboardInterrupt):
        cs.open_run(folder).run_finals(Counting(asked, until), **choice)
    changed = {**choice, "seeds": 3}
    if begun:
        with pytest.raises(RunError, match="other seeds were begun"):
            cs.open_run(folder).run_finals(Counting(asked), **changed)
    cs.open_run(folder).run_finals(Counting(asked), again=begun, **changed)
    kept = {"finals-1.partial.json"} if begun else set()
    assert files(folder) == {"finals.json", *kept}


@pytest.mark.parametrize("until", [4, 11])
def test_finals_that_version_0_1_began_go_on_as_it_made_them(folder: Path, until: int) -> None:
    asked = Counter[tuple[str, int, float]]()
    plan = cs.open_run(folder).plan_finals(**CHOICE)
    with pytest.raises(KeyboardInterrupt):
        replace(plan, protocol=plan.protocol.as_before).run(Counting(asked, until))
    assert "sweep" not in json.loads((folder / "finals.partial.json").read_text("utf-8"))["plan"]
    cs.open_run(folder).run_finals(Counting(asked), **CHOICE)
    assert set(asked.values()) == {1}
    assert len(asked) == 3 * (3 + 2)
    assert files(folder) == {"finals.json"}


@pytest.mark.parametrize("call", ["plan_finals", "run_finals"])
def test_they_wait_for_the_end_of_the_search(folder: Path, call: str) -> None:
    experiment = cs.load_experiment("parity", {**SETTINGS, "trials": 9})
    asked = Counter[tuple[str, int, float]]()
    arguments = [Counting(asked)] if call == "run_finals" else []
    finals: Callable[..., Any] = getattr(cs.open_run(folder), call)
    with (
        cs.Search.open(folder, experiment),
        pytest.raises(RunError, match="is being searched by process"),
    ):
        finals(*arguments, **CHOICE)
    assert not asked


def test_two_at_once_are_one(folder: Path) -> None:
    run, asked = cs.open_run(folder), Counter[tuple[str, int, float]]()
    other = run.plan_finals(**CHOICE)

    def begin_another(name: str, outcome: Outcome) -> None:
        with pytest.raises(RunError, match="under way"):
            other.run(Counting(asked))

    run.run_finals(Counting(asked), begin_another, **CHOICE)


def test_the_command_says_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["finals", str(folder), "--top", "1", "--seeds", "2", "--steps", "2"]
    command += ["--hidden", "90"]
    assert guarded(cli, command) == 0
    assert guarded(cli, command) == 4
    assert "--again" in capsys.readouterr().err
    assert guarded(cli, [*command, "--again"]) == 0
    assert files(folder) == {"finals.json", "finals-1.json"}
