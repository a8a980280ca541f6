"""Curves of one line of text."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.reporting.live import LiveDisplay
from cellsearch.reporting.sparks import spark
from cellsearch.trial import Budget, Failure, Proposal, Result, Rung, Status, Trial

RNN = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 5, ""),
        ([math.nan, math.inf], 5, ""),
        ([2.0], 5, "▁"),
        ([2.0, 2.0], 5, "▁▁"),
        ([8, 7, 6, 5, 4, 3, 2, 1], 8, "█▇▆▅▄▃▂▁"),
        ([3.0, math.nan, 1.0], 5, "█▁"),
        ([9, 8, 7, 6, 1, 0], 3, "█▇▁"),
    ],
)
def test_the_lowest_value_is_at_the_bottom(values: list[float], width: int, line: str) -> None:
    assert spark(values, width) == line


def test_terminals_without_blocks_get_other_characters() -> None:
    assert spark([2, 1], 5, encoding="ascii") == "#_"


def trial(number: int, score: float | None) -> Trial:
    failure, result = None, None
    if score is None:
        failure = Failure("nan", "the loss is not finite")
    else:
        curve = ((5, score + 2), (10, score))
        result = Result(score, score, 10, 1.5, 99, 1234, curve=curve)
    status = Status.COMPLETED if result else Status.FAILED
    proposal = Proposal(RNN, parents=(0,) if number else (), origin="mutate:op")
    return Trial(number, proposal, status, (Rung(Budget(10), result),), failure)


def drawn(display: LiveDisplay, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(display._render())
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [40, 70, 120])
def test_the_live_table_says_what_falls_what_failed_and_what_changed_last(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    clock = iter(range(1000))
    display = LiveDisplay("quick", "", 40, clock=lambda: next(clock))
    trials: list[Trial] = []
    for ended in (trial(0, 3.0), trial(1, None), trial(2, 2.0)):
        trials.append(ended)
        display.update(History(trials), ended)
    at_work = Trial(3, Proposal(RNN), Status.RUNNING, (Rung(Budget(10)),))
    display.update(History([*trials, at_work]))
    lines = drawn(display, width)
    assert "best 3.0000 ██▁ 2.0000" in lines
    assert "failed 1 nan" in lines
    assert any(line.startswith("at work 3 (0:0") for line in lines)
    news = next(line for line in lines if line.startswith("last "))
    assert "last trial 2 is the best now: 2.0000"[:35] in news
    assert ("curve" in lines[1]) == (width == 120)
    assert ("█▁" in lines[2]) == (width == 120)
    assert ("cell weights" in lines[1]) == (width > 60)
    assert all(len(line) <= width for line in lines)
