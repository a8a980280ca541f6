"""Pruning the cell of parts: its first cell, what the measured connections say, and what the best
sub-cells lead to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

import cellsearch as cs
from cellsearch import strategies
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.simulation.simulate import best_so_far, completed, failed, simulate
from cellsearch.space import SearchSpace
from cellsearch.space.parts_cell import alternatives
from cellsearch.space.stability import has_zero_state, may_explode
from cellsearch.strategies.parts import CellParts, _make_memories
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import Connection, Origin, Proposal, Status, Trial


def prune(**options: object) -> History:
    return simulate(strategies.create("prune", options), space(), likeness, trials=40, seed=1)


def test_one_supernet_then_sub_cells_from_scratch() -> None:
    history = prune(first=6)
    kinds = [f"{t.proposal.origin.kind}:{t.proposal.origin.detail}" for t in history]
    assert kinds[0] == "supernet:parts"
    assert Counter(kinds)["supernet:parts"] == 1
    assert set(kinds[1:7]) == {"prune:final"}
    assert {"prune:final", "prune:regrown"} == set(kinds[8:])
    parts = CellParts.of(space())
    for trial in list(history)[1:]:
        assert trial.proposal.inherit is None
        assert not space().is_gated(trial.genome)
        gone = parts.gone(trial.proposal.origin.place)
        assert parts.code(gone) == trial.proposal.origin.place
        assert space().discrete(space().remove(parts.cell, gone)).key == trial.genome.key


def test_a_regrown_cell_differs_from_its_parent_by_little_and_can_hold_more() -> None:
    history, parts = prune(), CellParts.of(space())
    regrown = [t for t in history if t.proposal.origin.detail == "regrown"]
    changed = []
    for trial in regrown:
        parent = history.by_number[trial.proposal.parents[0]]
        changed.append(
            (
                parts.gone(trial.proposal.origin.place),
                parts.gone(parent.proposal.origin.place),
            )
        )
    assert any(before - after for after, before in changed)
    assert np.mean([len(after ^ before) for after, before in changed]) < 6


def test_it_beats_random_search_where_there_is_something_to_find() -> None:
    def final(name: str, seed: int) -> float:
        history = simulate(strategies.create(name), space(), likeness, trials=40, seed=seed)
        return best_so_far(history)[-1]

    found, control = ([final(name, seed) for seed in range(3)] for name in ("prune", "random"))
    assert max(found) < min(control)


def test_connections_that_are_worth_more_stay_more_often() -> None:
    strong = {group[0] for group in alternatives(space().parts_cell())}

    def learned(where: SearchSpace, genome: object) -> dict[str, Connection]:
        names = CellParts.of(where).names
        return {name: Connection(1.0, 0.0, float(name in strong)) for name in names}

    history = simulate(
        strategies.create("prune", {"fresh": 1.0}),
        space(),
        likeness,
        trials=40,
        seed=1,
        connections=learned,
    )
    parts = CellParts.of(space())
    stayed: Counter[bool] = Counter()
    for trial in list(history)[1:]:
        gone = parts.gone(trial.proposal.origin.place)
        for group in parts.sums:
            stayed.update({name in strong: name not in gone for name in group[:2]})
    assert stayed[True] > 1.5 * stayed[False]


def test_half_of_the_first_sub_cells_keep_a_state_and_write_it() -> None:
    """Once no more than the terms of any sum: one in ten, so gating was hardly ever drawn."""
    parts = CellParts.of(space())
    both: Counter[bool] = Counter()
    for trial in list(prune(fresh=1.0))[1:]:
        gone = parts.gone(trial.proposal.origin.place)
        for group in parts.sums:
            both.update({group in parts.memories: not gone.intersection(group)})
    ends = {name.partition("_")[0] for group in parts.memories for name in group}
    assert ends == set(space().states)
    assert both[True] / (39 * len(parts.memories)) > 0.3
    assert both[False] / (39 * (len(parts.sums) - len(parts.memories))) < 0.2


def kept_and_trainable(history: History) -> tuple[int, int]:
    """How many states of sub-cells are kept, and how many of these are written through a gate and
    read through squashing ops alone.
    """
    parts, kept, trainable = CellParts.of(space()), 0, 0
    for trial in list(history)[1:]:
        gone = parts.gone(trial.proposal.origin.place)
        for memory in parts.kept:
            if not gone & {memory.new, memory.old}:
                kept += 1
                trainable += gone.issuperset(memory.raw) and not gone.issuperset(memory.gates)
    return kept, trainable


def measured(where: SearchSpace, genome: object) -> dict[str, Connection]:
    return {name: Connection(1.0, 0.0, 0.5) for name in CellParts.of(where).names}


def unmeasured(where: SearchSpace, genome: object) -> dict[str, Connection]:
    return {}


@pytest.mark.parametrize(
    ("memories", "learned", "at_once"),
    [
        ("unmeasured", unmeasured, True),
        ("unmeasured", measured, False),
        ("always", measured, True),
        ("never", unmeasured, False),
    ],
)
def test_what_makes_a_memory_is_one_decision(
    memories: str, learned: Callable[[SearchSpace, object], dict[str, Connection]], at_once: bool
) -> None:
    """Where each part is drawn by itself, no state that is kept beside the output has all of them:
    0 of 2,060 in the space tanh_start with even draws; of the output state 53 %.
    """
    strategy = strategies.create("prune", {"fresh": 1.0, "memories": memories})
    kept, trainable = kept_and_trainable(
        simulate(strategy, space(), likeness, trials=40, seed=1, connections=learned)
    )
    assert kept > 20
    assert trainable > 0.8 * kept if at_once else trainable < 0.4 * kept


def test_a_change_that_keeps_a_state_makes_a_memory_and_others_may_take_it_apart() -> None:
    parts, rng = CellParts.of(space()), np.random.default_rng(0)
    memory = parts.kept[1]
    plain = {memory.old, *memory.gates}
    gone = set(plain)
    gone.discard(memory.old)
    _make_memories(parts, plain, gone, rng)
    assert gone.issuperset(memory.raw)
    assert not gone.issuperset(memory.gates)
    assert not any(gone.issuperset(group) for group in parts.sums), "a term of each sum stays"
    apart = gone | set(memory.gates)
    after = set(apart)
    _make_memories(parts, gone, after, rng)  # the state was kept before
    assert after == apart


def test_what_may_explode_is_drawn_less_the_more_of_it_failed() -> None:
    """And what may not is drawn no less when it fails: the rest is held against it."""

    def wild(fails: bool | None) -> int:
        def score(genome: Genome, steps: int) -> float:
            return math.nan if may_explode(genome) is fails else likeness(genome, steps)

        strategy = strategies.create("prune", {"fresh": 1.0})
        history = simulate(strategy, space(), score, trials=60, seed=1)
        assert (fails is None) == (not any(t.status is Status.FAILED for t in history))
        assert not any(has_zero_state(trial.genome) for trial in history)
        return sum(may_explode(trial.genome) for trial in list(history)[30:])

    assert wild(fails=True) < 0.5 * wild(fails=None)
    assert wild(fails=False) >= wild(fails=None)


def test_a_supernet_that_failed_leaves_the_draws_even() -> None:
    supernet = failed(Trial(0, Proposal(space().parts_cell(), origin="supernet:parts")))
    proposal = strategies.create("prune").propose(
        space(), History([supernet]), np.random.default_rng(0)
    )
    assert proposal is not None
    assert proposal.origin.detail == "final"


def test_a_run_that_began_with_the_full_cell_goes_on_with_it() -> None:
    began = completed(Trial(0, Proposal(space().full(), origin=Origin("supernet", "0:0"))), 1.0)
    assert strategies.options("prune")["start"] == "parts"
    proposals = [
        strategies.create("prune", options).propose(
            space(), History([began]), np.random.default_rng(0)
        )
        for options in ({}, {"start": "full"})
    ]
    assert proposals[0] == proposals[1]
    assert proposals[0] is not None
    assert proposals[0].origin.kind == "supernet"


def test_a_space_without_a_cell_of_parts_is_pruned_from_its_full_cell() -> None:
    scan = cs.load_space("scan")
    strategy = strategies.create("prune")
    strategy.check(scan)
    proposal = strategy.propose(scan, History(), np.random.default_rng(0))
    assert proposal is not None
    assert (proposal.genome.key, str(proposal.origin)) == (scan.full().key, "supernet:0:0")
