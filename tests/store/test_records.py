"""A history that is read from its store answers as one in memory, and a long one costs no more than
a short one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cellsearch import strategies
from cellsearch.cli import cli
from cellsearch.genome import json as genome_json
from cellsearch.genome.graph import Genome
from cellsearch.history import Granted, History, Totals
from cellsearch.job import Budget, Failure, Outcome
from cellsearch.schedules.curve_stop import MeansUntil
from cellsearch.schedules.halving import ScoresAt
from cellsearch.search import Search
from cellsearch.store import Records, Store, reading
from cellsearch.strategies.prune import Chains
from cellsearch.strategies.tree import Frontier, Tree
from cellsearch.testing.search import small_experiment
from cellsearch.trial import Proposal, Result, Rung, Status, Trial

STEPS = (3, 9)
ORIGINS = (
    "mutate:op",
    "grow:tanh@h",
    "supernet:{}:0",
    "prune:final",
    "baseline:lstm",
    "imported:a",
)


def cell(number: int) -> Genome:
    return Genome.from_text(f"h[t] = {number + 1}.0 * tanh(linear(x[t], h[t-1]))")


class Writer:
    """Makes up a run, in a store, in records of it, and in memory."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = Store.open(folder)
        self.store.describe(small_experiment(trials=1_000_000).to_toml())
        self.records = Records(self.store.lookup)
        self.trials: list[Trial] = []

    def add(self) -> None:
        number, chance = len(self.trials), self.random
        parents = (chance.randrange(max(0, number - 9), number),) if number else ()
        origin = chance.choice(ORIGINS).format(chance.randrange(4)) if number else "grow:start"
        reason = f"because of {number}" if number % 3 == 1 else ""
        proposal = Proposal(cell(number), parents, origin, reason=reason)
        twins = [t.number for t in self.trials if t.status is not Status.DUPLICATE]
        if twins and chance.random() < 0.2:
            twin = chance.choice(twins)
            trial = Trial(number, proposal, Status.DUPLICATE, duplicate_of=twin)
        else:
            trial = Trial(number, proposal, Status.RUNNING, (Rung(Budget(STEPS[0], 0)),))
        self.store.add_trial(
            trial,
            key=str(number),
            genome=trial.genome.to_json(),
            attempt=0,
            seed=0,
            horizon=number,
        )
        self.trials.append(trial)
        self.records.put(trial)

    def go_on(self) -> None:
        """Something happens to a trial that is not finished."""
        trial = self.random.choice([t for t in self.trials if not t.status.finished] or [None])
        if trial is None:
            return
        rung, chance = len(trial.rungs) - 1, self.random.random()
        last = trial.rungs[-1]
        if last.result is not None and rung == 0 and chance < 0.5:
            self.store.add_rung(trial.number, Budget(STEPS[1], 1), horizon=trial.number)
            after = trial.with_(rungs=(*trial.rungs, Rung(Budget(STEPS[1], 1))))
        elif last.result is not None:
            self.store.stop(trial.number)
            after = trial.with_(status=Status.STOPPED)
        elif chance < 0.2:
            kind = self.random.choice(["nan", "prefilter"])
            outcome = Outcome(trial.number, rung, None, Failure(kind, "told to"))
            self.store.add_outcome(outcome, Status.FAILED)
            after = trial.with_(status=Status.FAILED, failure=outcome.failure)
        else:
            score = self.random.choice([0.5, 1.0, 1.5, self.random.random()])
            steps = STEPS[rung]
            result = Result(score, score, steps, 1.0, 7, 5, curve=((steps, score),))
            status = Status.COMPLETED if rung else Status.RUNNING
            self.store.add_outcome(Outcome(trial.number, rung, result, None), status)
            after = trial.with_(rungs=(*trial.rungs[:-1], Rung(last.budget, result)), status=status)
        self.trials[trial.number] = after
        self.records.put(after)


