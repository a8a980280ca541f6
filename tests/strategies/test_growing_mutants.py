"""The genetic search's steps of growth, and the cells that it does not train."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from cellsearch import strategies
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.simulation.simulate import best_so_far, completed, failed, simulate
from cellsearch.space.stability import has_zero_state, may_explode
from cellsearch.strategies import odds
from cellsearch.strategies.odds import Explosions, is_worth_training
from cellsearch.strategies.ranking import (
    crossover_rate,
    growth_rate,
    position_rates,
    scored_children,
    success_rates,
)
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import Origin, Proposal, Status, Trial

STEPS = {"gate", "view", "keep", "mix", "state", "memory", "delay", "split"}
"""Of growth, in a space without blends."""
CALM = "h[t] = tanh(linear(x[t], h[t-1]))"
WILD = "h[t] = linear(x[t], h[t-1])"
ZERO = "h[t] = h[t-1] * sigmoid(linear(x[t]))"


def run(seed: int = 1, trials: int = 60, score: object = None, **options: object) -> History:
    """A simulated search from the tanh RNN; unless told otherwise, likeness to the LSTM scores."""

    def like(genome: Genome, steps: int) -> float:
        return likeness(genome, steps, "lstm")

    strategy = strategies.create("genetic", options)
    return simulate(strategy, space("tanh_start"), score or like, trials=trials, seed=seed)  # type: ignore[arg-type]


def ended(texts: list[tuple[str, bool]]) -> History:
    """Trials of these cells and whether each failed."""
    trials = (Trial(k, Proposal(Genome.from_text(text))) for k, (text, _) in enumerate(texts))
    return History(
        [
            failed(trial) if fails else completed(trial, 1.0)
            for trial, (_, fails) in zip(trials, texts, strict=True)
        ]
    )


# -- steps of growth -------------------------------------------------------------------------------


def test_it_grows_as_often_as_declared() -> None:
    """Binomial within four standard deviations; a cell that is full cannot grow, hence few
    trials.
    """
    kinds: Counter[str] = Counter()
    for seed in range(4):
        history = run(seed, grow=0.5, crossover=0.0, adaptive=False, sift=False)
        kinds.update(trial.proposal.origin.kind for trial in history)
    children = kinds["grow"] + kinds["mutate"]
    assert children > 180
    assert abs(kinds["grow"] / children - 0.5) < 4 * 0.5 / math.sqrt(children)
    assert not any(t.proposal.origin.kind == "grow" for t in run(grow=0.0))


def test_what_grows_keeps_its_parent_and_says_step_and_place() -> None:
    history = run(grow=1.0, crossover=0.0)
    grown = [trial for trial in history if trial.proposal.origin.kind == "grow"]
    assert {trial.proposal.origin.detail for trial in grown} & STEPS
    for trial in grown:
        (number,) = trial.proposal.parents
        parent = history.by_number[number].genome
        assert len(trial.genome.nodes) >= len(parent.nodes)
        kind = f"{trial.proposal.origin.detail}@{trial.proposal.origin.place}"
        assert kind in space("tanh_start").growth_kinds(parent)


def test_a_cell_on_an_island_says_the_island() -> None:
    history = run(grow=1.0, crossover=0.0, islands=2, trials=40)
    grown = [trial for trial in history if trial.proposal.origin.kind == "grow"]
    assert {trial.proposal.origin.place for trial in grown} == {"0", "1"}


def test_it_finds_the_lstm_sooner_than_by_mutation_alone() -> None:
    """From the tanh RNN, mean of the best likeness after 60 cells over eight seeds: further apart
    than two standard errors.
    """
    steps, alone = (
        np.array([best_so_far(run(seed, **options))[-1] for seed in range(8)])
        for options in ({"grow": 0.5}, {"grow": 0.0})
    )
    error = math.sqrt((steps.var(ddof=1) + alone.var(ddof=1)) / 8)
    assert alone.mean() - steps.mean() > 2 * error


def test_growth_rate_by_hand() -> None:
    """Grown: 2 of 2 better, 3 / 4; mutants: 0 of 2, 1 / 4. Of 0.4 that makes 0.3 / (0.3 + 0.15).
    Beside both, 2 of 4, the crossed one of 1: 2 / 3 against 1 / 2. And the step of growth that is
    called as a mutation is, is none.
    """
    cells = list(itertools.islice(_cells(), 6))
    record = [
        (Origin("grow", "delay", "add"), 0.5),
        (Origin("grow", "gate", "add"), 0.7),
        (Origin("mutate", "delay"), 1.5),
        (Origin("mutate", "gate"), 2.0),
        (Origin("crossover"), 0.1),
    ]
    trials = [completed(Trial(0, Proposal(cells[0])), 1.0)]
    for number, (origin, score) in enumerate(record, start=1):
        trial = Trial(number, Proposal(cells[number], (0,), origin))
        trials.append(completed(trial, score))
    history = History(trials)
    assert growth_rate((), 0.4, window=100) == pytest.approx(0.4)
    for known in (history, list(scored_children(history))):
        assert growth_rate(known, 0.4, window=100) == pytest.approx(0.3 / 0.45)
        assert growth_rate(known, 0.0, window=100) == 0.0
        expected = 0.4 * (2 / 3) / (0.4 * (2 / 3) + 0.6 * (1 / 2))
        assert crossover_rate(known, 0.4, window=100) == pytest.approx(expected)
        rates = success_rates(known, ["delay", "gate", "op"], window=100, floor=0.01)
        assert rates["delay"] == rates["gate"] == pytest.approx((1 / 3) / (1 / 3 + 1 / 3 + 1 / 2))
    rates = position_rates(history, ["delay@add", "keep@add"], window=100)
    assert rates["delay@add"] > rates["keep@add"]


def _cells() -> itertools.chain[Genome]:
    rng = np.random.default_rng(0)
    return itertools.chain(space("tanh_start").sample(rng) for _ in itertools.count())


# -- cells that are not trained --------------------------------------------------------------------


def test_odds_by_hand() -> None:
    """Of those that may explode 1 of 3 succeeded, 2 / 5; of the others 1 of 1, 2 / 3; without any
    record both are 1 / 2.
    """
    texts = [
        (WILD, True),
        ("h[t] = linear(x[t]) + h[t-1] * linear(x[t])", True),
        ("h[t] = linear(h[t-1]) + sigmoid(linear(x[t]))", False),
        (CALM, False),
    ]
    history = ended(texts)
    assert [may_explode(trial.genome) for trial in history] == [True, True, True, False]
    assert History().index(Explosions).odds() == 1.0
    assert history.index(Explosions).odds() == pytest.approx((2 / 5) / (2 / 3))
    assert history.index(Explosions, "prune").odds() == 1.0
    assert ended([(CALM, True), (WILD, False)]).index(Explosions).odds() == 1.0


def test_only_the_newest_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each trial that comes, and after each that is left out again, the odds are those of the
    last four, and older cells are not looked at.
    """
    monkeypatch.setattr(odds, "WINDOW", 4)
    rng = np.random.default_rng(1)
    texts = [((WILD, CALM)[rng.integers(2)], bool(rng.integers(2))) for _ in range(30)]
    trials = list(ended(texts))
    index = Explosions()

    def expected(count: int) -> float:
        fresh = Explosions()
        fresh.fill(trials[max(count - 4, 0) : count])
        return fresh.odds()

    assert len({expected(count) for count in range(30)}) > 4  # the window matters
    for count in range(1, 31):
        index.put(trials[count - 1])
        assert index.odds() == expected(count)
        if count > 3:
            for left in (1, 2):
                index.drop(trials[count - left])
                assert index.odds() == expected(count - left)
            for left in (2, 1):
                index.put(trials[count - left])
    looked_at: list[Genome] = []
    monkeypatch.setattr(odds, "may_explode", looked_at.append)
    later = Explosions()
    later.fill(trials)
    later.odds()
    assert looked_at == [trial.genome for trial in trials[-4:]]


