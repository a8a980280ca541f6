"""A history as rows, and as a frame of whichever library is installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from cellsearch import Genome, History, Proposal, Result, Trial
from cellsearch.errors import ConfigError, EnvironmentFailure
from cellsearch.history import frames
from cellsearch.trial import Budget, Failure, Rung, Status

CELL = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")


def trial(number: int, score: float | None, origin: str, **metrics: float) -> Trial:
    if score is None:
        failure = Failure("nan", "the loss is not finite")
        return Trial(number, Proposal(CELL, origin=origin), Status.FAILED, failure=failure)
    result = Result(score, 1 - score, 7, 0.5, 30, 20, metrics=metrics, checkpoint="a.safetensors")
    rungs = (Rung(Budget(7), result),)
    return Trial(number, Proposal(CELL, (0,), origin), Status.COMPLETED, rungs)


@pytest.fixture
def history() -> History:
    """A long history: what only a late trial has must not be lost."""
    trials = [trial(n, None, "initial") for n in range(150)]
    trials += [trial(150, 0.5, "baseline:lstm"), trial(151, 0.25, "mutate:op@n1", extra=2.0)]
    return History(trials)


def test_rows_say_all_and_have_the_same_keys(history: History) -> None:
    rows = history.to_rows()
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0] | {"score": None, "failure": "nan", "status": "failed"} == rows[0]
    assert rows[0]["metrics.extra"] is None
    found = rows[151]
    assert found["name"] == "trial 151"
    assert (found["origin"], found["parents"]) == ("mutate:op@n1", [0])
    assert (found["score"], found["metric"], found["steps"]) == (0.25, 0.75, 7)
    assert (found["seconds"], found["parameters"], found["cell_parameters"]) == (0.5, 30, 20)
    assert (found["metrics.extra"], found["failure"], found["message"]) == (2.0, None, None)
    assert found["cell"] == CELL.to_text()
    assert rows[150]["name"] == "LSTM"
    assert rows[150]["baseline"]
    assert History().to_rows() == []


def test_without_a_library_the_error_says_what_to_do(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFailure, match="pandas and polars cannot be imported") as caught:
        history.to_frame()
    assert "pip install pandas" in caught.value.hint
    assert "to_rows()" in caught.value.hint
    with pytest.raises(EnvironmentFailure, match="polars cannot be imported"):
        history.to_frame("polars")
    with pytest.raises(ConfigError, match="'excel' makes no frames"):
        history.to_frame("excel")


LIBRARY = """
class DataFrame:
    def __init__(self, rows, **how):
        self.rows, self.how = rows, how
"""


@pytest.mark.parametrize(
    ("installed", "asked", "taken"),
    [
        (["pandas", "polars"], "", "pandas"),
        (["pandas", "polars"], "polars", "polars"),
        (["polars"], "", "polars"),
        (["pandas"], "pandas", "pandas"),
    ],
)
def test_the_library_that_is_installed_is_given_the_rows(
    history: History,
    installed: list[str],
    asked: str,
    taken: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in installed:  # stand-ins, whether the real ones are here or not
        (tmp_path / f"{name}.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("pandas", "polars"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    find = frames.find_spec
    monkeypatch.setattr(
        frames,
        "find_spec",
        lambda name: find(name) if name in installed else None,
    )
    frame = history.to_frame(asked)
    assert type(frame).__module__ == taken
    assert frame.rows == history.to_rows()
    for name in installed:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_holds_the_rows(history: History, library: str) -> None:
    pytest.importorskip(library, reason="cellsearch does not need it")
    frame = history.to_frame(library)
    assert type(frame) is importlib.import_module(library).DataFrame
    assert list(frame.columns) == list(history.to_rows()[0])
    assert len(frame) == 152
    assert frame["score"].min() == 0.25
    assert frame["metrics.extra"].sum() == 2.0
    assert list(frame["number"]) == list(range(152))
    assert list(frame["parents"])[151][0] == 0
