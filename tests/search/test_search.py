from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from cellsearch import zoo
from cellsearch.errors import ConfigError, EnvironmentFailure, RunError
from cellsearch.executors.in_process import InProcess
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.history import History
from cellsearch.job import Outcome
from cellsearch.search import (
    BestChanged,
    DuplicateAnswered,
    EnvironmentChanged,
    Resumed,
    Search,
    SearchEvent,
    TrialEnded,
    TrialStarted,
)
from cellsearch.space import SearchSpace
from cellsearch.store import Store
from cellsearch.strategies.base import Strategy
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import Disordered, final_table, small_experiment
from cellsearch.trial import Failure, Proposal, Result, Status


@dataclass(frozen=True)
class Stubborn(Strategy):
    """Proposes the same cell again and again, written differently."""

    name: ClassVar[str] = "stubborn"
    paper: ClassVar[str] = ""

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        name = f"n{rng.integers(1000)}"
        return Proposal(
            Genome.from_text(f"{name} = linear(h[t-1], x[t])\nh[t] = tanh({name})"), origin="again"
        )


@dataclass(frozen=True)
class Rounds(Strategy):
    """Three cells a round; waits until a whole round has ended, and ends after two rounds."""

    name: ClassVar[str] = "rounds"
    paper: ClassVar[str] = ""

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        if len(history) >= 6 or (
            len(history) % 3 == 0 and any(not trial.status.finished for trial in history)
        ):
            return None
        best = history.best()
        parents = (best.number,) if best else ()
        return Proposal(
            numbered_cell(space, len(history)),
            parents,
            "round",
            inherit=parents[0] if parents else None,
        )


def numbered_cell(space: SearchSpace, number: int) -> Genome:
    """A different cell for each number."""
    return space.sample(np.random.default_rng(number))


def run(path: Path, experiment: object, **options: object) -> tuple[History, list[SearchEvent]]:
    events: list[SearchEvent] = []
    with Search.open(path, experiment) as search, InProcess(evaluation=EVALUATION) as executor:  # type: ignore[arg-type]
        search.run(executor, events.append, arrays={})
        return search.history, events


def kinds(events: list[SearchEvent]) -> Counter[str]:
    return Counter(type(event).__name__ for event in events)


def test_a_search_from_beginning_to_end(tmp_path: Path) -> None:
    history, events = run(tmp_path, small_experiment(trials=30))
    assert [t.number for t in history] == list(range(30))
    assert [str(t.proposal.origin) for t in history[:2]] == ["baseline:lstm", "baseline:gru"]
    trained = [t for t in history if t.status is Status.COMPLETED]
    assert len({search_key(t.genome) for t in trained}) == len(trained)
    assert all(t.status.finished for t in history)
    assert kinds(events)["TrialStarted"] == kinds(events)["TrialEnded"] == len(trained)
    with Store.read(tmp_path) as store:
        assert list(store.history()) == list(history)
        assert store.experiment == (tmp_path / "experiment.toml").read_text()
        assert store.experiment == small_experiment(trials=30).to_toml()
        assert "torch" in store.environments()[0].fingerprint


def test_best_is_always_on_disk(tmp_path: Path) -> None:
    seen: list[float] = []

    def observe(event: SearchEvent) -> None:
        if isinstance(event, BestChanged):
            text = (tmp_path / "best.cell").read_text()
            assert Genome.from_text(text) == event.trial.genome
            assert f"trial {event.trial.number}," in text
            seen.append(event.trial.score)

    with (
        Search.open(tmp_path, small_experiment()) as search,
        InProcess(evaluation=EVALUATION) as executor,
    ):
        search.run(executor, observe, arrays={})
        best = search.best
        assert best is not None
        found = [t for t in search.history.ranked if not t.is_baseline]
        assert best == found[0]
        assert seen[-1] == best.score
    (tmp_path / "best.cell").unlink()
    Search.open(tmp_path, small_experiment()).close()
    assert Genome.from_text((tmp_path / "best.cell").read_text()) == best.genome


def test_duplicates_are_answered_and_counted(tmp_path: Path) -> None:
    experiment = small_experiment(Stubborn(), trials=5, baselines=("rnn_tanh",))
    history, events = run(tmp_path, experiment)
    assert [t.status for t in history] == [Status.COMPLETED] + [Status.DUPLICATE] * 4
    assert [t.duplicate_of for t in history] == [None, 0, 0, 0, 0]
    assert {t.score for t in history} == {history[0].score}
    assert kinds(events)["TrialStarted"] == 1
    answers = [e for e in events if isinstance(e, DuplicateAnswered)]
    assert [e.final for e in answers if e.trial == 1] == [False] * 9 + [True]
    assert {e.duplicate_of for e in answers} == {0}
    with Store.read(tmp_path) as store:
        assert len(store.duplicates()) == 40
    with Search.open(tmp_path, experiment) as search:
        assert len(search.duplicates) == 40
        assert search.ask() is None


