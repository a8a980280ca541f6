"""The parts that strategies are made of, each against values worked out by hand or by another
way.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest

from cellsearch import strategies, zoo
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.simulation.simulate import completed, failed, simulate
from cellsearch.strategies.features import distance, features, matrix
from cellsearch.strategies.nsga2 import OBJECTIVES, crowding, fronts
from cellsearch.strategies.prune import weakest_first
from cellsearch.strategies.ranking import (
    best,
    crossover_rate,
    members,
    scored_children,
    success_rates,
    tournament,
)
from cellsearch.strategies.surrogate import GaussianProcess, RidgeEnsemble, standardised
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import Connection, Proposal, Status, Trial


def trial(
    number: int,
    genome: Genome,
    score: float,
    *,
    origin: str = "random",
    parents: tuple[int, ...] = (),
) -> Trial:
    return completed(Trial(number, Proposal(genome, parents, origin)), score)


def some(count: int) -> list[Genome]:
    rng = np.random.default_rng(0)
    return [space().sample(rng) for _ in range(count)]


# -- features --------------------------------------------------------------------------------------


def test_features_do_not_depend_on_names_or_order():
    text = (
        "r = sigmoid(linear(x[t], h[t-1]))\nz = sigmoid(linear(x[t], h[t-1]))\nh[t] = "
        "blend(z, h[t-1], tanh(linear(x[t], r * h[t-1])))"
    )
    other = (
        "a = sigmoid(linear(h[t-1], x[t]))\nb = sigmoid(linear(x[t], h[t-1]))\nh[t] = "
        "blend(b, h[t-1], tanh(linear(a * h[t-1], x[t])))"
    )
    first, second = (dict(features(Genome.from_text(written))) for written in (text, other))
    assert first == second
    assert distance(Genome.from_text(text), Genome.from_text(other)) == 0


def test_distance_is_exactly_the_same_both_ways():
    """Also in another process, where the names of features come in another order."""
    cells = [zoo.load(name) for name in zoo.names()]
    assert all(distance(a, b) == distance(b, a) for a, b in combinations(cells, 2))


def test_distance_is_larger_between_less_similar_cells():
    lstm = zoo.load("lstm")
    assert distance(lstm, lstm) == 0
    assert (
        0
        < distance(lstm, zoo.load("lstm_1997"))
        < distance(lstm, zoo.load("gru"))
        < distance(lstm, zoo.load("rnn_tanh"))
        <= 1
    )
    assert distance(lstm, zoo.load("gru")) == distance(zoo.load("gru"), lstm)


def test_the_matrix_has_a_row_for_each_cell():
    cells = some(5)
    assert matrix(cells).shape == (5, len({name for cell in cells for name in features(cell)}))


# -- surrogate models ------------------------------------------------------------------------------


def test_scores_are_standardised_without_being_ruled_by_outliers():
    scores = standardised(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 1e9, np.inf]))
    assert scores[-1] == scores[-2] == 3
    assert np.all(np.diff(scores[:5]) > 0.3)
    assert np.array_equal(standardised(np.array([np.inf, np.inf])), [0, 0])


@pytest.mark.parametrize("model", ["gp", "ridge"])
def test_the_models_learn_a_function_of_the_features(model):
    """A linear function of ten features with noise: predictions on fresh points correlate with the
    truth, and not by chance.
    """
    rng = np.random.default_rng(0)
    x, fresh, weights = rng.normal(size=(80, 10)), rng.normal(size=(60, 10)), rng.normal(size=10)
    y = standardised(x @ weights + 0.1 * rng.normal(size=80))
    predict = (
        GaussianProcess().predict
        if model == "gp"
        else lambda *given: RidgeEnsemble().predict(*given, np.random.default_rng(1))
    )
    mean, deviation = predict(x, y, fresh)
    assert np.corrcoef(mean, fresh @ weights)[0, 1] > 0.8
    assert np.all(deviation > 0)
    shuffled, _ = predict(x, rng.permutation(y), fresh)
    assert abs(np.corrcoef(shuffled, fresh @ weights)[0, 1]) < 0.6


@pytest.mark.parametrize("value", [0.1, 1 / 3, np.log(33_024), -7e9 - 0.1])
def test_a_feature_that_never_changed_counts_little(value):
    """Its computed deviation is that of rounding: divided by it, a cell in which it differs would
    be nowhere near any other.
    """
    rng = np.random.default_rng(0)
    x, fresh = (np.c_[rng.normal(size=(83, 3)), np.full(83, value)] for _ in range(2))
    other = fresh + np.array([0, 0, 0, 0.05])
    for predict in (
        GaussianProcess().predict,
        lambda *given: RidgeEnsemble().predict(*given, np.random.default_rng(1)),
    ):
        known, changed = (predict(x, standardised(x[:, 0]), at)[0] for at in (fresh, other))
        assert np.abs(known - changed).max() < 0.2


def test_the_process_is_sure_where_it_has_seen_points_and_unsure_elsewhere():
    x = np.linspace(0, 1, 12)[:, None]
    _, deviation = GaussianProcess(lengths=(0.3,), noises=(0.01,)).predict(
        x, np.sin(6 * x[:, 0]), np.array([[0.5], [4.0]])
    )
    assert deviation[0] < 0.2 < 0.9 < deviation[1]


def test_the_process_equals_the_textbook_formula():
    rng = np.random.default_rng(3)
    x, y, at = rng.normal(size=(9, 2)), rng.normal(size=9), rng.normal(size=(4, 2))
    mean, deviation = GaussianProcess(lengths=(1.0,), noises=(0.1,)).predict(x, y, at)
    x, at = (x - x.mean(0)) / x.std(0), (at - x.mean(0)) / x.std(0)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    unit = np.median(squared[squared > 1e-9])
    inverse = np.linalg.inv(np.exp(-squared / (2 * unit)) + 0.1 * np.eye(9))
    cross = np.exp(-((x[:, None] - at[None]) ** 2).sum(-1) / (2 * unit))
    assert np.allclose(mean, cross.T @ inverse @ y, atol=1e-6)
    assert np.allclose(deviation**2, 1 - np.einsum("im,ij,jm->m", cross, inverse, cross), atol=1e-6)


# -- several objectives ----------------------------------------------------------------------------


def test_fronts_by_hand():
    values = np.array([[1.0, 5.0], [2.0, 2.0], [5.0, 1.0], [3.0, 3.0], [5.0, 5.0], [2.0, 2.0]])
    assert [sorted(front) for front in fronts(values)] == [[0, 1, 2, 5], [3], [4]]


def test_fronts_agree_with_the_definition_on_random_points():
    values = np.random.default_rng(0).integers(0, 6, size=(60, 3)).astype(float)
    for rank, front in enumerate(fronts(values)):
        rest = [k for later in fronts(values)[rank:] for k in later]
        for k in front:
            assert not any(
                np.all(values[j] <= values[k]) and np.any(values[j] < values[k]) for j in rest
            )


def test_crowding_by_hand():
    distance_of = crowding(np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0]]))
    assert distance_of[0] == distance_of[3] == float("inf")
    assert distance_of[1] == pytest.approx(3 / 4 + 3 / 4)
    assert distance_of[2] == pytest.approx(3 / 4 + 2 / 4)


# -- records ---------------------------------------------------------------------------------------


def test_members_are_the_newest_scored_and_the_controls():
    cells = some(8)
    trials = [
        trial(0, zoo.load("lstm"), 0.1, origin="baseline:lstm"),
        trial(1, zoo.load("lstm_ln"), 0.1, origin="baseline:lstm_ln"),
    ]
    trials += [trial(k + 2, cell, 1.0) for k, cell in enumerate(cells)]
    trials[5] = failed(trials[5])
    trials[9] = trials[9].with_(status=Status.RUNNING, rungs=())
    found = [t.number for t in members(space(), History(trials), 4)]
    assert found == [
        8,
        7,
        6,
        4,
        0,
    ]  # 9 runs, 5 failed, and the space does not hold the LSTM with layer normalisation


def test_the_best_are_the_beginning_of_the_ranking():
    rng = np.random.default_rng(0)
    trials = [trial(k, cell, float(rng.integers(5))) for k, cell in enumerate(some(30))]
    trials[3] = failed(trials[3])
    trials[4] = trial(4, trials[4].genome, -1.0, origin="supernet:0:1")
    trials[5] = trials[5].with_(status=Status.RUNNING)
    history = History(trials)
    assert best(history, 12) == list(history.ranked[:12])
    assert best(history, 99) == list(history.ranked)


def test_a_tournament_of_all_is_won_by_the_best_and_of_one_by_anybody():
    trials = [trial(k, cell, float(k)) for k, cell in enumerate(some(6))]
    rng = np.random.default_rng(0)
    assert {tournament(trials, 6, rng).number for _ in range(20)} == {0}
    assert {tournament(trials, 1, rng).number for _ in range(200)} == set(range(6))


def test_success_rates_by_hand():
    """Operator a: 2 of 3 children better; b: 0 of 2; c: never tried. (1+2)/(2+3), 1/4, 1/2,
    normalised.
    """
    cells = some(7)
    trials = [trial(0, cells[0], 1.0)]
    for number, (operator, score) in enumerate(
        [("a", 0.5), ("a", 0.7), ("a", 1.5), ("b", 2.0), ("b", 1.0)], start=1
    ):
        trials.append(
            trial(number, cells[number], score, origin=f"mutate:{operator}", parents=(0,))
        )
    rates = success_rates(scored_children(History(trials)), ["a", "b", "c"], window=100, floor=0.01)
    total = 3 / 5 + 1 / 4 + 1 / 2
    assert rates == pytest.approx({"a": 3 / 5 / total, "b": 1 / 4 / total, "c": 1 / 2 / total})
    latest = success_rates(scored_children(History(trials)), ["a", "b", "c"], window=2, floor=0.01)
    assert latest["a"] == latest["c"] > latest["b"]
    assert success_rates(History(trials), ["a", "b", "c"], window=2, floor=0.01) == latest


def test_crossover_rate_by_hand():
    """Crossed: 2 of 2 better, (1 + 2) / (2 + 2); mutants: 0 of 3, 1 / 5. Of 0.2 that makes 0.15 /
    (0.15 + 0.16).
    """
    cells = some(7)
    trials = [trial(0, cells[0], 1.0)]
    record = [
        ("crossover", 0.5),
        ("crossover+a", 0.7),
        ("mutate:a", 1.5),
        ("mutate:b", 2.0),
        ("mutate:b", 1.0),
    ]
    for number, (origin, score) in enumerate(record, start=1):
        trials.append(trial(number, cells[number], score, origin=origin, parents=(0,)))
    history = History(trials)
    assert crossover_rate((), 0.2, window=100) == pytest.approx(0.2)
    assert crossover_rate(history, 0.2, window=100) == pytest.approx(0.15 / 0.31)
    assert crossover_rate(scored_children(history), 0.2, window=100) == pytest.approx(0.15 / 0.31)
    assert crossover_rate(scored_children(history), 0.2, window=3) == pytest.approx(
        0.2 * (1 / 2) / (0.2 * (1 / 2) + 0.8 * (1 / 5))
    )
    assert crossover_rate(scored_children(history), 0.9, window=100) == pytest.approx(
        0.95
    )  # the bound
    assert crossover_rate(scored_children(history), 0.0, window=100) == 0.0


def test_classes_of_recurrence_are_an_objective():
    found = [
        OBJECTIVES["class"](space(), trial(0, zoo.load(name), 1.0))
        for name in ("mingru", "indrnn_relu", "lstm")
    ]
    assert found == [0, 1, 2]


def test_a_changed_trial_forgets_what_was_worked_out():
    first = trial(3, some(1)[0], 1.0)
    assert (first.score, first.standing) == (1.0, 1.0)
    failed = first.with_(status=Status.FAILED)
    assert failed.score == failed.standing == float("inf")
    assert first == trial(3, some(1)[0], 1.0)  # what is kept is not part of the value
    gated = first.with_(proposal=Proposal(first.genome, origin="supernet:0:0"))
    assert (gated.score, gated.standing) == (1.0, float("inf"))


def test_no_operator_is_given_up():
    cells = some(60)
    trials = [trial(0, cells[0], 1.0)] + [
        trial(k, cells[k], 2.0, origin="mutate:bad", parents=(0,)) for k in range(1, 60)
    ]
    rates = success_rates(scored_children(History(trials)), ["bad", "good"], window=100, floor=0.1)
    assert rates["bad"] == pytest.approx(0.1 / 1.0, rel=0.1)
    assert sum(rates.values()) == pytest.approx(1)


def test_the_weakest_connections_come_first():
    learned = {
        "a.scale": Connection(0.9, 0.01),
        "b.scale": Connection(0.1, 0.5),
        "n.weight_h": Connection(0.05, 0.2),
        "n.weight_x": Connection(0.01, 0.9),
    }
    names = [*learned, "unknown.scale"]
    assert weakest_first(names, learned, "saliency") == [
        "a.scale",
        "n.weight_h",
        "b.scale",
        "n.weight_x",
        "unknown.scale",
    ]
    # Gates are ranked within scalars and within matrices: b (1/6), x (1/4), a (1/2), h (3/4),
    # unknown (5/6).
    assert weakest_first(names, learned, "gate") == [
        "b.scale",
        "n.weight_x",
        "a.scale",
        "n.weight_h",
        "unknown.scale",
    ]


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "where", "what"),
    [
        ("genetic", {"population": 1}, "population", "out of range"),
        ("genetic", {"population": "many"}, "population", "not a whole number"),
        ("genetic", {"population": True}, "population", "not a whole number"),
        ("genetic", {"crossover": 1.5}, "crossover", "out of range"),
        ("genetic", {"adaptive": 1}, "adaptive", "not true or false"),
        ("prune", {"criteria": ["weight"]}, "criteria", "unknown value 'weight'"),
        ("prune", {"criteria": "gate"}, "criteria", "not a list"),
        ("predictor", {"model": "forest"}, "model", "unknown value 'forest'"),
        ("nsga2", {"objectives": ["score"]}, "objectives", "two or more"),
        ("nsga2", {"objectives": ["score", "beauty"]}, "objectives", "unknown objective"),
        ("random", {"seed": 1}, "seed", "unknown key 'seed'"),
    ],
)
def test_wrong_options_are_refused_with_their_name(name, options, where, what):
    with pytest.raises(ConfigError, match=what) as caught:
        strategies.create(name, options)
    assert caught.value.where == f"strategy_options.{where}"
    assert caught.value.hint


# An option, another value than its default, and what else must be said for it to matter.
EFFECTS = {
    "prune": {
        "start": "lstm",
        "criteria": ["gate"],
        "remove": 0.6,
        "target": 100,
        "tolerance": 0.0,
        "chains": 1,
        "drop": 0.7,
        "batches": 5,
        "first": 3,
        "fresh": 1.0,
        "memories": "always",
    },
    "grow": {
        "frontier": "levels",
        "explore": 3.0,
        "beam": 1,
        "branch": 1,
        "patience": 5,
        "start": "gru",
        "inherit": True,
        "pay": 0.2,
    },
    "genetic": {
        "population": 4,
        "initial": 2,
        "tournament": 1,
        "crossover": 0.9,
        "also_mutate": 1.0,
        "grow": 0.1,
        "sift": False,
        "islands": 3,
        "migration": 0.9,
        "species": 0.2,
        "adaptive": False,
        "inherit": True,
        "archive": "map_elites",
        "objectives": ["score", "nodes"],
    },
    "regularized_evolution": {"population": 5, "tournament": 2},
    "local_search": {"initial": 2, "patience": 2},
    "predictor": {
        "initial": 3,
        "incumbents": 1,
        "candidates": 3,
        "fresh": 1.0,
        "model": "ridge",
        "caution": 5.0,
        "random_share": 0.9,
    },
    "nsga2": {"objectives": ["nodes", "time"], "population": 4, "initial": 3, "crossover": 1.0},
    "random": {},
    "external": {},
}


NEEDED: dict[tuple[str, str], dict[str, object]] = {
    ("genetic", "migration"): {"islands": 3},
    **{("grow", option): {"frontier": "levels"} for option in ("beam", "branch", "patience")},
    **{
        ("prune", option): {"start": "full"}
        for option in ("criteria", "remove", "target", "tolerance", "chains", "drop")
    },
}


@pytest.mark.parametrize("name", strategies.names())
def test_every_option_changes_the_search(name):
    """The same seed with another value of one option: other proposals. A search that differs from
    itself would be no evidence.
    """

    @cache
    def proposals(**options):
        strategy = strategies.create(name, options)
        history = simulate(strategy, space(), likeness, trials=45, seed=1)
        return [
            (t.proposal.genome.key, str(t.proposal.origin), t.proposal.inherit) for t in history
        ], strategy.perturbation

    assert set(EFFECTS[name]) == set(strategies.options(name))
    assert proposals() == proposals.__wrapped__()
    for option, value in EFFECTS[name].items():
        needed = NEEDED.get((name, option), {})
        changed = tuple(value) if isinstance(value, list) else value
        assert proposals(**needed, **{option: changed}) != proposals(**needed), option


def test_crowding_of_what_was_not_measured():
    """A column of infinities says nothing (and warns of nothing); one among them is an end."""
    assert crowding(np.array([[0.0, np.inf], [1.0, np.inf], [4.0, np.inf]])) == [
        np.inf,
        1.0,
        np.inf,
    ]
    assert crowding(np.array([[0.0, 4.0], [1.0, np.inf], [4.0, 2.0], [2.0, 3.0]])) == [
        np.inf,
        np.inf,
        np.inf,
        3.0 / 4.0,
    ]


def test_options_are_taken_over():
    made = strategies.create("prune", {"remove": 1 / 2, "criteria": ["gate"], "chains": 3})
    assert (made.remove, made.criteria, made.chains) == (0.5, ("gate",), 3)
    assert strategies.options("genetic")["population"] == strategies.create("genetic").population


def test_an_unknown_start_of_growth_is_refused():
    with pytest.raises(ConfigError, match="elmann"):
        strategies.create("grow", {"start": "elmann"}).propose(
            space(), History(), np.random.default_rng(0)
        )
