"""Runs, checkpoints and exports that version 0.1 (commit 154705d) wrote: opened, gone on with, and
used. ``tests/data/v0_1/make.py`` says how they were made.
"""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import cellsearch as cs
from cellsearch.executors.in_process import InProcess
from cellsearch.export import load_weights
from cellsearch.history import History
from cellsearch.store import Store
from cellsearch.trial import Status

DATA = Path(__file__).parents[1] / "data" / "v0_1"
NAMES = ("genetic", "prune", "suite")


def copied(tmp_path: Path, folder: str) -> Path:
    """A copy of a run that may be written."""
    return Path(shutil.copytree(DATA / folder, tmp_path / folder))


def rows(history: History) -> list[dict[str, Any]]:
    """A table as ``make.py`` wrote it."""
    return [
        {
            "number": trial.number,
            "cell": trial.genome.to_text(),
            "origin": str(trial.proposal.origin),
            "parents": list(trial.proposal.parents),
            "status": trial.status.value,
            "scores": [rung.result.score for rung in trial.rungs if rung.result is not None],
        }
        for trial in history
    ]


def expected(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DATA / f"{name}.json").read_text("utf-8"))
    return found


def test_a_finished_run_is_read_as_it_was() -> None:
    with Store.read(DATA / "genetic_whole") as store:
        assert rows(store.history()) == expected("genetic")


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_to_the_same_table(name: str, tmp_path: Path) -> None:
    run = copied(tmp_path, f"{name}_part")
    before = expected(name)
    experiment = cs.load_experiment(run / "experiment.toml")
    with cs.Search.open(run, experiment) as search, InProcess() as executor:
        ended = [trial.number for trial in search.history if trial.status is not Status.RUNNING]
        assert 0 < len(ended) < len(before)
        search.run(executor)
        after = rows(search.history)
    for now, then in zip(after, before, strict=True):
        assert now["scores"] == pytest.approx(then["scores"], rel=1e-6), now["number"]
        assert {**now, "scores": 0} == {**then, "scores": 0}


def test_a_run_that_grew_cells_goes_on(tmp_path: Path) -> None:
    """Its options are what they were, its trials are parents, and its origins say which step."""
    run = copied(tmp_path, "grow_part")
    experiment = cs.load_experiment(run / "experiment.toml")
    with cs.Search.open(run, experiment) as search, InProcess() as executor:
        before = rows(search.history)
        search.run(executor)
        after = list(search.history)
    assert len(before) < len(after) == 8
    assert [row["origin"] for row in rows(after)[: len(before)]] == [r["origin"] for r in before]
    origins = [trial.proposal.origin for trial in after if trial.proposal.parents]
    assert all(origin.kind == "grow" and origin.detail and origin.place for origin in origins)
    assert all(trial.status.finished for trial in after)
    assert any(trial.proposal.parents[0] < len(before) for trial in after[len(before) :])


@pytest.mark.parametrize(
    ("command", "shown"),
    [("ls", ("mutate:gate", "LSTM", "0.4219")), ("best", ("h[t] = ", "GRU")), ("report", ())],
)
def test_the_command_line_reads_it(
    command: str,
    shown: tuple[str, ...],
    tmp_path: Path,
    call: Callable[..., tuple[int, str, str]],
) -> None:
    run = copied(tmp_path, "genetic_whole")
    code, output, errors = call(command, run)
    assert (code, errors) == (0, "")
    assert all(text in output for text in shown), output
    if command == "report":
        assert "mutate:gate" in (run / "report.html").read_text("utf-8")


def test_it_is_exported_again_to_the_same_files(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    run = copied(tmp_path, "genetic_whole")
    for form, file in (("json", "json.json"), ("cell", "cell.cell"), ("state-dict", "state.pt")):
        code, _, errors = call("export", run, "--to", form, "--output", tmp_path / file)
        assert (code, errors) == (0, "")
    exported = DATA / "exported"
    assert (tmp_path / "json.json").read_text() == (exported / "json.json").read_text()
    assert (tmp_path / "cell.cell").read_text() == (exported / "cell.cell").read_text()
    now = torch.load(tmp_path / "state.pt", weights_only=True)
    then = torch.load(exported / "state_dict.pt", weights_only=True)
    assert now.keys() == then.keys()
    assert all(torch.equal(now[name], then[name]) for name in then)


def test_exported_source_and_weights_still_answer_the_same() -> None:
    exported = DATA / "exported"
    answers = json.loads((exported / "answers.json").read_text("utf-8"))
    state = torch.load(exported / "source.pt", weights_only=True)
    old = runpy.run_path(str(exported / "source.py"))["Recurrent"]().double()
    old.load_state_dict(state)
    size = answers["input_size"]
    x = torch.linspace(-1, 1, 5 * 2 * size, dtype=torch.float64).view(5, 2, size)
    wanted = torch.tensor(answers["output"], dtype=torch.float64)
    assert torch.allclose(old(x)[0], wanted, atol=1e-12)
    genome = cs.Genome.from_json((exported / "json.json").read_text("utf-8"))
    new = cs.compile_cell(
        genome, input_size=size, hidden_size=wanted.shape[-1], dtype=torch.float64
    )
    new.load_state_dict(load_weights(exported / "state_dict.pt"))
    assert torch.allclose(new(x)[0], wanted, atol=1e-12)
    assert not torch.allclose(new(x + 0.1)[0], wanted, atol=1e-12)


@pytest.mark.filterwarnings("ignore::cellsearch.errors.SearchWarning")
def test_its_model_takes_raw_values_and_answers(tmp_path: Path) -> None:
    """Its checkpoints do not say what the model reads: the task does, with its data."""
    run = copied(tmp_path, "genetic_whole")
    trial = cs.open_run(run).best()
    model = cs.load_model(run)
    assert model.interface == trial.trained().task.interface()
    assert set(model.predict(["0110", "1"])) <= {0, 1}
    done = trial.export(tmp_path / "best.py", "model")
    exported = runpy.run_path(str(done.path))["load"](tmp_path / "best.pt")
    score, metric = trial.trained().task.score(exported, "valid")
    assert (score, metric) == pytest.approx((trial.score, trial.result.metric))  # type: ignore[union-attr]
