"""Schedules: who gets more training."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cellsearch import schedules
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.schedules import CurveStop, Fixed, SuccessiveHalving
from cellsearch.trial import Budget, Proposal, Result, Rung, Status, Trial

GENOME = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")


def trial(
    number: int,
    scores: Sequence[float] = (),
    *,
    origin: str = "random",
    status: Status = Status.RUNNING,
) -> Trial:
    rungs = tuple(
        Rung(
            Budget(10, k),
            Result(score=s, metric=s, steps=10, seconds=1.0, parameters=1, cell_parameters=1),
        )
        for k, s in enumerate(scores)
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
    assert SuccessiveHalving().next_budget(History([trial(0, [1.0])]), trial(1), 900) == Budget(
        100, 0
    )


def test_only_the_best_third_goes_on() -> None:
    halving = SuccessiveHalving(eta=3, levels=3)
    others = [trial(n, [float(n)]) for n in range(1, 6)]  # scores 1 to 5
    assert halving.next_budget(History(others), trial(9, [0.5]), 900) == Budget(300, 1)
    assert halving.next_budget(History(others), trial(9, [1.5]), 900) == Budget(
        300, 1
    )  # second of six
    assert halving.next_budget(History(others), trial(9, [2.5]), 900) is None  # third of six


def test_the_first_trial_goes_on() -> None:
    halving = SuccessiveHalving(eta=3, levels=2)
    assert halving.next_budget(History(), trial(0, [4.0]), 90) == Budget(90, 1)
    assert halving.next_budget(History([trial(0, [4.0, 3.0])]), trial(1, [4.1]), 90) is None


def test_rungs_are_judged_apart() -> None:
    halving = SuccessiveHalving(eta=2, levels=3)
    others = [trial(0, [5.0, 1.0, 0.5]), trial(1, [5.0, 2.0])]
    assert (
        halving.next_budget(History(others), trial(2, [4.0, 1.5]), 400) is None
    )  # better on rung 0, second of three on rung 1
    assert halving.next_budget(History(others), trial(2, [4.0, 0.9]), 400) == Budget(400, 2)


def test_the_top_rung_is_the_end() -> None:
    assert SuccessiveHalving(levels=2).next_budget(History(), trial(0, [1.0, 0.5]), 90) is None


@pytest.mark.parametrize(
    "status", [Status.COMPLETED, Status.STOPPED, Status.FAILED, Status.DUPLICATE]
)
@pytest.mark.parametrize("schedule", [Fixed(), SuccessiveHalving()])
def test_a_finished_trial_gets_nothing(schedule: schedules.Schedule, status: Status) -> None:
    assert schedule.next_budget(History(), trial(0, status=status), 900) is None


def test_baselines_always_get_everything_and_judge_nobody() -> None:
    halving = SuccessiveHalving(eta=3, levels=2)
    baselines = [trial(n, [0.1], origin="baseline:lstm") for n in range(3)]
    assert halving.next_budget(
        History([*baselines, trial(5, [0.01])]), trial(4, [9.0], origin="baseline:gru"), 90
    ) == Budget(90, 1)
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
    answers = {
        halving.next_budget(History(order), trial(20, [1.0]), 900)
        for order in (others, others[::-1])
    }
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
        while (
            budget := halving.next_budget(History(history), trial(number, scores), 900)
        ) is not None:
            scores.append(float(quality[number] + rng.normal() * 0.5 / (budget.rung + 1)))
        steps += halving.rungs(900)[len(scores) - 1]
        history.append(trial(number, scores, status=Status.COMPLETED))
    assert len(history[40].rungs) == 3
    assert steps < 0.5 * 60 * 900


def test_they_are_found_by_name() -> None:
    assert schedules.names() == ("curve_stop", "fixed", "halving", "lookahead")
    assert schedules.create("halving", {"eta": 4}) == SuccessiveHalving(eta=4)
    assert schedules.create("fixed") == Fixed()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("no", {}),
        ("fixed", {"eta": 3}),
        ("halving", {"eta": 1}),
        ("halving", {"eta": "3"}),
        ("halving", {"levels": True}),
    ],
)
def test_wrong_names_and_options_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        schedules.create(name, options)


# -- curve_stop ------------------------------------------------------------------------------------

MEDIAN = CurveStop(looks=4, grace=0.2, quantile=0.5, minimum=3)


def curved(
    number: int,
    scores: Sequence[float],
    *,
    origin: str = "random",
    status: Status = Status.COMPLETED,
) -> Trial:
    """A trial with one validation at the end of each look; full training has 100 steps."""
    points = [(20 * (k + 1), score) for k, score in enumerate(scores)]
    rungs = []
    for k, (steps, score) in enumerate(points):
        result = Result(score, score, steps, 1.0, 1, 1, curve=tuple(points[: k + 1]))
        rungs.append(Rung(Budget(steps, k), result))
    return Trial(number, Proposal(GENOME, origin=origin), status, tuple(rungs))


def test_the_looks_are_spread_from_the_grace_to_the_end() -> None:
    assert CurveStop(looks=4, grace=0.2).rungs(100) == (20, 40, 60, 80, 100)
    assert CurveStop(looks=1, grace=0.5).rungs(7) == (4, 7)
    assert MEDIAN.next_budget(History(), trial(0), 100) == Budget(20, 0)


def test_a_curve_worse_than_the_median_of_the_completed_ones_stops() -> None:
    # Means up to step 40: 4.5, 3.5, 2.5; the median is 3.5.
    history = History(
        [curved(0, [5, 4, 3, 2, 1]), curved(1, [4, 3, 3, 2, 2]), curved(2, [3, 2, 2, 2, 2])]
    )
    running = Status.RUNNING
    assert MEDIAN.next_budget(history, curved(3, [9, 3.6], status=running), 100) is None
    assert MEDIAN.next_budget(history, curved(3, [9, 3.5], status=running), 100) == Budget(60, 2)
    assert MEDIAN.next_budget(history, curved(3, [3.4, 9.0], status=running), 100) == Budget(
        60, 2
    )  # its best so far counts
    strict = CurveStop(looks=4, grace=0.2, quantile=0.1, minimum=3)
    assert (
        strict.next_budget(history, curved(3, [9, 2.8], status=running), 100) is None
    )  # above 2.5 + 0.2 * (3.5 - 2.5)
    assert strict.next_budget(history, curved(3, [9, 2.6], status=running), 100) == Budget(60, 2)


def test_nothing_stops_before_enough_have_been_completed() -> None:
    history = [
        curved(0, [1, 1, 1, 1, 1]),
        curved(1, [1, 1, 1, 1, 1]),
        curved(2, [1, 1], status=Status.STOPPED),
    ]
    late = curved(4, [9, 9], status=Status.RUNNING)
    assert MEDIAN.next_budget(History(history), late, 100) == Budget(60, 2)
    assert MEDIAN.next_budget(History([*history, curved(3, [1, 1, 1, 1, 1])]), late, 100) is None


def test_curves_of_baselines_and_ended_trials_are_left_alone() -> None:
    history = History([curved(n, [1, 1, 1, 1, 1]) for n in range(3)])
    poor = curved(4, [9, 9], origin="baseline:gru", status=Status.RUNNING)
    assert MEDIAN.next_budget(history, poor, 100) == Budget(60, 2)
    assert (
        MEDIAN.next_budget(history, curved(4, [9, 9, 9, 9, 9], status=Status.RUNNING), 100) is None
    )
    assert MEDIAN.next_budget(history, curved(4, [9, 9], status=Status.STOPPED), 100) is None


def test_curve_stop_is_made_by_name_and_checks_its_options() -> None:
    made = schedules.create("curve_stop", {"quantile": 0.8, "grace": 0.3})
    assert made == CurveStop(quantile=0.8, grace=0.3)
    for wrong in ({"quantile": 1}, {"grace": 0.0}, {"looks": 0}, {"minimum": 0}):
        (name,) = wrong
        with pytest.raises(ConfigError, match=f"schedule_options.{name}: .* is out of range"):
            schedules.create("curve_stop", wrong)
    with pytest.raises(ConfigError, match=r"2\.5 is not a whole number") as caught:
        schedules.create("curve_stop", {"looks": 2.5})
    assert caught.value.hint == "allowed: a whole number, at least 1; the default is 4"
