"""Whole simulated searches: what each family does, and that it finds more than random search where
there is something to find.
"""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from cellsearch import strategies, zoo
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.schedules import SuccessiveHalving
from cellsearch.simulation.simulate import best_so_far, simulate
from cellsearch.space import SearchSpace
from cellsearch.strategies.features import distance
from cellsearch.strategies.nsga2 import fronts
from cellsearch.strategies.ranking import crossover_rate, scored_children
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import Connection, Proposal, Status

SEEDS = range(6)


def final(
    name: str, options: dict[str, object] | None = None, *, trials: int = 60, target: str = "mut1"
) -> list[float]:
    """Best score of a simulated search for each seed."""

    def score(genome: Genome, steps: int) -> float:
        return likeness(genome, steps, target)

    return [
        best_so_far(
            simulate(strategies.create(name, options), space(), score, trials=trials, seed=seed)
        )[-1]
        for seed in SEEDS
    ]


@pytest.fixture(scope="module")
def random_search() -> dict[str, list[float]]:
    return {target: final("random", target=target) for target in ("mut1", "gru_cho")}


@pytest.mark.parametrize("target", ["mut1", "gru_cho"])
@pytest.mark.parametrize("name", ["genetic", "grow"])
def test_it_beats_random_search(name, target, random_search):
    """Welch's t over six seeds, as far apart as chance would put them once in a thousand times or
    less.
    """
    found, control = np.array(final(name, target=target)), np.array(random_search[target])
    t = (control.mean() - found.mean()) / np.sqrt(control.var(ddof=1) / 6 + found.var(ddof=1) / 6)
    assert t > 4


def test_random_search_does_not_beat_itself(random_search):
    """The comparison above can fail: two random searches with other seeds are no different."""
    other = np.array(
        [
            best_so_far(
                simulate(strategies.create("random"), space(), likeness, trials=60, seed=s + 50)
            )[-1]
            for s in SEEDS
        ]
    )
    control = np.array(random_search["mut1"])
    t = (control.mean() - other.mean()) / np.sqrt(control.var(ddof=1) / 6 + other.var(ddof=1) / 6)
    assert abs(t) < 4


def run(
    name: str,
    options: dict[str, object] | None = None,
    trials: int = 60,
    seed: int = 1,
    **more: object,
) -> History:
    return simulate(
        strategies.create(name, options), space(), likeness, trials=trials, seed=seed, **more
    )  # type: ignore[arg-type]


def test_genetic_starts_with_the_seed_genomes_and_their_mutants():
    origins = [str(trial.proposal.origin) for trial in run("genetic", trials=20)]
    assert origins[:2] == ["seed:lstm", "seed:gru"]
    assert set(origins[2:10]) == {"initial"}
    assert any(origin.startswith("crossover") for origin in origins[10:])
    assert any(origin.startswith("mutate:") for origin in origins[10:])


def test_genetic_crosses_as_often_as_declared():
    """Counted against declared: 60 % crossover, binomial within four standard deviations."""
    history = run("genetic", {"crossover": 0.6, "initial": 4, "adaptive": False}, trials=250)
    children = [
        str(trial.proposal.origin)
        for trial in history
        if str(trial.proposal.origin).startswith(("crossover", "mutate", "grow"))
    ]
    crossed = sum(origin.startswith("crossover") for origin in children)
    spread = np.sqrt(0.6 * 0.4 / len(children))
    assert (
        abs(crossed / len(children) - 0.6) < 4 * spread + 0.05
    )  # a cross without a new child is drawn again, parents included


def test_nsga2_crosses_as_often_as_declared():
    """Counted against declared, binomial within 2.5 standard deviations over four seeds: a cross
    that fails is tried again, not mutated.
    """
    declared = 0.6
    histories = [
        run("nsga2", {"crossover": declared, "initial": 4}, trials=250, seed=seed)
        for seed in (1, 2, 3, 4)
    ]
    origins = [str(trial.proposal.origin) for history in histories for trial in history]
    children = [origin for origin in origins if origin.startswith(("crossover", "mutate"))]
    crossed = sum(origin == "crossover" for origin in children)
    assert abs(crossed / len(children) - declared) < 2.5 * np.sqrt(
        declared * (1 - declared) / len(children)
    )