def answers(history: History) -> dict[str, Any]:
    """All that one can ask, as plain values."""
    rows = range(0, len(history), 3)
    orders: list[Any] = [history.index(ScoresAt, rung) for rung in (0, 1)]
    orders += [history.index(MeansUntil, step) for step in STEPS]
    tree, chains, totals = (
        history.index(Tree, 0, 0.1),
        history.index(Chains),
        history.index(Totals),
    )
    frontier = history.index(Frontier, 0.1)
    return {
        "trials": list(history),
        "backwards": list(reversed(history)),
        "newest": list(history[-5:]),
        "ranked": list(history.ranked),
        "count": len(history.ranked),
        "top": [list(history.top(count)) for count in (0, 1, 3, 99)],
        "places": [history.place(trial) for trial in history.top(99)],
        "best": [history.best(baselines=baselines) for baselines in (False, True)],
        "scored": list(history.scored),
        "unfinished": list(history.unfinished),
        "failed": list(history.failed(2)),
        "failed so": [
            list(history.failed(2, kind)) for kind in (*sorted(history.causes()), "none")
        ],
        "kinds": [list(history.of_kind(k)) for k in ("baseline", "imported", "supernet")],
        "children": [list(history.children(number)) for number in rows],
        "answers": [list(history.answers(number)) for number in rows],
        "sizes": list(history.sizes()),
        "descents": list(history.descents()),
        "reasoned": list(history.reasoned()),
        "by number": [history.by_number[number] for number in rows],
        "by key": [history.by_key.get(cell(number).key) for number in range(len(history) + 2)],
        "keys": list(history.by_key),
        "counted": (history.counted, history.in_flight, history.index(Granted).steps),
        "totals": {status: count for status, count in totals.statuses.items() if count},
        "causes": history.causes(),
        "more": (totals.counted, totals.ended, totals.rejected, totals.imported),
        "orders": [(list(order.values), list(order.numbers)) for order in orders],
        "tree": (list(tree.children), tree.sizes, tree.unfinished),
        "levels": [(list(level.values), list(level.numbers)) for level in tree.costs],
        "frontier": [frontier.next(explore) for explore in (0.0, 0.5, 5.0)],
        "best of all": (list(frontier.ranked.numbers), frontier.idle(), frontier.step()),
        "chains": {chain: list(rounds) for chain, rounds in chains.rounds.items()},
        "finals": (chains.finals, chains.last),
    }


def in_memory(trials: list[Trial]) -> History:
    return History.ordered(reading.with_answers(trials))


@pytest.mark.parametrize("seed", range(6))
def test_a_stored_history_answers_as_one_in_memory(tmp_path: Path, seed: int) -> None:
    writer = Writer(tmp_path, seed)
    held: list[tuple[History, dict[str, Any]]] = []
    for turn in range(60):
        for _ in range(writer.random.randint(1, 3)):
            writer.add() if writer.random.random() < 0.5 else writer.go_on()
        count = len(writer.trials) - writer.random.choice([0, 0, 2])
        shown = writer.trials[: max(count, 0)]
        hidden = {}
        for trial in shown[-4:] if writer.random.random() < 0.5 else ():
            if trial.status is not Status.DUPLICATE and trial.status is not Status.WAITING:
                begun = (Rung(trial.rungs[0].budget),)
                hidden[trial.number] = trial.with_(rungs=begun, status=Status.RUNNING, failure=None)
        writer.records.show(hidden, len(shown))
        shown = [hidden.get(trial.number, trial) for trial in shown]
        expected = answers(in_memory(shown))
        assert answers(writer.records.view()) == expected
        if turn % 10 == 0:  # a history that somebody keeps does not change
            held.append((writer.records.view(), expected))
    assert expected["reasoned"]
    assert expected["descents"]
    with Store.read(tmp_path) as reader:
        assert answers(Records(reader.lookup).view()) == answers(in_memory(writer.trials))
    for history, expected in held[::2]:
        assert answers(history) == expected
    writer.records.detach()
    writer.store.close()
    for history, expected in held[1::2]:
        assert answers(history) == expected


