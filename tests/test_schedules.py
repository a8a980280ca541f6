"""Schedules: who gets more training."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cellsearch import schedules
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.schedules import Fixed, SuccessiveHalving
from cellsearch.trial import Budget, History, Proposal, Result, Rung, Status, Trial

GENOME = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")


def trial(number: int, scores: Sequence[float] = (), *, origin: str = "random", status: Status = Status.RUNNING) -> Trial:
    rungs = tuple(
        Rung(Budget(10, k), Result(score=s, metric=s, steps=10, seconds=1.0, parameters=1, cell_parameters=1)) for k, s in enumerate(scores)
    )
    return Trial(number, Proposal(GENOME, origin=origin), status, rungs)


def test_fixed_gives_everything_once() -> None:
    assert Fixed().next_budget(History(), trial(0), 300) == Budget(300, 0)
    assert Fixed().next_budget(History(), trial(0, [1.0]), 300) is None
    assert Fixed().rungs(300) == (300,)


def test_rungs_rise_to_the_full_training() -> None:
    assert SuccessiveHalving(eta=3, levels=3).rungs(900) == (100, 300, 900)
    assert SuccessiveHalving(eta=3, levels=3).rungs(2) == (1, 2)
    assert SuccessiveHalving(eta=2, levels=1).rungs(7) == (7,)


def test_a_new_trial_starts_on_the_lowest_rung() -> None:
    assert SuccessiveHalving().next_budget(History([trial(0, [1.0])]), trial(1), 900) == Budget(100, 0)


def test_only_the_best_third_goes_on() -> None:
    halving = SuccessiveHalving(eta=3, levels=3)
    others = [trial(n, [float(n)]) for n in range(1, 6)]  # scores 1 to 5
    assert halving.next_budget(History(others), trial(9, [0.5]), 900) == Budget(300, 1)
    assert halving.next_budget(History(others), trial(9, [1.5]), 900) == Budget(300, 1)  # second of six
    assert halving.next_budget(History(others), trial(9, [2.5]), 900) is None  # third of six


def test_the_first_trial_goes_on() -> None:
    halving = SuccessiveHalving(eta=3, levels=2)
    assert halving.next_budget(History(), trial(0, [4.0]), 90) == Budget(90, 1)
    assert halving.next_budget(History([trial(0, [4.0, 3.0])]), trial(1, [4.1]), 90) is None


def test_rungs_are_judged_apart() -> None:
    halving = SuccessiveHalving(eta=2, levels=3)
    others = [trial(0, [5.0, 1.0, 0.5]), trial(1, [5.0, 2.0])]
    assert halving.next_budget(History(others), trial(2, [4.0, 1.5]), 400) is None  # better on rung 0, second of three on rung 1
    assert halving.next_budget(History(others), trial(2, [4.0, 0.9]), 400) == Budget(400, 2)


def test_the_top_rung_is_the_end() -> None:
    assert SuccessiveHalving(levels=2).next_budget(History(), trial(0, [1.0, 0.5]), 90) is None


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.STOPPED, Status.FAILED, Status.DUPLICATE])
@pytest.mark.parametrize("schedule", [Fixed(), SuccessiveHalving()])
def test_a_finished_trial_gets_nothing(schedule: schedules.Schedule, status: Status) -> None:
    assert schedule.next_budget(History(), trial(0, status=status), 900) is None


def test_baselines_always_get_everything_and_judge_nobody() -> None:
    halving = SuccessiveHalving(eta=3, levels=2)
    baselines = [trial(n, [0.1], origin="baseline:lstm") for n in range(3)]
    assert halving.next_budget(History([*baselines, trial(5, [0.01])]), trial(4, [9.0], origin="baseline:gru"), 90) == Budget(90, 1)
    assert halving.next_budget(History(baselines), trial(7, [9.0]), 90) == Budget(90, 1)


def test_ties_go_to_the_earlier_trial() -> None:
    halving = SuccessiveHalving(eta=2, levels=2)
    assert halving.next_budget(History([trial(3, [1.0])]), trial(4, [1.0]), 90) is None
    assert halving.next_budget(History([trial(4, [1.0])]), trial(3, [1.0]), 90) == Budget(90, 1)


def test_a_score_that_is_no_number_never_goes_on() -> None:
    assert SuccessiveHalving(levels=2).next_budget(History(), trial(0, [float("nan")]), 90) is None
    assert SuccessiveHalving(levels=2).next_budget(History(), trial(0, [float("inf")]), 90) is None


def test_the_answer_is_a_pure_function() -> None:
    halving = SuccessiveHalving(eta=3, levels=3)
    others = [trial(n, [float(n % 4)]) for n in range(12)]
    answers = {halving.next_budget(History(order), trial(20, [1.0]), 900) for order in (others, others[::-1])}
    assert len(answers) == 1


def test_halving_costs_a_fraction_and_keeps_the_winner() -> None:
    """60 trials whose scores at rung k are their quality plus less and less noise."""
    import numpy as np

    rng = np.random.default_rng(0)
    halving, steps = SuccessiveHalving(eta=3, levels=3), 0
    history: list[Trial] = []
    quality = rng.normal(size=60)
    quality[40] = -4.0
    for number in range(60):
        scores: list[float] = []
        while (budget := halving.next_budget(History(history), trial(number, scores), 900)) is not None:
            scores.append(float(quality[number] + rng.normal() * 0.5 / (budget.rung + 1)))
        steps += halving.rungs(900)[len(scores) - 1]
        history.append(trial(number, scores, status=Status.COMPLETED))
    assert len(history[40].rungs) == 3
    assert steps < 0.5 * 60 * 900


def test_they_are_found_by_name() -> None:
    assert schedules.names() == ("fixed", "halving")
    assert schedules.create("halving", {"eta": 4}) == SuccessiveHalving(eta=4)
    assert schedules.create("fixed") == Fixed()


@pytest.mark.parametrize(
    ("name", "options"),
    [("no", {}), ("fixed", {"eta": 3}), ("halving", {"eta": 1}), ("halving", {"eta": "3"}), ("halving", {"levels": True})],
)
def test_wrong_names_and_options_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        schedules.create(name, options)