def test_what_is_worth_a_training() -> None:
    rng = np.random.default_rng(0)
    history = ended([(WILD, True)] * 1 + [(CALM, False)])
    odds = history.index(Explosions).odds()

    def share(text: str) -> float:
        cell = Genome.from_text(text)
        return float(np.mean([is_worth_training(cell, history, rng) for _ in range(400)]))

    assert share(CALM) == 1.0
    assert share(ZERO) == 0.0
    assert abs(share(WILD) - odds) < 4 * math.sqrt(odds * (1 - odds) / 400)


def test_what_explodes_is_trained_less_the_more_of_it_failed() -> None:
    def score(genome: Genome, steps: int) -> float:
        return math.nan if may_explode(genome) else likeness(genome, steps, "lstm")

    wasted = {
        sift: sum(
            trial.status is Status.FAILED or has_zero_state(trial.genome)
            for seed in range(4)
            for trial in run(seed, score=score, sift=sift)
        )
        for sift in (True, False)
    }
    assert wasted[True] < 0.5 * wasted[False], wasted
    assert not any(has_zero_state(trial.genome) for trial in run(sift=True))


def test_a_search_of_nothing_but_such_cells_goes_on() -> None:
    """Every training fails: what may explode is drawn seldom, but something always is."""
    history = run(score=lambda genome, steps: math.nan, trials=40)
    assert len(history) == 40
