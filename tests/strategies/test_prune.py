"""Pruning: what each criterion takes away, when chains end, and how a given cell is pruned."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cellsearch import strategies, zoo
from cellsearch.errors import ConfigError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.job import Job, Training
from cellsearch.simulation.simulate import completed, fake_connections, simulate
from cellsearch.space import SearchSpace
from cellsearch.strategies.prune import weakest_first
from cellsearch.tasks.adding import Adding
from cellsearch.testing.strategies import likeness, space
from cellsearch.training import evaluate
from cellsearch.trial import Connection, Proposal, Status, Trial

FULL = {"start": "full"}
ADDING = {"length": 6, "evaluation_size": 200}
# n3 is always zero, so the gate n3_in is good for nothing; its weight starts as large as the
# others.
PLANTED = """
n1 = tanh(linear(x[t], h[t-1]))
n2 = sigmoid(linear(x[t], h[t-1]))
n3 = h[t-1] - h[t-1]
useful_1 = scale(n1)
useful_2 = scale(n2 * h[t-1])
useless = scale(n3)
useful_3 = scale(n2)
h[t] = useful_1 + useful_2 + useless + useful_3
"""


@pytest.fixture(scope="module")
def trained() -> Trial:
    """The planted cell after a real training."""
    genome = Genome.from_text(PLANTED)
    training = Training(steps=80, hidden_size=10, learning_rate=2e-2, gate_penalty=0.02)
    job = Job(
        0,
        0,
        genome.to_json(),
        "adding",
        ADDING,
        training,
        steps=80,
        seed=3,
        connections=True,
        perturbation=2,
    )
    result = evaluate(job, Adding.load(ADDING))
    return completed(
        Trial(0, Proposal(genome, origin="supernet:0:0")), result.score, result.connections
    )


@pytest.mark.parametrize("criterion", ["saliency", "gate", "perturbation"])
def test_every_criterion_finds_a_planted_redundant_connection(
    trained: Trial, criterion: str
) -> None:
    assert trained.result is not None
    gates = [name for name in trained.result.connections if name.endswith(".scale")]
    assert len(gates) == 4
    assert weakest_first(gates, trained.result.connections, criterion)[0] == "useless.scale"
    strategy = strategies.create(
        "prune", {**FULL, "criteria": [criterion], "remove": 0.01, "target": 1}
    )
    final = strategy.propose(space(), History([trained]), np.random.default_rng(0))
    assert final is not None
    assert str(final.origin) == "prune:final"
    known = History([trained, completed(Trial(1, final), 1.0)])
    proposal = strategy.propose(space(), known, np.random.default_rng(0))
    assert proposal is not None
    assert str(proposal.origin) == "supernet:0:1"
    assert proposal.inherit == 0
    if (
        criterion != "gate"
    ):  # gates of scalars and weights of matrices are ranked apart, so a matrix may come before
        assert {*space().connections(trained.genome)} - {*space().connections(proposal.genome)} == {
            "useless.scale"
        }


def test_unmeasured_connections_are_the_last_to_go() -> None:
    learned = {
        "a.scale": Connection(1.0, 0.5, 0.2),
        "b.scale": Connection(0.1, 0.1, None),
        "c.scale": Connection(2.0, 0.9, -0.1),
    }
    assert weakest_first(learned, learned, "perturbation") == ["c.scale", "a.scale", "b.scale"]
    nothing = {"a.scale": Connection(1.0, math.nan)}
    assert weakest_first(["a.scale"], nothing, "saliency") == ["a.scale"]


def test_perturbations_are_measured_only_where_a_chain_uses_them() -> None:
    assert (
        strategies.create(
            "prune", {**FULL, "criteria": ["perturbation"], "batches": 3}
        ).perturbation
        == 3
    )
    assert strategies.create("prune", {**FULL, "criteria": ["gate"]}).perturbation == 0
    assert strategies.create("random").perturbation == 0


def rounds_of(history: History, chain: int) -> list[Trial]:
    return [
        trial for trial in history if str(trial.proposal.origin).startswith(f"supernet:{chain}:")
    ]


def by_size(genome: Genome, steps: int) -> float:
    """A landscape in which every cell with gates is as good as any other."""
    return 1.0


def test_the_first_chains_share_a_training_and_differ_in_criterion() -> None:
    history = simulate(
        strategies.create("prune", FULL), space(), by_size, trials=40, seed=2, workers=1
    )
    roots = {chain: rounds_of(history, chain)[0] for chain in range(3)}
    assert roots[0].genome.key == space().full().key
    for chain in (1, 2):
        assert roots[chain].proposal.parents == (roots[0].number,)
        assert roots[chain].proposal.inherit == roots[0].number
    assert len({trial.genome.key for trial in roots.values()}) == 3


def test_no_trial_only_fills_time() -> None:
    for workers in (1, 2, 6):
        history = simulate(
            strategies.create("prune", FULL), space(), likeness, trials=30, seed=1, workers=workers
        )
        assert len(history) == 30
        assert {str(trial.proposal.origin).split(":")[0] for trial in history} == {
            "supernet",
            "prune",
        }
        assert all(t.is_intermediate or str(t.proposal.origin) == "prune:final" for t in history)


def test_no_more_chains_than_allowed() -> None:
    history = simulate(
        strategies.create("prune", {**FULL, "chains": 1}),
        space(),
        likeness,
        trials=12,
        seed=1,
        workers=4,
    )
    running = [trial.number for trial in history if trial.is_intermediate]
    for number in running[1:]:
        before = [history[k] for k in running if k < number]
        # the simulator has one supernet at a time, because the strategy proposed nothing while it
        # ran
        assert before
    assert [str(t.proposal.origin) for t in history][:3] == [
        "supernet:0:0",
        "supernet:0:1",
        "supernet:0:2",
    ]


def rising(at: int) -> object:
    """A landscape in which cells with gates get worse by 30 % below so many connections."""

    def score(genome: Genome, steps: int) -> float:
        return 1.3 if space().is_gated(genome) and len(space().connections(genome)) < at else 1.0

    return score


def lstm_like(where: SearchSpace, genome: Genome) -> dict[str, Connection]:
    """The LSTM's gates are worth more than the others."""
    found = fake_connections(where, genome)
    return {
        name: Connection(c.gate, c.saliency + name.startswith("gate_"), c.perturbation)
        for name, c in found.items()
    }


