"""Suites: what they declare, how several tasks become one score, references that are paid once,
training with early abort.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.suites import DOCUMENT, declared
from support.trainings import facts

import cellsearch as cs
from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError, TrainingError
from cellsearch.experiment import catalog
from cellsearch.job import Job, Limits, Prefilter, Training
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.suite import Member, Suite, load_suite_data, part
from cellsearch.training import ReferenceTraining, evaluate, prepare, results, shares
from cellsearch.training import suite as suites
from cellsearch.trial import Result


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads what another, or the user, has trained. The compiled runtime stays where
    it is.
    """
    monkeypatch.setattr(results, "cache_folder", lambda: tmp_path / "cache")


def suite_job(suite: Suite, cell: str = "lstm", **changes: Any) -> Job:
    job = Job(
        5,
        0,
        zoo.load(cell).to_json(),
        "suite",
        suite.to_document(),
        Training(steps=suite.steps),
        suite.steps,
        77,
    )
    return replace(job, **changes)


def with_references(suite: Suite, *scores: float) -> tuple[float, ...]:
    """The targets of a suite whose LSTM has these made-up scores (the GRU's are half of them)."""
    table = np.array(
        [[[score] * len(suite.seeds), [score / 2] * len(suite.seeds)] for score in scores]
    )
    return suites.targets(suite, table)


# -- declaring -------------------------------------------------------------------------------------


def test_what_is_declared_is_read_and_written() -> None:
    suite = declared()
    assert [m.name for m in suite.members] == ["parity", "adding"]
    assert suite.steps == 50
    assert (suite.aggregation, suite.reference, suite.stop_below) == ("min", "lstm", 0.0)
    assert Suite.parse(suite.to_document()) == suite
    assert Suite.parse(json.loads(json.dumps(suite.to_document()))) == suite


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"aggregation": "median"}, "unknown value 'median'"),
        ({"reference": "rnn"}, "unknown value 'rnn'"),
        ({"stop_below": 1.0}, "1.0 is out of range"),
        ({"stop_below": 0.5, "aggregation": "mean"}, "needs all tasks"),
        ({"seeds": []}, r"\[\] is out of range"),
        ({"seeds": [1, 1]}, "names a seed twice"),
        ({"seeds": [True]}, "True is not a whole number"),
        ({"rates": []}, r"\[\] is out of range"),
        ({"rates": [0.0]}, "out of range"),
        ({"rates": [1, 1.0]}, r"\[1.0, 1.0\] names a rate twice"),
        ({"trainings": 0}, "0 is out of range"),
        ({"failures": "forget"}, "unknown value 'forget'"),
        ({"over_rates": "worst"}, "unknown value 'worst'"),
        ({"training": {"steps": 3}}, "unknown key 'steps'"),
        ({"training": {"hidden_size": "8"}}, "is not a whole number"),
        ({"training": {"hidden_size": -1}}, "-1 is out of range"),
        ({"tasks": []}, r"\[\] is out of range"),
        ({"tasks": [DOCUMENT["tasks"][0]] * 2}, "names of their own"),
        ({"tasks": [3]}, r"tasks\[0\]: 3 is not a table"),
        ({"tasks": [{"task": "parity", "steps": 3}]}, "the key chance is missing"),
        (
            {"tasks": [{"task": "parity", "steps": 0, "chance": 0.5}]},
            r"tasks\[0\].steps: 0 is out of range",
        ),
        ({"tasks": [{"task": "parity", "steps": 3.5, "chance": 0.5}]}, "is not a whole number"),
        ({"tasks": [{"task": "parety", "steps": 3, "chance": 0.5}]}, "no task 'parety'"),
        ({"tasks": [{"task": "suite", "steps": 3, "chance": 0.5}]}, "cannot hold a suite"),
        (
            {"tasks": [{"task": "parity", "steps": 3, "chance": 0.5, "options": {"lenght": 3}}]},
            r"tasks\[0\].options.lenght: unknown key 'lenght'",
        ),
    ],
)
def test_wrong_declarations_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        declared(**changes)