def test_genetic_crosses_as_often_as_its_record_says():
    """Counted against what :func:`crossover_rate` says before each child, binomial within four
    standard deviations.
    """
    history = list(run("genetic", {"crossover": 0.5, "initial": 4}, trials=160, workers=1))
    chances, crossed = [], []
    for k, trial in enumerate(history):
        if str(trial.proposal.origin).startswith(("crossover", "mutate", "grow")):
            chances.append(crossover_rate(scored_children(History(history[:k])), 0.5, window=200))
            crossed.append(str(trial.proposal.origin).startswith("crossover"))
    assert max(chances) - min(chances) > 0.1  # it does adapt
    expected = np.array(chances)
    spread = np.sqrt((expected * (1 - expected)).sum())
    assert abs(sum(crossed) - expected.sum()) < 4 * spread + 0.05 * len(crossed)


def test_parents_die_of_age():
    history = run("genetic", {"population": 8, "initial": 4}, trials=80)
    by_number = history.by_number
    for trial in list(history)[30:]:
        for parent in trial.proposal.parents:
            newer = sum(
                parent < other.number < trial.number and other.status is Status.COMPLETED
                for other in by_number.values()
            )
            assert newer <= 8 + 2  # two in flight may end in between


def test_islands_breed_apart_and_migrate_as_often_as_declared():
    history = run(
        "genetic",
        {"islands": 3, "population": 10, "initial": 6, "crossover": 0.0, "migration": 0.2},
        trials=240,
    )
    home = {
        trial.number: str(trial.proposal.origin).rpartition("@")[2]
        for trial in history
        if "@" in str(trial.proposal.origin)
    }
    sizes = Counter(home.values())
    assert set(sizes) == {"0", "1", "2"}
    assert (
        max(sizes.values()) - min(sizes.values()) <= 6
    )  # the balance is kept over the newest cells
    settled = [
        trial for trial in history if trial.number in home and trial.proposal.parents[0] in home
    ]
    moved = sum(home[trial.number] != home[trial.proposal.parents[0]] for trial in settled)
    spread = np.sqrt(0.2 * 0.8 / len(settled))
    assert (
        abs(moved / len(settled) - 0.2) < 4 * spread + 0.03
    )  # draws that give known cells are drawn again


def test_species_keep_different_cells_alive():
    """The newest cells differ more from one another when only like competes with like; by
    mutation alone, for steps of growth make any cells differ.
    """

    def diversity(species: float) -> float:
        found = []
        for seed in range(2):
            options = {"species": species, "crossover": 0.0, "grow": 0.0, "sift": False}
            newest = list(run("genetic", options, trials=90, seed=seed))[-16:]
            found += [distance(a.genome, b.genome) for a, b in itertools.combinations(newest, 2)]
        return float(np.mean(found))

    assert diversity(0.4) > diversity(0.0) + 0.02


def test_grow_extends_level_by_level():
    history = run("grow", {"beam": 2, "branch": 3}, trials=40)
    assert str(history[0].proposal.origin) == "grow:start"
    level = {0: 0}
    for trial in list(history)[1:]:
        (parent,) = trial.proposal.parents
        level[trial.number] = level[parent] + 1
        assert len(trial.genome.nodes) > len(history[parent].genome.nodes) - 2
    assert max(level.values()) >= 4
    assert Counter(level.values())[1] >= 3


def test_grow_starts_from_a_seed_genome_when_told():
    history = run("grow", {"start": "lstm"}, trials=12)
    assert history[0].genome.key == zoo.load("lstm").key
    assert all(trial.number == 0 or trial.proposal.parents for trial in history)


def test_grow_takes_a_control_as_its_root():
    first = (Proposal(space().start(), origin="baseline:linear"),)
    history = run("grow", trials=8, first=first)
    assert all(str(trial.proposal.origin) != "grow:start" for trial in history)
    assert history[1].proposal.parents == (0,)


