"""The archive of niches, and parents by several objectives."""

from __future__ import annotations

import pytest

from cellsearch import strategies, zoo
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.job import Budget
from cellsearch.simulation.simulate import completed, simulate
from cellsearch.strategies.archive import Elites, elites, memory_kind, niche_of
from cellsearch.testing.strategies import space
from cellsearch.trial import Proposal, Rung, Trial


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rnn_tanh", "squashed"),
        ("lstm", "gated"),
        ("gru", "gated"),
        ("mgu", "gated"),
        ("mingru", "gated"),
        ("indrnn_relu", "squashed"),
    ],
)
def test_how_published_cells_remember(name: str, kind: str) -> None:
    assert memory_kind(zoo.load(name)) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("h[t] = h[t-1] + tanh(linear(x[t]))", "fixed"),
        ("h[t] = diag(h[t-1]) + linear(x[t])", "fixed"),
        ("h[t] = 0.5 * h[t-1] + linear(x[t])", "fixed"),
        ("h[t] = sigmoid(linear(x[t])) * h[t-1] + linear(x[t])", "gated"),
        ("h[t] = h[t-1] * h[t-1] + linear(x[t])", "squashed"),
        ("h[t] = blend(h[t-1], linear(x[t]), 1.0)", "squashed"),
        ("c[t] = h[t-1] + linear(x[t])\nh[t] = tanh(c[t])", "squashed"),
    ],
)
def test_how_a_state_gets_to_its_next_value(text: str, kind: str) -> None:
    assert memory_kind(Genome.from_text(text)) == kind


def trial(number: int, genome: Genome, score: float, origin: str = "mutate:op") -> Trial:
    begun = Trial(number, Proposal(genome, origin=origin), rungs=(Rung(Budget(9, 0)),))
    return completed(begun, score)


def test_the_best_of_each_niche_lives() -> None:
    lstm, rnn = zoo.load("lstm"), zoo.load("rnn_tanh")
    found = History(
        [
            trial(0, zoo.load("gru"), 0.1, "baseline:gru"),
            trial(1, lstm, 0.5),
            trial(2, rnn, 0.9),
            trial(3, zoo.load("rnn_relu"), 0.8),
        ]
    )
    assert [one.number for one in elites(found)] == [1, 3]


def test_the_index_is_what_it_would_be_if_made_anew() -> None:
    """Trials come, change, and are left out again."""
    history = list(simulate(strategies.create("random"), space(), noise, trials=40, seed=2))
    index = Elites()
    for one in history:
        index.put(one.with_(rungs=one.rungs[:1]))
        index.put(one, one)
    for one in reversed(history[25:]):
        index.drop(one)
    fresh = Elites()
    fresh.fill(history[:25])
    assert index.niches == fresh.niches
    assert len(fresh.niches) > 3


def noise(genome: Genome, steps: int) -> float:
    return int(genome.key, 16) % 1000 / 1000


def large_is_good(genome: Genome, steps: int) -> float:
    return 1.0 / len(genome.nodes)


def niches(history: History) -> int:
    return len({niche_of(trial) for trial in history if trial.is_scored})


def test_an_archive_keeps_more_kinds_of_cells_alive() -> None:
    """By mutation alone: steps of growth find new kinds from any cell."""

    def found_with(archive: str, seed: int) -> int:
        options = {"archive": archive, "population": 8, "grow": 0.0, "sift": False}
        strategy = strategies.create("genetic", options)
        return niches(simulate(strategy, space(), large_is_good, trials=80, seed=seed))

    found = {
        archive: [found_with(archive, seed) for seed in range(3)] for archive in ("", "map_elites")
    }
    assert sum(found["map_elites"]) > sum(found[""])


def test_parents_by_several_objectives_keep_cells_small() -> None:
    sizes = {}
    for objectives in ((), ("score", "nodes")):
        strategy = strategies.create("genetic", {"objectives": objectives, "adaptive": False})
        found = simulate(strategy, space(), large_is_good, trials=80, seed=1)
        newest = [len(trial.genome.nodes) for trial in found[-30:]]
        sizes[objectives] = sum(newest) / len(newest)
    assert sizes["score", "nodes"] < sizes[()]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"archive": "novelty"}, "archive"),
        ({"archive": "map_elites", "islands": 2}, "two ways to keep different cells alive"),
        ({"objectives": ["score"]}, "name two or more objectives, or none"),
        ({"objectives": ["score", "beauty"]}, "unknown objective"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        strategies.create("genetic", options)