def test_a_chain_ends_when_the_score_rises_more_than_the_tolerance() -> None:
    options = {"start": "lstm", "criteria": ["saliency"], "remove": 0.05, "target": 4}
    stopped = simulate(
        strategies.create("prune", options),
        space(),
        rising(11),
        trials=30,
        seed=1,
        workers=1,
        connections=lstm_like,
    )  # type: ignore[arg-type]
    lenient = strategies.create("prune", {**options, "tolerance": 0.5})
    went_on = simulate(
        lenient, space(), rising(11), trials=30, seed=1, workers=1, connections=lstm_like
    )  # type: ignore[arg-type]
    sizes = [
        [len(space().connections(trial.genome)) for trial in rounds_of(history, 0)]
        for history in (stopped, went_on)
    ]
    assert sizes[0][-1] < 11 <= sizes[0][-2]
    assert sizes[1][-1] < sizes[0][-1]
    last = rounds_of(stopped, 0)[-1]
    assert all(
        trial.proposal.parents != (last.number,) for trial in stopped
    )  # nothing comes of the round that was too much


def test_a_cell_that_is_too_large_for_the_space_is_pruned_on_whatever_it_costs() -> None:
    """The rise comes while no round is small enough for a final: then the chain must go on."""
    history = simulate(
        strategies.create("prune", {**FULL, "chains": 1, "criteria": ["saliency"]}),
        space(),
        rising(100),
        trials=9,
        seed=1,
    )  # type: ignore[arg-type]
    sizes = [len(space().connections(trial.genome)) for trial in rounds_of(history, 0)]
    assert sizes[0] > 100
    assert sizes[-1] < 30