# -- what a command reads does not grow with the run -----------------------------------------------


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Counts genomes that are decoded and rows that are read as trials."""
    found = {"genomes": 0, "trials": 0}
    decode, read = genome_json.decode, reading.read_trials

    def counting_decode(*args: Any, **options: Any) -> Genome:
        found["genomes"] += 1
        return decode(*args, **options)

    def counting_read(*args: Any, **options: Any) -> Iterator[Trial]:
        for trial in read(*args, **options):
            found["trials"] += 1
            yield trial

    with monkeypatch.context() as patched:
        patched.setattr("cellsearch.genome.json.decode", counting_decode)
        patched.setattr("cellsearch.store.lookup.read_trials", counting_read)
        patched.setattr("cellsearch.store.store.read_trials", counting_read)
        yield found


SIZES = (150, 600)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folders = {}
    for size in SIZES:
        folder = folders[size] = tmp_path_factory.mktemp(f"of_{size}")
        with Store.open(folder) as store:
            store.describe(small_experiment(trials=1_000_000, baselines=()).to_toml())
            for number in range(size):
                proposal = Proposal(cell(number), (number - 1,) if number % 7 else (), "mutate:op")
                rungs = (Rung(Budget(9, 0)),)
                trial = Trial(number, proposal, Status.RUNNING, rungs)
                text = trial.genome.to_json()
                store.add_trial(
                    trial, key=str(number), genome=text, attempt=0, seed=0, horizon=number
                )
                # the best and its ancestors lie alike in both
                score = 1.0 + (number * 37 % size)
                result = Result(score, score, 9, 1.0, 7, 5, curve=((9, score),))
                store.add_outcome(Outcome(number, 0, result, None), Status.COMPLETED)
    return folders


def command(*words: str) -> Callable[[Path], None]:
    def call(folder: Path) -> None:
        done = CliRunner().invoke(cli, [word.format(folder) for word in words])
        assert done.exit_code == 0, done.output

    return call


def propose(strategy: str) -> Callable[[Path], None]:
    """Open the search and propose."""

    def call(folder: Path) -> None:
        experiment = small_experiment(trials=1_000_000, baselines=())
        with Search.open(folder, experiment) as search:
            made = strategies.create(strategy).propose(
                experiment.space, search.history, np.random.default_rng(0)
            )
            assert made is not None
            assert search.used_up == ""
            assert not search.finished

    return call


@pytest.mark.parametrize(
    ("what", "least", "most"),
    [
        (command("ls", "{}", "--top", "10"), (10, 10), 40),  # those that it lists
        (command("best", "{}"), (1, 1), 20),
        (command("show", "{}:50"), (1, 1), 20),
        (command("report", "{}"), (20, 30), 120),  # those that it draws
        # the best cell is written down when a run is opened
        *((propose(name), (1, 1), 300) for name in ("random", "genetic", "nsga2", "predictor")),
        (propose("regularized_evolution"), (20, 50), 300),  # its population
    ],
    ids=lambda value: None,
)
def test_what_is_read_does_not_grow_with_the_run(
    runs: dict[int, Path],
    monkeypatch: pytest.MonkeyPatch,
    what: Callable[[Path], None],
    least: tuple[int, int],
    most: int,
) -> None:
    monkeypatch.setattr("cellsearch.reporting.course.DOTS", 30)
    monkeypatch.setattr("cellsearch.reporting.course.SPOTS", (4, 4))
    found = []
    for size in SIZES:
        with counted(monkeypatch) as count:
            what(runs[size])
        found.append(dict(count))
    small, large = found
    for count in found:
        assert count["genomes"] >= least[0], found  # or the counting is at fault
        assert count["trials"] >= least[1], found
    assert large["genomes"] <= small["genomes"] + 20, found
    assert large["trials"] <= small["trials"] + 20, found
    assert large["trials"] <= most, found