def test_duplicate_of_a_trial_in_flight(tmp_path: Path) -> None:
    with Search.open(tmp_path, small_experiment(Stubborn(), trials=3, baselines=())) as search:
        first = search.ask()
        assert first is not None
        assert search.ask() is None
        assert [t.status for t in search.history] == [
            Status.RUNNING,
            Status.DUPLICATE,
            Status.DUPLICATE,
        ]
        assert search.history[1].score == float("inf")
        search.tell(Outcome(0, 0, result(0.25)))
        assert [t.score for t in search.history] == [0.25, 0.25, 0.25]


def test_equal_baselines_are_trained_once(tmp_path: Path) -> None:
    history, _ = run(tmp_path, small_experiment(trials=3, baselines=("gru", "gru", "lstm")))
    assert [t.status for t in history] == [Status.COMPLETED, Status.DUPLICATE, Status.COMPLETED]


def result(score: float = 0.5, checkpoint: str = "") -> Result:
    return Result(score, score, 9, 0.1, 10, 10, checkpoint=checkpoint)


def test_strategy_that_waits(tmp_path: Path) -> None:
    """Nothing is asked for while a round is under way; a strategy that has nothing to say ends the
    search.
    """
    with Search.open(tmp_path, small_experiment(Rounds(), trials=20, baselines=())) as search:
        trials = [search.ask() for _ in range(4)]
        assert trials[3] is None
        for trial in trials[:3]:
            assert trial is not None
            assert search.ask() is None
            search.tell(Outcome(trial.number, 0, result(1.0 - trial.number / 10)))
        following = search.ask()
        assert following is not None
        assert following.proposal.parents == (2,)
    history, _ = run(tmp_path, small_experiment(Rounds(), trials=20, baselines=()))
    assert len(history) == 6


def test_run_trains_what_was_asked_for_and_never_told(tmp_path: Path) -> None:
    with Search.open(tmp_path, small_experiment(trials=4)) as search:
        asked = search.ask()
        assert asked is not None
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        assert search.finished
        with pytest.raises(RunError, match="no outcome is awaited"):
            search.tell(Outcome(asked.number, 0, Result(1.0, 1.0, 9, 0.0, 1, 1)))


def test_outcomes_are_final_and_awaited(tmp_path: Path) -> None:
    with Search.open(tmp_path, small_experiment()) as search:
        trial = search.ask()
        assert trial is not None
        search.tell(Outcome(0, 0, result()))
        for outcome in (
            Outcome(0, 0, result(0.1)),
            Outcome(0, 1, result()),
            Outcome(7, 0, result()),
        ):
            with pytest.raises(RunError, match="no outcome is awaited"):
                search.tell(outcome)
        search.ask()
        with pytest.raises(RunError, match="neither or both"):
            search.tell(Outcome(1, 0))
        assert search.history[0].score == 0.5


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_score_that_is_no_number_is_a_failure(tmp_path: Path, score: float) -> None:
    with Search.open(tmp_path, small_experiment()) as search:
        search.ask()
        trial = search.tell(Outcome(0, 0, result(score)))
    assert trial.status is Status.FAILED
    assert trial.failure is not None
    assert trial.failure.kind == "nan"


class _Hostile:
    def __float__(self) -> float:
        raise RuntimeError("no")


