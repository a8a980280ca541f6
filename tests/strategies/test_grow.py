"""Growth: it keeps the function of what it starts from, learns which op pays where, looks ahead,
and stops.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cellsearch import schedules, strategies, zoo
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.schedules import LookAhead
from cellsearch.simulation.simulate import completed, simulate
from cellsearch.strategies.ranking import position_rates
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import Budget, Proposal, Result, Rung, Status, Trial

# -- from a given cell -----------------------------------------------------------------------------


def test_growth_from_a_given_cell_inherits_its_weights() -> None:
    history = simulate(
        strategies.create("grow", {"start": "mgu", "inherit": True}),
        space(),
        likeness,
        trials=10,
        seed=1,
        workers=1,
    )
    assert history[0].genome.key == zoo.load("mgu").key
    assert all(trial.proposal.inherit == trial.proposal.parents[0] for trial in list(history)[1:])
    assert strategies.create("grow").quiet_start
    assert not strategies.create("genetic").quiet_start


# -- what the history teaches ----------------------------------------------------------------------


def child(number: int, origin: str, score: float) -> Trial:
    genome = space().sample(np.random.default_rng(number))
    return completed(Trial(number, Proposal(genome, (0,), origin)), score)


def test_an_op_is_judged_by_its_place_and_borrows_from_other_places() -> None:
    """gate@linear 3 of 3 better, gate@output 0 of 3; gate 3 of 6, so (1+3)/(2+6) = 0.5 is the prior
    of each place, worth two children.
    """
    trials = [completed(Trial(0, Proposal(space().start(), origin="grow:start")), 1.0)]
    trials += [child(1 + k, "grow:gate@linear", 0.5) for k in range(3)] + [
        child(4 + k, "grow:gate@output", 1.5) for k in range(3)
    ]
    rates = position_rates(
        History(trials), ["gate@linear", "gate@output", "gate@state", "tanh@linear"], window=50
    )
    linear, output = (2 * 0.5 + 3) / 5, (2 * 0.5 + 0) / 5
    assert rates == pytest.approx(
        {
            "gate@linear": 1.0,
            "gate@output": output / linear,
            "gate@state": 0.5 / linear,
            "tanh@linear": 0.5 / linear,
        }
    )
    newest = position_rates(History(trials), ["gate@linear", "gate@output"], window=3)
    assert newest["gate@linear"] > newest["gate@output"]


def test_the_kinds_say_where() -> None:
    kinds = space().growth_kinds(zoo.load("lstm"))
    assert {"tanh@linear", "gate@linear", "blend@mul", "gate@mul"} <= set(kinds)
    places = {kind.partition("@")[2] for kind in kinds}
    assert places == {"linear", "sigmoid", "tanh", "mul", "add", "output", "state"}


# -- look-ahead ------------------------------------------------------------------------------------


def test_the_best_of_the_siblings_goes_on() -> None:
    steps = 100
    schedule = schedules.create("lookahead", {"share": 0.2})
    history = simulate(
        strategies.create("grow", {"inherit": True, "frontier": "levels"}),
        space(),
        likeness,
        trials=60,
        seed=3,
        schedule=schedule,
        steps=steps,
    )
    grown = [trial for trial in history if trial.proposal.parents]
    assert {trial.rungs[0].budget.steps for trial in grown} == {20}
    long = [trial for trial in grown if trial.rungs[-1].budget.steps == steps]
    assert 0.2 * len(grown) < len(long) < 0.7 * len(grown)
    for parent in {trial.proposal.parents[0] for trial in grown}:
        siblings = [trial for trial in grown if trial.proposal.parents == (parent,)]
        best = min(siblings, key=lambda t: t.rungs[0].result.score)  # type: ignore[union-attr]
        assert best in long
    spent = sum(trial.rungs[-1].budget.steps for trial in history)
    assert spent < 0.7 * steps * len(history)


def scored(
    number: int,
    parents: tuple[int, ...],
    score: float,
    steps: int,
    status: Status = Status.RUNNING,
    origin: str = "grow:x@y",
) -> Trial:
    result = Result(score, score, steps, 0.0, 1, 1)
    return Trial(
        number,
        Proposal(space().start(), parents, origin),
        status,
        (Rung(Budget(steps, 0), result),),
    )


def test_a_candidate_is_compared_with_its_siblings_alone() -> None:
    schedule = LookAhead(share=0.2)
    others = [
        scored(0, (), 0.1, 100, Status.COMPLETED),
        scored(1, (0,), 0.5, 20, Status.STOPPED),
        scored(2, (1,), 0.3, 20, Status.STOPPED),
    ]
    better, worse, cousin = (
        scored(3, (0,), 0.4, 20),
        scored(3, (0,), 0.6, 20),
        scored(3, (7,), 0.9, 20),
    )
    budgets = [
        schedule.next_budget(History([*others, trial]), trial, 100)
        for trial in (better, worse, cousin)
    ]
    assert budgets == [Budget(100, 1), None, Budget(100, 1)]


def test_what_has_no_siblings_gets_the_full_training() -> None:
    schedule = LookAhead()
    for origin, parents in (("grow:start", ()), ("baseline:lstm", ()), ("supernet:0:1", (0,))):
        trial = Trial(1, Proposal(space().start(), parents, origin))
        assert schedule.next_budget(History(), trial, 50) == Budget(50, 0)
        assert (
            schedule.next_budget(
                History(), scored(1, parents, 1.0, 50, Status.COMPLETED, origin), 50
            )
            is None
        )
    assert schedule.rungs(50) == (10, 50)
    assert schedule.rungs(1) == (1,)
    with pytest.raises(ConfigError, match=r"share: .* is out of range"):
        LookAhead(share=1.0)


# -- the stop rule ---------------------------------------------------------------------------------


def flattening(genome: Genome, steps: int) -> float:
    """Each of the first eight nodes is worth 0.1, each further one a thousandth of that; the
    simulator counts a weight a node.
    """
    nodes = len(genome.nodes)
    return 2.0 - 0.1 * min(nodes, 8) - 1e-4 * max(0, nodes - 8)


def test_growth_stops_when_nodes_do_not_pay() -> None:
    """With 0.01 a node (10 for 1,000 weights) growth ends soon after eight nodes, a step being at
    most six; without pay it goes on.
    """
    history = simulate(
        strategies.create("grow", {"pay": 10.0, "patience": 2}),
        space(),
        flattening,
        trials=200,
        seed=1,
    )
    assert len(history) < 100
    best = history.best()
    assert best is not None
    assert len(best.genome.nodes) >= 8
    assert max(len(trial.genome.nodes) for trial in history) <= 20
    without = simulate(strategies.create("grow"), space(), flattening, trials=100, seed=1)
    assert len(without) == 100


def test_growth_does_not_stop_while_nodes_pay() -> None:
    free = simulate(
        strategies.create("grow", {"pay": 1e-3}), space(), flattening, trials=60, seed=1
    )
    assert len(free) == 60


def test_growth_stops_at_any_number_of_workers() -> None:
    for workers in (1, 3):
        history = simulate(
            strategies.create("grow", {"pay": 10.0}),
            space(),
            flattening,
            trials=120,
            seed=1,
            workers=workers,
        )
        assert len(history) < 120
        assert all(trial.status.finished for trial in history)


def test_a_negative_pay_is_refused() -> None:
    with pytest.raises(ConfigError, match="out of range"):
        strategies.create("grow", {"pay": -1.0})
    assert replace(strategies.create("grow"), pay=2.0).pay == 2.0  # type: ignore[type-var,attr-defined]
