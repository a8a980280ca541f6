"""What a search shows while it runs: the plain lines, the live table, and the estimate of the time
that is left.
"""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.reporting.live import LiveDisplay
from cellsearch.reporting.progress import (
    PlainDisplay,
    duration,
    eta_seconds,
)
from cellsearch.trial import Budget, Failure, Proposal, Result, Rung, Status, Trial

RNN = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def trial(
    number: int, score: float | None, origin: str = "mutate:op", status: Status = Status.COMPLETED
) -> Trial:
    result = (
        Result(
            score=score, metric=score, steps=10, seconds=1.5, parameters=99, cell_parameters=1234
        )
        if score is not None
        else None
    )
    failure = Failure("nan", "the loss is not finite") if status is Status.FAILED else None
    return Trial(number, Proposal(RNN, origin=origin), status, (Rung(Budget(10), result),), failure)


LSTM = trial(0, 2.5, "baseline:lstm")


def test_a_trial_is_called_by_its_number_and_a_baseline_by_its_name() -> None:
    assert LSTM.name == "LSTM"
    assert trial(7, 2.0).name == "trial 7"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (125, "2:05"),
        (3725, "1:02:05"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_estimate_follows_the_rate_of_this_sitting() -> None:
    assert math.isnan(eta_seconds(0, 10, 5.0))
    assert eta_seconds(2, 10, 30.0) == 120.0
    clock = Clock()
    display = PlainDisplay("a", "", 10, stream=io.StringIO(), clock=clock)
    display.begin(
        History([trial(k, 2.0) for k in range(4)])
    )  # resumed: these four cost nothing now
    clock.now += 30
    assert display.remaining(History([trial(k, 2.0) for k in range(6)])) == 60.0


def test_plain_lines_say_what_became_of_each_trial() -> None:
    stream, clock = io.StringIO(), Clock()
    display = PlainDisplay("quick", "Does it work?", 12, stream=stream, clock=clock)
    display.notice = "starting"
    display.begin(History())
    clock.now += 10
    trials = [LSTM]
    display.update(History(trials), LSTM)
    for ended in (
        trial(1, 2.25),
        trial(2, None, status=Status.FAILED),
        trial(3, 2.75, status=Status.STOPPED),
    ):
        trials.append(ended)
        display.update(History(trials), ended)
    display.notice = "Ctrl-C"
    display.update(History(trials))
    display.update(History(trials))
    display.end()
    assert stream.getvalue().splitlines() == [
        "quick: Does it work?",
        "starting",
        "[ 1/12] LSTM       score 2.5000  1,234 cell weights, 1.5 s  best 2.5000 LSTM  ETA 1:50",
        "[ 2/12] trial 1    score 2.2500  1,234 cell weights, 1.5 s  best 2.2500 trial 1  "
        "mutate:op  ETA 0:50",
        "[ 3/12] trial 2    failed (nan)  best 2.2500 trial 1  mutate:op  ETA 0:30",
        "[ 4/12] trial 3    score 2.7500 (stopped early)  1,234 cell weights, 1.5 s  best "
        "2.2500 trial 1  mutate:op  ETA 0:20",
        "Ctrl-C",
    ]


def test_the_live_table_ranks_cells_and_keeps_the_baselines_in_sight() -> None:
    display = LiveDisplay("quick", "", 40, clock=Clock())
    trials = [
        trial(0, 9.0, "baseline:lstm"),
        *(trial(k, 2.0 + k / 100) for k in range(1, 20)),
        trial(20, None, status=Status.RUNNING),
    ]
    display.update(History(trials))
    display.notice = "Ctrl-C: finishing"
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(display._render())
    lines = console.export_text().splitlines()
    assert "20/40" in lines[0]
    assert lines[2].split()[:4] == ["1", "trial", "1", "2.0100"]
    shown = [line for line in lines if "trial" in line or "LSTM" in line]
    assert len(shown) == 8 + 1 + 1
    assert any(line.split()[:3] == ["20", "LSTM", "9.0000"] for line in shown)
    assert "running" in shown[-1]
    assert lines[-1].strip() == "Ctrl-C: finishing"


def test_markup_in_names_is_shown_as_it_is() -> None:
    display = LiveDisplay("[red]name", "", 4, clock=Clock())
    display.update(History([trial(0, 1.0, "[bold]origin")]))
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(display._render())
    assert "[bold]origin" in console.export_text()