@pytest.mark.parametrize("field", ["score", "metric", "steps", "seconds", "parameters", "metrics"])
@pytest.mark.parametrize(
    ("value", "is_number"),
    [
        (np.float32(3), True),
        (np.int64(3), True),
        (torch.tensor(3.0), True),
        (np.array(3), True),
        (Decimal(3), True),
        (Fraction(3), True),
        (None, False),
        ("3", False),
        (b"3", False),
        (3j, False),
        ([3], False),
        (torch.zeros(2), False),
        (10**400, False),
        (Decimal("sNaN"), False),
        (_Hostile(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_results_are_plain_numbers_or_failures(
    tmp_path: Path, field: str, value: object, is_number: bool
) -> None:
    given = {"x": value} if field == "metrics" else value
    with Search.open(tmp_path, small_experiment()) as search:
        search.ask()
        odd = replace(result(), **{field: given})  # type: ignore[arg-type]
        trial = search.tell(Outcome(0, 0, odd))
        assert (trial.status is not Status.FAILED) == is_number
    with Search.open(tmp_path, small_experiment()) as search:
        stored = search.history[0]
        assert (stored.status, stored.failure) == (trial.status, trial.failure)
        if is_number:
            found = getattr(stored.result, field)
            assert type(found["x"] if field == "metrics" else found) in (int, float)
            assert found == ({"x": 3} if field == "metrics" else 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"curve": 5},
        {"curve": ((1.5, 0.0),)},
        {"metrics": {"\ud800": 1.0}},
        {"metrics": {1: 1.0}},
        {"connections": {"w": 1.0}},
        {"checkpoint": None},
        {"checkpoint": "\ud800"},
        {"steps": -1},
        {"steps": float("nan")},
        {"seconds": float("inf")},
        None,
    ],
)
def test_results_that_cannot_be_stored_are_failures(tmp_path: Path, changes: object) -> None:
    odd = replace(result(), **changes) if isinstance(changes, dict) else "a result"
    with Search.open(tmp_path, small_experiment()) as search:
        search.ask()
        trial = search.tell(Outcome(0, 0, odd))  # type: ignore[arg-type]
        assert trial.status is Status.FAILED
        search.ask()
        search.tell(Outcome(1, 0, failure=Failure("error", "a \ud800"), worker="\ud800"))
    with Search.open(tmp_path, small_experiment()) as search:
        assert search.history[0].failure == trial.failure
        assert search.history[1].failure == Failure("error", "a \\ud800")


def test_failures_are_remembered(tmp_path: Path) -> None:
    options = {"fail": "diverged", "trials": [1, 3]}
    history, _ = run(tmp_path, small_experiment(trials=6, task_options=options))
    assert [t.status is Status.FAILED for t in history] == [False, True, False, True, False, False]
    assert history[3].failure == Failure("diverged", "told to fail")
    assert history.best() is not None


def test_job_is_plain_and_complete(tmp_path: Path) -> None:
    experiment = small_experiment("prune", task_options={"sleep": 0})
    with Search.open(tmp_path, experiment) as search:
        trial = search.ask()
        assert trial is not None
        job = search.job(trial)
    assert job.genome == zoo.load("lstm").to_json()
    assert type(job.task_options) is dict
    assert (job.steps, job.training, job.limits) == (9, experiment.training, experiment.limits)
    assert job.checkpoint == str(tmp_path / "checkpoints" / "trial-00000.safetensors")
    assert job.connections
    assert not job.resume
    assert not job.inherit


def test_seeds_are_fixed_by_experiment_and_number(tmp_path: Path) -> None:
    seeds = {}
    for seed in (5, 6):
        with Search.open(tmp_path / str(seed), small_experiment(seed=seed)) as search:
            seeds[seed] = [
                (trial.number, search.job(trial).seed)
                for _ in range(3)
                if (trial := search.ask()) is not None
            ]
    with Search.open(tmp_path / "5", small_experiment(seed=5)) as search:
        again = [
            (trial.number, search.job(trial).seed)
            for _ in range(3)
            if (trial := search.ask()) is not None
        ]
    assert sorted(again) == seeds[5]  # a resumed run begins with the longest
    assert len({seed for _, seed in (*seeds[5], *seeds[6])}) == 6


def test_weights_are_inherited_from_the_parent_s_checkpoint(tmp_path: Path) -> None:
    with Search.open(tmp_path, small_experiment(Rounds(), trials=6, baselines=())) as search:
        for number in range(3):
            search.ask()
            search.tell(
                Outcome(
                    number,
                    0,
                    result(
                        1.0 - number / 10,
                        checkpoint=str(tmp_path / f"checkpoints/trial-{number:05d}.safetensors"),
                    ),
                )
            )
        trial = search.ask()
        assert trial is not None
        assert search.job(trial).inherit == str(tmp_path / "checkpoints/trial-00002.safetensors")
        assert search.history[2].result == result(0.8, "checkpoints/trial-00002.safetensors")
    with Search.open(tmp_path, small_experiment(Rounds(), trials=6, baselines=())) as search:
        again = search.ask()
        assert again is not None
        assert again.number == 3
        assert again.proposal.inherit == 2
        assert search.job(again).inherit == str(tmp_path / "checkpoints/trial-00002.safetensors")


def test_resuming_does_what_is_left_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "log"
    experiment = small_experiment(trials=12, task_options={"log": str(log)})
    with (
        Search.open(tmp_path / "run", experiment) as search,
        InProcess(evaluation=EVALUATION) as executor,
    ):
        search.run(
            executor,
            lambda e: search.stop() if isinstance(e, TrialEnded) and e.trial.number == 6 else None,
            arrays={},
        )
        assert len(search.history) == 7
    events = run(tmp_path / "run", experiment)[1]
    assert events[0] == Resumed(finished=7, requeued=0)
    trials = [int(line.split()[0]) for line in log.read_text().splitlines() if "end" in line]
    assert trials == list(range(12))
    assert run(tmp_path / "run", experiment)[1] == [Resumed(finished=12, requeued=0)]


def test_interrupt_leaves_nothing_running(tmp_path: Path) -> None:
    def interrupt(event: SearchEvent) -> None:
        if isinstance(event, TrialStarted) and event.trial.number == 3:
            raise KeyboardInterrupt

    experiment = small_experiment(trials=6)
    with (
        pytest.raises(KeyboardInterrupt),
        Search.open(tmp_path, experiment) as search,
        InProcess(evaluation=EVALUATION) as executor,
    ):
        search.run(executor, interrupt, arrays={})
    with Store.read(tmp_path) as store:
        assert [t.status.value for t in store.history()] == ["completed"] * 3 + ["waiting"]
    history, events = run(tmp_path, experiment)
    assert events[0] == Resumed(finished=3, requeued=1)
    assert [t.status for t in history] == [Status.COMPLETED] * 6


def test_stop_now_hands_back_what_is_under_way(tmp_path: Path) -> None:
    experiment = small_experiment(trials=10)
    executor = Disordered(3, seed=1)
    with Search.open(tmp_path, experiment) as search:
        search.run(
            executor,
            lambda e: search.stop(now=True) if isinstance(e, TrialEnded) else None,
            arrays={},
        )
        assert any(t.status is Status.RUNNING for t in search.history)
        executor.close(kill=True)
        search.run(executor, arrays={})
        assert [t.status for t in search.history] == [Status.COMPLETED] * 10
    assert max(Counter((job.trial, job.rung) for job in executor.jobs).values()) == 2


def test_error_of_the_environment_ends_the_search_and_loses_nothing(tmp_path: Path) -> None:
    experiment = small_experiment(trials=6, task_options={"raise": "environment", "trials": [4]})
    with pytest.raises(EnvironmentFailure, match="told to raise"):
        run(tmp_path, experiment)
    with Store.read(tmp_path) as store:
        assert [t.status for t in store.history()][:4] == [Status.COMPLETED] * 4
    with Search.open(tmp_path, experiment) as search:
        trial = search.ask()
        assert trial is not None
        assert trial.number == 4


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    run(tmp_path, small_experiment(trials=4))
    other = small_experiment(trials=4, seed=6)
    other = replace(other, training=replace(other.training, learning_rate=0.5))
    with pytest.raises(
        RunError, match=r"seed was 5, is 6.*training\.learning_rate was 0\.004, is 0\.5"
    ) as caught:
        Search.open(tmp_path, other)
    assert caught.value.exit_code == 4
    with pytest.raises(RunError, match="trials was 4, is 3"):
        Search.open(tmp_path, small_experiment(trials=3))
    assert (tmp_path / "experiment.toml").read_text() == small_experiment(trials=4).to_toml()


def test_trials_may_be_raised_and_workers_changed(tmp_path: Path) -> None:
    run(tmp_path, small_experiment(trials=4, workers=1))
    history, _ = run(tmp_path, small_experiment(trials=7, workers=3))
    at_once, _ = run(tmp_path / "at once", small_experiment(trials=7))
    assert len(history) == 7
    assert final_table(history) == final_table(at_once)


def test_search_without_experiment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs its experiment") as caught:
        Search.open(tmp_path)
    assert "load_experiment" in caught.value.hint


def test_two_searches_of_one_run(tmp_path: Path) -> None:
    with (
        Search.open(tmp_path, small_experiment()),
        pytest.raises(RunError, match="another process"),
    ):
        Search.open(tmp_path, small_experiment())


def test_other_machine_is_told_about(tmp_path: Path) -> None:
    run(tmp_path, small_experiment(trials=3))
    with Store.open(tmp_path) as store:
        store.add_environment(
            {**store.environments()[-1].fingerprint, "torch": "1.0", "host": "elsewhere"}
        )
    events = run(tmp_path, small_experiment(trials=3))[1]
    changed = [e for e in events if isinstance(e, EnvironmentChanged)]
    assert [list(e.changes) for e in changed] == [["torch"]]
    assert changed[0].changes["torch"][0] == "1.0"
    with Store.read(tmp_path) as store:
        assert "torch: 1.0 ->" in store.events()[-1].text