def test_what_is_new_since_0_1_is_written_only_where_it_says_something() -> None:
    assert declared(trainings=1, rates=[1], failures="fail", over_rates="mean") == declared()
    plain = declared().to_document()
    assert not {"trainings", "rates", "failures", "over_rates"} & plain.keys()
    assert not any("rates" in task for task in plain["tasks"])
    tasks_ = [DOCUMENT["tasks"][0], {**DOCUMENT["tasks"][1], "rates": [3.0]}]
    several = declared(tasks=tasks_, trainings=2, rates=[0.5, 2], failures="count")
    document = several.to_document()
    assert (document["trainings"], document["rates"], document["failures"]) == (
        2,
        [0.5, 2],
        "count",
    )
    assert Suite.parse(document) == several


def test_steps_are_those_of_all_trainings() -> None:
    tasks_ = [DOCUMENT["tasks"][0], {**DOCUMENT["tasks"][1], "rates": [3.0]}]
    assert declared(tasks=tasks_, trainings=2, rates=[0.5, 2]).steps == 2 * (2 * 30 + 20)


def test_repeats_have_seeds_of_their_own() -> None:
    suite = declared(seeds=[7, 3, 5], trainings=2)
    assert [suite.seeds_of(repeat) for repeat in range(3)] == [(7, 3), (5, 8), (9, 10)]
    drawn = [seed for repeat in range(20) for seed in suite.seeds_of(repeat)]
    assert len(set(drawn)) == 40


def test_shipped_suites_and_their_experiment() -> None:
    for path in catalog.entries(catalog.SUITES).values():
        suite = catalog.load_suite(path)
        assert Suite.parse(suite.to_document()) == suite
        assert suite.name == path.stem
    experiment = cs.load_experiment("gating")
    assert experiment.task == "suite"
    assert experiment.training.steps == catalog.load_suite("long_memory").steps == 1800
    assert experiment.training.hidden_size == 32


def test_a_suite_is_no_task_that_could_be_trained_by_itself() -> None:
    assert "suite" not in tasks.names()
    with pytest.raises(ConfigError, match="several tasks, and here one is needed"):
        tasks.get("suite")


# -- one score of several --------------------------------------------------------------------------


def test_share_is_0_for_chance_and_1_for_the_reference() -> None:
    assert suites.share(0.5, 0.5, 0.1) == 0.0
    assert suites.share(0.5, 0.1, 0.1) == pytest.approx(1.0)
    assert suites.share(0.5, 0.3, 0.1) == pytest.approx(0.5)
    assert suites.share(0.5, 0.0, 0.1) == pytest.approx(1.25)
    assert suites.share(0.5, 0.9, 0.1) == 0.0, "worse than chance is nothing"
    assert suites.share(0.5, 0.0, 0.0) == 1.0, "an error of 0 is an ordinary score"


@pytest.mark.parametrize("reference", [0.5, 0.495, 0.7, math.nan])
def test_nothing_is_compared_with_a_reference_that_learned_nothing(reference: float) -> None:
    with pytest.raises(ConfigError, match="no better than chance"):
        suites.share(0.5, 0.2, reference, "parity")


def members(count: int, **changes: Any) -> Suite:
    members = (Member(name=f"m{k}", task="parity", steps=1, chance=0.5) for k in range(count))
    return Suite(name="made up", members=tuple(members), **changes)


def test_fitness_by_aggregation() -> None:
    assert suites.fitness(members(3), [0.9, 0.4, 1.2]) == 0.4
    assert suites.fitness(members(3, aggregation="mean"), [0.9, 0.4, 1.1]) == pytest.approx(0.8)
    assert suites.fitness(members(3, aggregation="pareto"), [0.9, 0.4, 1.1]) == pytest.approx(0.8)
    assert suites.fitness(members(3, stop_below=0.5), [0.9, 0.6, 1.1]) == 0.6
    limited = members(3, aggregation="mean", most=1.1)
    assert suites.fitness(limited, [0.9, 1.0, 1.7]) == pytest.approx(1.0)
    assert suites.fitness(limited, [0.9, 1.0, 1.1]) == pytest.approx(1.0)


SHARES = st.floats(0, 1.5, allow_nan=False)