def test_a_given_cell_is_gated_trained_and_pruned() -> None:
    history = simulate(
        strategies.create("prune", {"start": "lstm"}),
        space(),
        likeness,
        trials=24,
        seed=1,
        workers=2,
    )
    assert str(history[0].proposal.origin) == "supernet:0:0"
    assert space().discrete(history[0].genome).key == zoo.load("lstm").simplify().key
    assert str(history[1].proposal.origin) == "prune:start"
    assert history[1].genome.key == zoo.load("lstm").key
    ablations = [trial for trial in history if str(trial.proposal.origin) == "prune:ablation"]
    assert ablations
    smaller = {genome.key for genome in space().prunings(zoo.load("lstm"))}
    assert {trial.genome.key for trial in ablations} <= smaller
    assert any(str(trial.proposal.origin) == "prune:final" for trial in history)
    again = simulate(
        strategies.create("prune", {"start": "lstm"}),
        space(),
        likeness,
        trials=24,
        seed=1,
        workers=2,
    )
    assert [trial.genome.key for trial in history] == [trial.genome.key for trial in again]


def test_pruning_a_given_cell_ends_when_everything_was_tried() -> None:
    options = {
        "start": "h[t] = blend(sigmoid(linear(x[t], h[t-1])), h[t-1], tanh(linear(x[t], h[t-1])))",
        "target": 2,
    }
    history = simulate(strategies.create("prune", options), space(), likeness, trials=200, seed=1)
    assert 8 < len(history) < 200
    assert all(trial.status is not Status.RUNNING for trial in history)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("elmann", "elmann"),
        ("h[t] = tanh(", "h\\[t\\]|never closed|syntax"),
        ("lstm_ln", "not in the space"),
    ],
)
def test_a_start_that_is_no_cell_of_the_space_is_refused(start: str, says: str) -> None:
    for name in ("prune", "grow"):
        with pytest.raises(ConfigError, match=says) as caught:
            strategies.create(name, {"start": start}).propose(
                space(), History(), np.random.default_rng(0)
            )
        assert caught.value.where == "strategy_options.start"


def test_the_gap_is_the_finals_score_minus_that_of_the_cell_with_gates() -> None:
    full, lstm = space().full(), zoo.load("lstm")
    trials = [
        completed(Trial(0, Proposal(full, origin="supernet:0:0")), 1.5),
        completed(Trial(1, Proposal(lstm, (0,), "prune:final")), 2.0),
        completed(Trial(2, Proposal(zoo.load("gru"), (1,), "mutate:op")), 1.0),
        Trial(3, Proposal(zoo.load("rnn_tanh"), (0,), "prune:final"), Status.RUNNING),
        completed(Trial(4, Proposal(full, (0,), "supernet:0:1")), 1.4),
    ]
    history = History(trials)
    assert [history.gap(trial) for trial in trials] == [None, 0.5, None, None, None]


# -- limits of the full cell -----------------------------------------------------------------------


@pytest.mark.parametrize(("key", "most"), [("max_connections", 100), ("max_parameters", 50_000)])
def test_a_full_cell_beyond_the_limits_is_refused_with_its_size(key: str, most: int) -> None:
    small = replace(space(), full_cell=replace(space().full_cell, **{key: most}))
    with pytest.raises(SpaceError, match="134 connections, 102,829 parameters") as caught:
        small.full()
    assert key in caught.value.where
    assert "full_cell.nodes" in caught.value.hint
    assert (
        small.describe()["full_cell"]["connections"] == 134
    )  # what is listed does not depend on the limit
    assert SearchSpace.from_toml(small.to_toml()).full_cell == small.full_cell


def test_a_space_whose_cells_have_scales_cannot_be_pruned() -> None:
    scaled = replace(space(), ops={**space().ops, "scale": 1.0})
    with pytest.raises(SpaceError, match="scale is an op"):
        strategies.create("prune", FULL).propose(scaled, History(), np.random.default_rng(0))


# -- time ------------------------------------------------------------------------------------------


def test_the_strategy_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    """A cell given as text needs no file."""
    text = zoo.load("gru").to_text()
    first = strategies.create("prune", {"start": text}).propose(
        space(), History(), np.random.default_rng(0)
    )
    second = strategies.create("prune", {"start": "gru"}).propose(
        space(), History(), np.random.default_rng(0)
    )
    assert first is not None
    assert second is not None
    assert first.genome.key == second.genome.key
