"""Which cell growth extends next: results are handed up, cells whose children fail give way, and
what it costs to say so does not rise with the length of the search.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from cellsearch import strategies, zoo
from cellsearch.history import History
from cellsearch.simulation.simulate import completed, failed, simulate
from cellsearch.space import growth
from cellsearch.strategies import grow
from cellsearch.strategies.tree import Frontier
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import ENQUEUED, Budget, Proposal, Rung, Status, Trial


def grown(*found: tuple[int, float]) -> list[Trial]:
    """The start with score 1, and extensions: the parent of each and its score."""
    start = Proposal(space().start(), origin="grow:start")
    trials = [completed(Trial(0, start), 1.0)]
    for number, (parent, score) in enumerate(found, start=1):
        genome = space().sample(np.random.default_rng(number))
        trial = Trial(number, Proposal(genome, (parent,), "grow:gate@output"))
        trials.append(completed(trial, score) if score < float("inf") else failed(trial))
    return trials


def following(trials: list[Trial], explore: float = 0.5) -> int:
    return History(trials).index(Frontier, 0.0).next(explore)


def test_growth_follows_what_got_better() -> None:
    assert following(grown()) == 0
    assert following(grown((0, 0.9), (0, 1.1), (0, 1.1), (1, 0.7), (1, 0.8))) == 4


def test_a_cell_whose_children_are_worse_gives_way_and_comes_back() -> None:
    """Cell 1 leads, 2 is close behind. Each failure of a child of 1 makes it less promising, until
    it is 2's turn; when 2 brings nothing either, it is 1's again.
    """
    trials = grown((0, 0.50), (0, 0.52), (0, 0.90))
    turns = []
    for _ in range(12):
        number = following(trials)
        turns.append(number)
        genome = space().sample(np.random.default_rng(100 + len(trials)))
        proposal = Proposal(genome, (number,), "grow:gate@output")
        trials.append(completed(Trial(len(trials), proposal), 0.9))
    assert turns[0] == 1
    assert 2 in turns
    assert 1 in turns[turns.index(2) + 1 :]


def test_a_good_descendant_makes_its_ancestors_promising() -> None:
    """1 and 2 are alike, and so are their children; what grew from these differs."""
    alike = [(0, 0.6), (0, 0.6), (0, 0.9), (1, 0.7), (2, 0.7)]
    first, second = {1, 4, 6}, {2, 5, 7}
    assert following(grown(*alike, (4, 0.65), (5, 0.3)), explore=0.0) in second
    assert following(grown(*alike, (4, 0.3), (5, 0.65)), explore=0.0) in first


def test_the_start_is_gone_back_to() -> None:
    """However bad it is: its extensions are the beginnings of all cells."""
    trials = grown((0, 0.5), *((1 + k, 0.49 - 0.01 * k) for k in range(8)))
    assert following(trials) == 0


def test_failed_cells_and_cells_in_flight_are_not_extended() -> None:
    trials = grown((0, float("inf")), (0, float("inf")), (0, 0.9))
    running = Trial(4, trials[2].proposal, Status.RUNNING, (Rung(Budget(100)),))
    for _ in range(10):
        number = following([*trials, running])
        assert number in (0, 3)
    assert following([*trials, running], explore=0.0) == 3


def test_what_a_person_asked_for_is_a_parent() -> None:
    """And a control is none."""
    control = completed(Trial(0, Proposal(zoo.load("lstm"), origin="baseline:lstm")), 0.1)
    start = completed(Trial(1, Proposal(space().start(), origin="grow:start")), 1.0)
    asked = completed(Trial(2, Proposal(zoo.load("gru"), origin=ENQUEUED)), 0.4)
    assert following([control, start, asked], explore=0.0) == 2
    assert following([control, start], explore=0.0) == 1
    proposal = strategies.create("grow").propose(
        space(), History([control, start, asked]), np.random.default_rng(0)
    )
    assert proposal is not None
    assert proposal.parents == (2,)


def test_growth_beats_random_search_where_cells_have_to_be_like_another() -> None:
    """Mean over five seeds of the best of 60 cells."""
    ends = {
        name: np.mean(
            [
                min(
                    t.score
                    for t in simulate(
                        strategies.create(name), space(), likeness, trials=60, seed=seed
                    )
                )
                for seed in range(3)
            ]
        )
        for name in ("grow", "random")
    }
    assert ends["grow"] < ends["random"] - 0.02


# -- cost of a proposal ----------------------------------------------------------------------------


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Cells that are made and tried, and parents whose record is read."""
    found: Counter[str] = Counter()
    for module, name in ((growth, "apply"), (grow, "position_rates")):
        real = getattr(module, name)

        def counting(*args: Any, real: Any = real, name: str = name, **options: Any) -> Any:
            found[name] += 1
            return real(*args, **options)

        monkeypatch.setattr(module, name, counting)
    return found


def test_a_proposal_tries_as_few_cells_late_as_early(counts: Counter[str]) -> None:
    """It used to draw from the three best cells whatever was known of them: of 250 trials each
    proposal tried 5 cells, of 500 11, nearly all of them known already.
    """
    at: list[Counter[str]] = []

    def observe(trial: Trial) -> None:
        if trial.number in (40, 80, 160):
            at.append(Counter(counts))

    def scored(genome: Any, steps: int) -> float:
        return int(genome.key[:8], 16) / 16**8

    simulate(
        strategies.create("grow"), space(), scored, trials=161, seed=1, workers=1, on_result=observe
    )
    early, late = at[1] - at[0], at[2] - at[1]
    assert early["apply"] >= 40
    assert late["position_rates"] >= 40, "it is counted at all"
    assert late["apply"] / 80 < 3
    assert late["position_rates"] / 80 < 1.5
    assert late["apply"] / 80 < 1.5 * early["apply"] / 40