@given(
    st.lists(SHARES, min_size=3, max_size=3),
    st.lists(SHARES, min_size=3, max_size=3),
    st.floats(0.05, 0.95),
)
def test_who_fails_later_or_less_is_better_and_who_fails_nothing_is_best(
    a: list[float], b: list[float], bound: float
) -> None:
    suite = members(3, stop_below=bound)

    def rank(shares: list[float]) -> tuple[int, float]:
        """How many tasks were passed, then the share of the one that was failed, or the smallest
        share.
        """
        failed = next((k for k, share in enumerate(shares) if share < bound), None)
        return (3, min(shares)) if failed is None else (failed, shares[failed])

    def trained(shares: list[float]) -> list[float]:
        return shares[: rank(shares)[0] + 1]

    fit_a, fit_b = suites.fitness(suite, trained(a)), suites.fitness(suite, trained(b))
    assert (fit_a >= bound) == (rank(a)[0] == 3)
    if rank(a) > rank(b):
        assert fit_a >= fit_b - 1e-12
    if rank(a)[0] > rank(b)[0] and rank(b)[1] < bound * 0.9:
        assert fit_a > fit_b


def trainings(*shares: float | None, rates: int = 1) -> list[suites.OneTraining]:
    """Made-up trainings, as many at each rate; ``None`` for one that diverged."""
    each = len(shares) // rates
    result = Result(0.25, 0.75, 3, 1.0, 10, 5)
    failure = TrainingError("scripted", kind="diverged")
    return [
        suites.OneTraining(float(k // each), k, 0.0, failure=failure, steps=8)
        if value is None
        else suites.OneTraining(float(k // each), k, value, result, steps=3)
        for k, value in enumerate(shares)
    ]


def test_a_training_that_diverged_counts_in_the_mean() -> None:
    assert shares.task_share(members(1), trainings(0.9, 0.7)) == pytest.approx(0.8)
    assert shares.task_share(members(1), trainings(0.9, None)) == 0.45
    assert shares.task_share(members(1), trainings(None)) == 0.0
    best = members(1, over_rates="best")
    assert shares.task_share(best, trainings(0.2, 0.4, 0.9, 0.7, rates=2)) == pytest.approx(0.8)
    lost = shares.task_share(best, trainings(None, 0.4, 0.9, 0.7, rates=2))
    assert lost == pytest.approx(0.8 * 3 / 4), "who diverges at another rate pays for it"


def test_several_trainings_of_a_task_are_one_result() -> None:
    member = members(1).members[0]
    whole = shares.scored(members(1), member, trainings(0.9, 0.7))
    assert (whole.result.score, whole.result.steps, whole.diverged) == (0.25, 6, 0)
    part_ = shares.scored(members(1), member, trainings(0.9, None))
    assert math.isnan(part_.result.score), "no mean of what is left"
    assert (part_.result.steps, part_.diverged, part_.share) == (11, 1, 0.45)


# -- references, paid once -------------------------------------------------------------------------


def test_references_are_those_of_an_ordinary_training_and_are_paid_once() -> None:
    suite = declared()
    arrays = load_suite_data(suite)
    told: list[ReferenceTraining] = []
    scores = suites.references(suite, arrays, results.ResultCache(), told.append)
    assert scores.shape == (2, 2, 2)
    assert [one.known for one in told] == [False] * 8
    assert told[5] == ReferenceTraining("lstm", "adding", 4, known=False)
    adding = DOCUMENT["tasks"][1]
    training = Training(steps=20, hidden_size=8, evaluations=3, learning_rate=0.02)
    job = Job(0, 0, zoo.load("gru").to_json(), "adding", adding["options"], training, 20, 4)
    assert scores[1, 1, 1] == evaluate(job, tasks.get("adding").load(adding["options"])).score

    told.clear()
    data = prepare("suite", suite.to_document(), on_training=told.append)
    assert [one.known for one in told] == [True] * 8
    assert data.targets == (float(scores[0, 0].mean()), float(scores[1, 0].mean()))
    assert data.arrays.keys() == arrays.keys()


def test_a_reference_is_told_of_before_it_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def train(job: Job, arrays: Arrays, **more: Any) -> Result:
        order.append(f"trained {job.task}")
        return evaluate(job, arrays)

    monkeypatch.setattr(results, "evaluate", train)
    suite = declared(seeds=[3])
    prepare("suite", suite.to_document(), on_training=lambda one: order.append(one.task))
    assert order == ["parity", "trained parity"] * 2 + ["adding", "trained adding"] * 2


# -- training --------------------------------------------------------------------------------------


def test_each_task_is_trained_as_by_itself() -> None:
    suite = declared()
    arrays = load_suite_data(suite)
    whole = suite_job(suite, "gru", targets=with_references(suite, 0.1, 0.2))
    result, scored = suites.train_suite(whole, arrays, seed=4)
    for k, member in enumerate(suite.members):
        job = suites.member_job(whole, suite, member, 4)
        alone = evaluate(job, part(arrays, k))
        assert facts(alone) == facts(scored[k].result)
        assert result.metrics[f"score.{member.name}"] == alone.score
        assert result.metrics[f"share.{member.name}"] == suites.share(
            member.chance, alone.score, (0.1, 0.2)[k]
        )
    shares = [one.share for one in scored]
    assert result.metric == min(shares) == result.metrics["minimum"]
    assert result.score == 1 - min(shares)
    assert result.steps == 50
    assert result.metrics["mean"] == pytest.approx(sum(shares) / 2)


def test_candidates_of_a_search_are_trained_with_the_first_seed() -> None:
    suite = declared()
    arrays = load_suite_data(suite)
    job = suite_job(suite, targets=with_references(suite, 0.1, 0.2))
    assert facts(evaluate(job, arrays)) == facts(suites.train_suite(job, arrays, seed=3)[0])
    assert evaluate(job, arrays).metrics != suites.train_suite(job, arrays, seed=4)[0].metrics


@pytest.mark.parametrize(("reference", "index"), [("lstm", 1.0), ("gru", 0.5), ("best", 0.5)])
def test_the_reference_is_the_declared_baseline(reference: str, index: float) -> None:
    suite = declared(reference=reference)
    job = suite_job(suite, targets=with_references(suite, 0.2, 0.4))
    result = evaluate(job, load_suite_data(suite))
    assert result.metrics["share.adding"] == pytest.approx(
        max(0, (1.0 - result.metrics["score.adding"]) / (1.0 - 0.4 * index))
    )


def test_after_a_failed_task_the_others_are_not_trained() -> None:
    suite = declared(stop_below=0.9)
    arrays = load_suite_data(suite)
    # Nobody can have a share worth mentioning of the first skill.
    targets = with_references(suite, 0.6 - 1e6, 0.2)
    seen: list[str] = []
    result, scored = suites.train_suite(
        suite_job(suite, targets=targets), arrays, on_task=lambda one: seen.append(one.member.name)
    )
    assert seen == ["parity"] == [one.member.name for one in scored]
    assert result.metrics["trained_tasks"] == 1
    assert math.isnan(result.metrics["minimum"])
    assert math.isnan(result.metrics["mean"])
    assert "share.adding" not in result.metrics
    assert result.steps == 30
    whole, _ = suites.train_suite(suite_job(declared(), targets=targets), arrays)
    assert whole.metrics["trained_tasks"] == 2
    assert result.score > 1 - 0.9, "it can never be better than a cell that failed nothing"


def test_the_reference_is_taken_at_its_best_rate() -> None:
    suite = declared(rates=[1e-9, 1.0], seeds=[3])
    arrays = load_suite_data(suite)
    scores = suites.references(suite, arrays, results.ResultCache())
    alone = suites.references(declared(seeds=[3]), arrays, results.ResultCache())
    assert scores.tolist() == alone.tolist(), "a rate at which nothing is learned is not the best"


def test_each_task_is_trained_at_each_rate_with_each_seed() -> None:
    suite = declared(rates=[0.5, 2.0], trainings=2)
    arrays = load_suite_data(suite)
    job = suite_job(suite, targets=with_references(suite, 0.1, 0.2))
    result, found = suites.train_suite(job, arrays)
    assert [(one.rate, one.seed) for one in found[0].trainings] == [
        (0.5, 3),
        (0.5, 4),
        (2.0, 3),
        (2.0, 4),
    ]
    for k, each in enumerate(found):
        for one in each.trainings:
            alone = suites.member_job(job, suite, each.member, one.seed, rate=one.rate)
            assert one.result is not None
            assert facts(evaluate(alone, part(arrays, k))) == facts(one.result)
        assert each.share == pytest.approx(sum(one.share for one in each.trainings) / 4)
    assert result.steps == suite.steps == 200
    again = suites.train_suite(replace(job, repeat=1), arrays)[1]
    assert [one.seed for one in again[0].trainings] == [5, 6, 5, 6]


def diverging(monkeypatch: pytest.MonkeyPatch, *where: tuple[str, float]) -> None:
    """Let trainings fail that have one of these tasks and learning rates."""

    def train(job: Job, arrays: Arrays, **more: Any) -> Result:
        if (job.task, job.training.learning_rate) in where:
            raise TrainingError("scripted", kind="diverged")
        return evaluate(job, arrays)

    monkeypatch.setattr(suites, "train_one", train)


def test_a_training_that_diverges_is_counted_where_the_suite_wants_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = declared(rates=[0.5, 2.0], failures="count", aggregation="mean")
    arrays = load_suite_data(suite)
    job = suite_job(suite, targets=with_references(suite, 0.1, 0.2))
    whole = evaluate(job, arrays)
    assert whole.metrics["diverged"] == 0.0
    diverging(monkeypatch, ("parity", 0.04))
    result, found = suites.train_suite(job, arrays)
    assert result.metrics["diverged"] == 0.25
    assert result.steps == whole.steps, "what was granted counts"
    assert found[0].share == found[0].trainings[0].share / 2
    assert result.score > whole.score
    assert math.isnan(result.metrics["score.parity"])
    strict = declared(rates=[0.5, 2.0], aggregation="mean")
    with pytest.raises(TrainingError, match="task parity: scripted"):
        suites.train_suite(suite_job(strict, targets=job.targets), arrays)


def test_who_diverges_everywhere_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = declared(failures="count")
    diverging(monkeypatch, ("parity", 0.02), ("adding", 0.02))
    job = suite_job(suite, targets=with_references(suite, 0.1, 0.2))
    with pytest.raises(TrainingError, match="every training diverged") as caught:
        suites.train_suite(job, load_suite_data(suite))
    assert caught.value.kind == "diverged"


def test_a_rung_trains_each_task_its_share() -> None:
    suite = declared()
    job = suite_job(suite, steps=10, targets=with_references(suite, 0.1, 0.2))
    result = evaluate(job, load_suite_data(suite))
    assert result.steps == 6 + 4


def test_what_tasks_say_of_connections_is_joined() -> None:
    suite = declared()
    job = suite_job(suite, connections=True, targets=with_references(suite, 0.1, 0.2))
    result, scored = suites.train_suite(job, load_suite_data(suite))
    parts = [one.result.connections for one in scored]
    assert result.connections.keys() == parts[0].keys() == parts[1].keys()
    for name, joined in result.connections.items():
        expected = [
            found[name].saliency / max(c.saliency for c in found.values()) for found in parts
        ]
        assert joined.saliency == pytest.approx(sum(expected) / 2)
        assert joined.gate == pytest.approx(sum(found[name].gate for found in parts) / 2)
        assert joined.perturbation is None


def test_a_failed_training_is_the_failure_of_the_whole() -> None:
    suite = declared()
    targets = with_references(suite, 0.1, 0.2)
    broken = suite_job(suite, limits=Limits(seconds=1e-9), targets=targets)
    with pytest.raises(TrainingError, match="task parity: ") as caught:
        evaluate(broken, load_suite_data(suite))
    assert caught.value.kind == "timeout"


def test_the_limit_of_seconds_is_for_all_tasks_together(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = declared()
    left: list[float] = []

    def train(job: Job, arrays: Arrays, **more: Any) -> Result:
        left.append(job.limits.seconds)
        return evaluate(job, arrays)

    monkeypatch.setattr(suites, "train_one", train)
    targets = with_references(suite, 0.1, 0.2)
    job = suite_job(suite, limits=Limits(seconds=50.0), targets=targets)
    suites.train_suite(job, load_suite_data(suite))
    assert 50 > left[0] > left[1] > 0


def test_what_cannot_be_compared_is_refused() -> None:
    suite = declared()
    arrays, targets = load_suite_data(suite), with_references(suite, 0.1, 0.2)
    with pytest.raises(ConfigError, match="0 scores of the references, and there are 2 tasks"):
        evaluate(suite_job(suite), arrays)
    with pytest.raises(ConfigError, match="test data"):
        evaluate(suite_job(suite, test=True, targets=targets), arrays)


def test_the_checks_of_an_untrained_cell_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = declared()
    checked: list[bool] = []

    def train(job: Job, arrays: Arrays, **more: Any) -> Result:
        checked.append(job.prefilter.any)
        return evaluate(job, arrays)

    monkeypatch.setattr(suites, "train_one", train)
    targets = with_references(suite, 0.1, 0.2)
    job = suite_job(suite, prefilter=Prefilter(growth=True), targets=targets)
    suites.train_suite(job, load_suite_data(suite))
    assert checked == [True, False]
