"""A run as a study of Optuna, read back by Optuna."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cellsearch.runs import open_run

optuna = pytest.importorskip("optuna", reason="pip install 'cellsearch[optuna]'")
Call = Callable[..., tuple[int, str, str]]


def test_a_study_holds_the_trials_with_values_states_curves_and_cells(
    finished: Path, tmp_path: Path, call: Call
) -> None:
    file = tmp_path / "study.db"
    code, out, err = call("export", finished, "--to", "optuna", "-o", file)
    assert (code, err) == (0, "")
    assert f"optuna-dashboard sqlite:///{file}" in out
    study = optuna.load_study(study_name="a *name* <b>", storage=f"sqlite:///{file}")
    trials = open_run(finished).trials
    assert [trial.number for trial in study.trials] == [trial.number for trial in trials]
    for ours, theirs in zip(trials, study.trials, strict=True):
        failed = ours.failure is not None
        assert theirs.state.name == ("FAIL" if failed else "COMPLETE")
        assert theirs.value == (None if failed else ours.score)
        assert theirs.user_attrs["cell"] == ours.genome.to_text()
        assert theirs.params["origin"] == ours.proposal.origin.kind
        assert theirs.params["op linear"] >= 1
        if ours.result is not None:
            assert theirs.intermediate_values == dict(ours.result.curve)
            assert theirs.user_attrs["cell weights"] == ours.result.cell_parameters
        assert theirs.datetime_start <= theirs.datetime_complete
    assert study.best_trial.number == trials.top(1)[0].number
    assert study.trials[3].user_attrs["failure"] == "nan: told to fail"
    assert study.user_attrs["question"] == "Which <script> wins?"


def test_a_study_that_is_there_is_not_overwritten(
    finished: Path, tmp_path: Path, call: Call
) -> None:
    file = tmp_path / "study.db"
    file.write_text("mine")
    code, _, err = call("export", finished, "--to", "optuna", "-o", file)
    assert code == 2
    assert "exists" in err
    assert file.read_text() == "mine"
    assert call("export", finished, "--to", "optuna", "-o", file, "--force")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "study.db"]