def test_prune_goes_from_the_full_cell_to_small_ones():
    history = run("prune", {"start": "full", "chains": 1, "remove": 0.4}, trials=24)
    rounds = [trial for trial in history if str(trial.proposal.origin).startswith("supernet:0:")]
    sizes = [len(space().connections(trial.genome)) for trial in rounds]
    assert rounds[0].genome.key == space().full().key
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 100
    assert sizes[-1] <= 20
    large = [
        size for size in sizes if size > 20
    ]  # of a small cell much is needed to stay legal, and stays
    assert all(after <= 0.8 * before for before, after in itertools.pairwise(large))
    assert all(trial.proposal.inherit == trial.proposal.parents[0] for trial in rounds[1:])


def test_finals_are_ordinary_cells_trained_from_scratch():
    history = run("prune", {"start": "full"}, trials=40)
    finals = [trial for trial in history if str(trial.proposal.origin) == "prune:final"]
    assert finals
    for trial in finals:
        assert trial.proposal.inherit is None
        assert not space().is_gated(trial.genome)
        parent = history.by_number[trial.proposal.parents[0]]
        assert parent.is_intermediate
        assert space().discrete(parent.genome).key == trial.genome.key
    assert all(not trial.is_intermediate for trial in history.ranked)


def test_pruning_removes_what_training_found_weak():
    """A landscape of connections: those of the LSTM are strong, all others weak, so the final is an
    LSTM.
    """
    gates = (
        "n1_from_tanh n2_from_sigmoid_n1 n3_from_identity_of_n2 n3_from_sigmoid_c "
        "n4_from_tanh_of_n3 n5_from_sigmoid_n4 h_from_n5 c_from_n3"
    )
    strong = {f"{name}.scale" for name in gates.split()} | {
        f"n{k}_in.weight_{v}" for k in (1, 2, 3, 5) for v in "xh"
    }

    def learned(where: SearchSpace, genome: Genome) -> dict[str, Connection]:
        return {
            name: Connection(float(name in strong), float(name in strong))
            for name in where.connections(genome)
        }

    options = {"start": "full", "chains": 1, "target": len(strong), "criteria": ["saliency"]}
    history = run("prune", options, trials=14, connections=learned)
    assert zoo.load("lstm").simplify().key in {
        trial.genome.key for trial in history if str(trial.proposal.origin) == "prune:final"
    }


def test_nsga2_spreads_over_size_and_score():
    """Its front of (score, parameters) is not dominated by random search's, and has small and large
    cells.
    """

    def points(history: History) -> np.ndarray:
        return np.array(
            [[trial.score, space().parameters(trial.genome)] for trial in history.scored]
        )

    found, control = points(run("nsga2", trials=80)), points(run("random", trials=80))
    front = found[fronts(found)[0]]
    dominated = sum(any(np.all(other <= point) for other in control) for point in front)
    assert dominated <= len(front) / 4
    assert front[:, 1].max() > 2 * front[:, 1].min()


def test_local_search_climbs_from_the_best_cell():
    history = run("local_search", {"initial": 4}, trials=40)
    climbing = [trial for trial in history if str(trial.proposal.origin).startswith("neighbour:")]
    assert len(climbing) >= 20
    best = float("inf")
    for trial in history:
        if trial.proposal.parents:
            assert history[trial.proposal.parents[0]].score >= best
        best = min(best, trial.score)


def test_schedules_work_with_every_strategy():
    """Halving spends less, and stopped trials still teach the strategy."""
    for name in ("random", "genetic", "grow"):
        history = run(name, trials=45, schedule=SuccessiveHalving(), steps=90, workers=3)
        states = Counter(trial.status for trial in history)
        assert states[Status.STOPPED] > 15
        assert states[Status.COMPLETED] >= 3
        spent = sum(trial.rungs[-1].budget.steps for trial in history)
        assert spent < 0.7 * 90 * len(history)
