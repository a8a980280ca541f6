"""Cells that lead are trained again with new seeds before they rank: who, when, what the score is
then, and that neither kills nor the order of outcomes change any of it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.suites import declared

import cellsearch as cs
from cellsearch import schedules
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import ConfigError, RunError, TrainingError
from cellsearch.experiment import Experiment, parse_experiment
from cellsearch.genome.graph import Genome
from cellsearch.history import Granted
from cellsearch.job import Allowance, Job, Reevaluation
from cellsearch.schedules.repeating import repeat_budget
from cellsearch.search import Search
from cellsearch.search.continuing import importable
from cellsearch.simulation.simulate import simulate
from cellsearch.store import Store
from cellsearch.strategies.random import Random
from cellsearch.tasks.base import Arrays
from cellsearch.testing import noop
from cellsearch.testing.search import (
    Disordered,
    Killed,
    Row,
    differing_rows,
    final_table,
    small_experiment,
)
from cellsearch.testing.strategies import space
from cellsearch.training import results
from cellsearch.trial import Result, Status, Trial

EVALUATION = f"{__name__}:evaluate"
ON = Reevaluation(trainings=3, top=2, confidence=1.0)


def quality(genome: str) -> float:
    """What a cell is worth, from 0 to 1."""
    return hashlib.blake2b(genome.encode()).digest()[0] / 256


def evaluate(job: Job, arrays: Arrays) -> Result:
    """The worth of the cell, and noise of the seed; of some cells only the repeats go wrong."""
    if job.repeat and quality(job.genome) < 0.06:
        raise TrainingError("went wrong", kind="nan")
    noise = float(np.random.default_rng(job.seed).standard_normal())
    score = quality(job.genome) + 0.2 * noise + 1.0 / job.steps
    result = noop.evaluate(job, arrays)
    return Result(score, 2 * score, job.steps, 1.0, 10, 5, checkpoint=result.checkpoint)


def experiment(kind: str = "fixed", **changes: Any) -> Experiment:
    options: dict[str, Any] = {"eta": 2} if kind == "halving" else {}
    values: dict[str, Any] = {
        "deterministic": True,
        "lookahead": 4,
        "trials": 24,
        "schedule": schedules.create(kind, options),
        "reevaluation": ON,
    }
    return small_experiment("genetic", **(values | changes))


def searched(path: Path, declared_so: Experiment, capacity: int = 1, seed: int = 0) -> list[Row]:
    with Search.open(path, declared_so) as search:
        search.run(Disordered(capacity, seed, evaluation=EVALUATION), arrays={})
        return final_table(search.history)


def repeated(table: list[Row]) -> list[int]:
    """Numbers of the trials that had the same full training more than once."""
    steps = [[each for each, score in row[5] if score is not None] for row in table]
    return [row[0] for row, each in zip(table, steps, strict=True) if each.count(9) > 1]


def test_leaders_and_baselines_rank_by_the_mean_of_several_seeds(tmp_path: Path) -> None:
    jobs: list[Job] = []
    declared_so = experiment()
    with Search.open(tmp_path / "run", declared_so) as search:
        executor = Disordered(1, 0, evaluation=EVALUATION)
        search.run(executor, arrays={})
        history, jobs = search.history, executor.jobs
        assert search.finished
    best = history.best(baselines=False)
    assert best is not None
    assert best.trainings == 3
    assert {trial.trainings for trial in history if trial.is_baseline} == {3}
    counts = Counter(trial.trainings for trial in history)
    assert counts[1] > counts[3] > 2, "most cells are trained once"
    for trial in history:
        scores = [rung.result.score for rung in trial.rungs if rung.result]
        if trial.status is Status.COMPLETED:
            assert trial.score == sum(scores) / len(scores)
            assert trial.result is not None
            assert trial.result.score == trial.score
            assert trial.result.metric == pytest.approx(2 * trial.score)
    seeds = [job.seed for job in jobs]
    assert len(set(seeds)) == len(seeds)
    assert {job.repeat for job in jobs} == {0, 1, 2}
    assert not any(job.checkpoint or job.resume or job.inherit for job in jobs if job.repeat)


def test_who_goes_wrong_when_trained_again_has_failed(tmp_path: Path) -> None:
    with Search.open(tmp_path / "run", experiment(trials=120)) as search:
        search.run(Disordered(1, 0, evaluation=EVALUATION), arrays={})
        history = search.history
    wrong = [t for t in history if t.genome and quality(t.genome.to_json()) < 0.06 and t.repeats]
    assert wrong
    assert all(trial.status is Status.FAILED for trial in wrong)
    assert not {t.number for t in wrong} & {t.number for t in history.ranked}


@pytest.mark.parametrize("kind", ["fixed", "halving", "curve_stop"])
def test_a_deterministic_search_gives_one_table(kind: str, tmp_path: Path) -> None:
    declared_so = experiment(kind)
    expected = searched(tmp_path / "one", declared_so)
    assert len(expected) >= 24
    assert repeated(expected), "leaders were trained again"
    for capacity, seed in ((2, 1), (4, 2), (7, 3)):
        found = searched(tmp_path / f"{capacity}", declared_so, capacity, seed)
        assert not differing_rows(expected, found)


@pytest.mark.parametrize("kind", ["fixed", "halving"])
def test_a_killed_search_goes_on_as_if_nothing_had_happened(kind: str, tmp_path: Path) -> None:
    declared_so = experiment(kind)
    expected = searched(tmp_path / "whole", declared_so)
    assert repeated(expected), "leaders were trained again"
    chance, kills = random.Random(7), 0
    for sitting in range(200):
        after = chance.randrange(1, 9) if sitting < 8 else -1
        search = Search.open(tmp_path / "run", declared_so)
        try:
            search.run(Disordered(3, sitting, kill_after=after, evaluation=EVALUATION), arrays={})
        except Killed:
            kills += 1
            search._store.close()  # what a dead process leaves: no requeue, nothing put in order
            continue
        found = final_table(search.history)
        search.close()
        break
    assert kills == 8
    assert not differing_rows(expected, found)


def test_places_in_the_store_are_those_in_memory(tmp_path: Path) -> None:
    searched(tmp_path / "run", experiment(trials=60))
    with Store.read(tmp_path / "run") as store:
        history = store.history()
        ranked = [trial.number for trial in history.ranked]
        rows = store.lookup.rows(
            "SELECT number, standing FROM trials WHERE standing IS NOT NULL "
            "ORDER BY standing, number"
        )
        granted = store.lookup.granted().steps
    assert [number for number, _ in rows] == ranked
    assert [standing for _, standing in rows] == [trial.score for trial in history.ranked]
    assert granted == sum(Granted.of(trial) for trial in history)
    assert granted == 9 * sum(len(trial.rungs) for trial in history)


def test_steps_of_repeats_count_against_the_allowance(tmp_path: Path) -> None:
    whole = experiment(allowance=Allowance(steps=9 * 30))
    table = searched(tmp_path / "cut", whole, 3)
    used = sum(len(row[5]) for row in table)
    assert 30 <= used <= 33
    longer = searched(tmp_path / "cut", experiment(), 2)
    assert not differing_rows(searched(tmp_path / "whole", experiment()), longer)


def test_it_is_off_by_default_and_then_written_nowhere(tmp_path: Path) -> None:
    off, on = experiment(reevaluation=Reevaluation()), experiment()
    assert "reevaluation" not in off.to_toml()
    assert (
        cs.experiment.parse_experiment(
            cs.options.parse_toml(on.to_toml(), "t"), source="t"
        ).reevaluation
        == ON
    )
    searched(tmp_path / "run", off)
    with pytest.raises(RunError, match=r"reevaluation\.trainings was"):
        Search.open(tmp_path / "run", on)
    document: dict[str, Any] = {
        "name": "wrong",
        "space": "tiny",
        "strategy": "random",
        "task": "parity",
    }
    with pytest.raises(ConfigError, match=r"reevaluation\.trainings: 0 is out of range"):
        parse_experiment({**document, "reevaluation": {"trainings": 0}}, source="test")


def test_the_rule() -> None:
    def done(number: int, *scores: float) -> Trial:
        from cellsearch.trial import Budget, Proposal, Rung

        rungs = tuple(
            Rung(Budget(100, k), Result(score, score, 100, 1.0, 1, 1))
            for k, score in enumerate(scores)
        )
        genome = Genome.from_text(f"h[t] = tanh(linear(x[t], h[t-1])) + {number}")
        return Trial(number, Proposal(genome), Status.RUNNING, rungs)

    others = [done(0, 0.5), done(1, 0.4, 0.6, 0.5), done(2, 0.7)]

    def granted(trial: Trial, **changes: Any) -> bool:
        rule = Reevaluation(**{"trainings": 3, "top": 2, "confidence": 0.0, **changes})
        return repeat_budget(rule, cs.History([*others, trial]), trial, 100) is not None

    assert granted(done(3, 0.3))
    assert granted(done(3, 0.45))
    assert not granted(done(3, 0.6)), "two are better"
    assert granted(done(3, 0.6), top=3)
    assert not granted(done(3, 0.3, 0.3, 0.3)), "it has all its trainings"
    assert granted(done(3, 0.3, 0.6))
    assert not granted(done(3, 0.3, 0.8)), "its mean does not lead any more"
    # the noise known here is 0.1: cell 1, 0.4, 0.6, 0.5
    assert granted(done(3, 0.58), confidence=1.0)
    assert not granted(done(3, 0.65), confidence=1.0)


def test_repeats_of_another_run_are_taken_over(tmp_path: Path) -> None:
    searched(tmp_path / "first", experiment())
    found, _ = importable(tmp_path / "first", experiment(trials=30))
    with Search.open(tmp_path / "second", experiment(trials=4)) as search:
        search.import_run(tmp_path / "first")
        second = search.history
        best = search.best
    assert {t.score for t, _ in found} <= {t.score for t in second}
    assert best is not None
    assert best.trainings == 3
    assert Counter(t.trainings for t, _ in found)[3] > 2


def test_a_suite_is_trained_again_with_its_next_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellsearch.options import render_toml

    monkeypatch.setattr(results, "cache_folder", lambda: tmp_path / "cache")
    path = tmp_path / "small.toml"
    path.write_text(render_toml(declared(aggregation="mean").to_document()), "utf-8")
    document: dict[str, Any] = {
        "name": "again",
        "space": "tiny",
        "strategy": "random",
        "task": f"suite:{path}",
        "trials": 2,
        "workers": 0,
        "reevaluation": {"trainings": 2},
    }
    declared_so = parse_experiment(document, source="test")
    with Search.open(tmp_path / "run", declared_so) as search:
        from cellsearch.executors.in_process import InProcess

        with InProcess() as executor:
            search.run(executor)
        lstm = search.history[0]
    assert len(lstm.rungs) == 2
    shares = [rung.result.metrics["score.adding"] for rung in lstm.rungs if rung.result is not None]
    assert len(set(shares)) == 2
    mean = sum(shares) / 2
    assert lstm.metrics["score.adding"] == pytest.approx(mean)


def test_tables_say_over_how_many_trainings_a_score_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = searched(tmp_path / "run", experiment())
    assert guarded(cli, ["ls", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "trainings" in shown.splitlines()[0]
    done = [sum(score is not None for _, score in row[5]) for row in table]  # a second each
    share = sum(max(count - 1, 0) for count in done) / sum(done)
    assert f"{share:.0%} of the training time spent on training leaders again" in shown
    assert guarded(cli, ["ls", str(tmp_path / "run"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {1, 3} <= {row["trainings"] for row in rows["trials"]}
    searched(tmp_path / "plain", experiment(reevaluation=Reevaluation()))
    assert guarded(cli, ["ls", str(tmp_path / "plain")]) == 0
    assert "trainings" not in capsys.readouterr().out.splitlines()[0]


# -- what it is for --------------------------------------------------------------------------------


def curse(reevaluation: Reevaluation, seed: int) -> tuple[float, float, int]:
    """In a simulated search of random cells with noise: how much better the winner's score is than
    its cell, what the cell is worth, and how many trainings there were.
    """
    noise, trainings = np.random.default_rng(seed), 0

    def score(genome: Genome, steps: int) -> float:
        nonlocal trainings
        trainings += 1
        return quality(genome.to_json()) + 0.2 * float(noise.standard_normal())

    history = simulate(Random(), space(), score, trials=60, seed=seed, reevaluation=reevaluation)
    best = history.best()
    assert best is not None
    worth = quality(best.genome.to_json())
    return worth - best.score, worth, trainings


def test_the_winners_curse_drops() -> None:
    once = np.array([curse(Reevaluation(), seed) for seed in range(8)])
    again = np.array([curse(Reevaluation(trainings=4, top=5), seed) for seed in range(8)])
    assert once[:, 0].mean() > 0.25, "a score of one training is more than a deviation too good"
    assert again[:, 0].mean() < 0.5 * once[:, 0].mean()
    assert again[:, 1].mean() < once[:, 1].mean(), "and the winner is a better cell"
    assert again[:, 2].mean() < 2.5 * once[:, 2].mean()
