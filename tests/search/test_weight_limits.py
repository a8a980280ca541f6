"""Limits on weights count what is trained, are checked before the first trial, and say what they
leave out; runs of version 0.1 keep their meaning.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cellsearch as cs
from cellsearch import strategies, training, zoo
from cellsearch.errors import ConfigError, RunError, SearchWarning, SpaceError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import Experiment, parse_experiment
from cellsearch.history import History
from cellsearch.job import Job, Training
from cellsearch.search import Search
from cellsearch.space import layer_weights
from cellsearch.store import Store
from cellsearch.tasks import TaskData, from_arrays
from cellsearch.testing.noop import EVALUATION

WIDTH = 5


@pytest.fixture(scope="module")
def data() -> TaskData:
    x = np.random.default_rng(0).normal(size=(40, 6, WIDTH))
    return from_arrays(x, x[:, :, 0].sum(1), kind="regression")


def experiment(data: TaskData | None = None, **changes: Any) -> Experiment:
    """Over own data of width 5, or over parity, whose inputs are embedded."""
    document: dict[str, Any] = {
        "name": "limited",
        "space": "lstm_gru",
        "strategy": "genetic",
        "task": data.name if data else "parity",
        "task_options": dict(data.options) if data else {},
        "trials": 6,
        "training": {"steps": 1, "hidden_size": 16, "evaluations": 1},
    }
    return parse_experiment(document | changes, source="limited.toml")


def search(folder: Path, declared: Experiment, arrays: Mapping[str, Any] | None = None) -> Search:
    """A search that is over; nothing was trained in it."""
    with Search.open(folder, declared) as one:
        one.run(InProcess(evaluation=EVALUATION), arrays=arrays)
        return one


SIZES = [
    Training(steps=1, evaluations=1, hidden_size=16),
    Training(steps=1, evaluations=1, hidden_size=7, num_layers=3),
    Training(steps=1, evaluations=1, hidden_size=6, num_layers=2, bidirectional=True),
]


@pytest.mark.parametrize("trained", SIZES, ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru", "mgu", "rnn_tanh", "indrnn"])
def test_weights_are_counted_as_training_counts_them(
    data: TaskData, trained: Training, cell: str
) -> None:
    for name, options, arrays in (
        (data.name, data.options, data.arrays),
        ("adding", {}, training.prepare("adding", {}).arrays),
    ):
        if name == "adding" and trained.bidirectional:
            continue
        (sizes,) = training.layer_sizes(name, options, trained, arrays)
        genome = zoo.load(cell)
        job = Job(0, 0, genome.to_json(), name, options, trained, 1, 0)
        assert layer_weights(genome, sizes) == training.evaluate(job, arrays).cell_parameters


@pytest.mark.parametrize("form", ["max_weights", "constrain"])
@pytest.mark.filterwarnings("ignore::cellsearch.errors.SearchWarning")
def test_every_cell_that_is_proposed_keeps_the_limit(
    data: TaskData, form: str, tmp_path: Path
) -> None:
    most = 700  # LSTM has 1,408 here, and 8,256 is the least of any cell at I = H = 64
    limit = (
        {"max_weights": most} if form == "max_weights" else {"constrain": {"max_parameters": 700}}
    )
    declared = experiment(data, trials=12, **limit)
    assert declared.max_weights == most
    done = search(tmp_path / "a", declared, data.arrays)
    (sizes,) = training.layer_sizes(data.name, data.options, declared.training, data.arrays)
    assert (sizes.input_size, sizes.hidden_size) == (WIDTH, 16)
    found = [t.genome for t in done.history if not t.is_baseline]
    assert len(found) == 10
    assert max(layer_weights(genome, sizes) for genome in found) <= most


def test_a_limit_may_be_that_of_a_zoo_cell(data: TaskData, tmp_path: Path) -> None:
    with Search.open(tmp_path / "a", experiment(data, max_weights="lstm")) as one:
        one.settle(data.arrays)
        assert one.experiment.space.limits.max_parameters == 1408
        assert set(one.experiment.space.seeds) == {"lstm", "gru"}


def test_sizes_that_an_experiment_names_itself_keep_their_meaning(tmp_path: Path) -> None:
    narrow = {"max_parameters": 9000, "hidden_size": 32, "input_size": 64}
    declared = experiment(constrain=narrow)
    assert declared.max_weights == 0
    limits = declared.space.limits
    assert (limits.max_parameters, limits.input_size, limits.hidden_size) == (9000, 64, 32)
    assert set(declared.space.seeds) == set()  # GRU has 9,312 there


@pytest.mark.parametrize("strategy", ["genetic", "random", "regularized_evolution", "nsga2"])
def test_a_limit_that_no_cell_keeps_is_said_before_the_first_trial(
    data: TaskData, strategy: str, tmp_path: Path
) -> None:
    with (
        Search.open(tmp_path / "a", experiment(data, strategy=strategy, max_weights=20)) as one,
        pytest.raises(SpaceError, match="max_weights: 20 weights are too few") as caught,
    ):
        one.run(InProcess(evaluation=EVALUATION), arrays=data.arrays)
    assert "lstm has 1,408" in caught.value.hint
    assert "I = 5, H = 16" in caught.value.hint
    with Store.read(tmp_path / "a") as store:
        assert len(store.history()) == 0
    # and the folder is not lost to the experiment that says it properly
    mended = experiment(data, strategy=strategy, max_weights=3000)
    assert len(search(tmp_path / "a", mended, data.arrays).history) == 6


def test_what_cannot_be_proposed_for_other_reasons_is_said_before_the_first_trial(
    tmp_path: Path,
) -> None:
    narrow = {"min_nodes": 2, "max_nodes": 2, "require_ops": ["mul", "sub"]}
    declared = experiment(strategy="random", constrain=narrow)
    with (
        Search.open(tmp_path / "a", declared) as one,
        pytest.raises(SpaceError, match="random cells, none of them legal"),
    ):
        one.run(InProcess(evaluation=EVALUATION), arrays={})
    with Store.read(tmp_path / "a") as store:
        assert len(store.history()) == 0


@pytest.mark.parametrize(
    ("changes", "which", "none_left"),
    [
        ({"max_weights": 1200}, ["lstm (1,408 weights, at most 1,200 with I = 5, H = 16"], False),
        ({"max_weights": 1000}, ["lstm (1,408", "gru (1,072"], True),
        ({"constrain": {"forbid_ops": ["tanh"]}}, ["lstm (the op tanh", "gru (the op tanh"], True),
        ({"constrain": {"max_nodes": 10}}, ["lstm (13 nodes, at most 10 allowed)"], False),
    ],
)
def test_seed_genomes_that_do_not_fit_are_named(
    data: TaskData, changes: dict[str, Any], which: list[str], none_left: bool, tmp_path: Path
) -> None:
    declared = experiment(data, **changes)
    with pytest.warns(SearchWarning, match="do not fit are left out") as said:
        search(tmp_path / "a", declared, data.arrays)
    text = str(said[0].message)
    assert all(part in text for part in which)
    assert ("genetic starts from random cells" in text) == none_left
    with warnings.catch_warnings():  # a run that goes on was told before
        warnings.simplefilter("error")
        search(tmp_path / "a", experiment(data, **(changes | {"trials": 7})), data.arrays)


def test_an_experiment_that_has_all_its_seed_genomes_says_nothing(
    data: TaskData, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(tmp_path / "a", experiment(data), data.arrays)


def as_version_0_1(folder: Path, old: Experiment) -> None:
    """Make the run look as if it was begun before there was ``max_weights``."""
    text = "".join(
        line for line in old.to_toml().splitlines(True) if not line.startswith("max_weights")
    )
    with Store.open(folder) as store:
        store.describe(text)
    (folder / "experiment.toml").write_text(text, "utf-8")


@pytest.mark.filterwarnings("ignore::cellsearch.errors.SearchWarning")
def test_a_run_of_version_0_1_goes_on_with_its_own_limit(tmp_path: Path) -> None:
    narrow = {"max_parameters": 33024}
    old = experiment()
    old = cs.Experiment(**{**vars(old), "space": old.space.constrained(narrow)})
    search(tmp_path / "a", old)
    as_version_0_1(tmp_path / "a", old)
    # The same file counts at H = 16 today, where hardly any cell has 33,024 weights.
    again = search(tmp_path / "a", experiment(constrain=narrow, trials=9))
    assert len(again.history) == 9
    again = search(tmp_path / "a", experiment(constrain=narrow, trials=10))
    limits = again.experiment.space.limits
    assert (limits.max_parameters, limits.hidden_size, again.experiment.max_weights) == (
        33024,
        64,
        0,
    )
    with pytest.raises(RunError, match="max_weights was 0, is 20000"):
        Search.open(tmp_path / "a", experiment(constrain={"max_parameters": 20000}))


def test_the_quickstart_of_version_0_1_goes_on(tmp_path: Path) -> None:
    now = cs.load_experiment("quickstart", {"trials": 4, "workers": 0})
    space = now.space.constrained({"max_parameters": 33024})
    old = cs.Experiment(**{**vars(now), "space": space, "max_weights": 0})
    with Search.open(tmp_path / "a", old) as one:
        one.run(InProcess(evaluation=EVALUATION), arrays={})
    as_version_0_1(tmp_path / "a", old)
    with Search.open(tmp_path / "a", cs.load_experiment("quickstart", {"trials": 6})) as one:
        one.run(InProcess(evaluation=EVALUATION), arrays={})
        assert len(one.history) >= 6


@pytest.mark.parametrize("value", [-1, "lstn", 1.5, True, [1]])
def test_what_is_not_a_limit_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="max_weights"):
        experiment(max_weights=value)


def test_two_limits_contradict_each_other_unless_one_replaces_the_other() -> None:
    both = {"max_weights": 5, "constrain": {"max_parameters": 6}}
    with pytest.raises(ConfigError, match="two limits on weights"):
        experiment(**both)
    for given, most in (({"max_weights": 7}, 7), ({"constrain.max_parameters": 8}, 8)):
        assert cs.load_experiment("quickstart", given).max_weights == most


def test_a_suite_counts_at_the_largest_of_its_layers(tmp_path: Path) -> None:
    document = {
        "name": "two",
        "training": {"hidden_size": 4},
        "seeds": [0],
        "tasks": [
            {"task": "adding", "steps": 1, "chance": 1.0},
            {"task": "parity", "steps": 1, "chance": 1.0, "training": {"hidden_size": 8}},
        ],
    }
    from cellsearch.tasks.suite import Suite, load_suite_data

    suite = Suite.parse(document)
    sizes = training.layer_sizes("suite", suite.to_document(), Training(), load_suite_data(suite))
    assert [(s.input_size, s.hidden_size) for s in sizes] == [(2, 4), (8, 8)]
    space = cs.load_space("lstm_gru").sized(10**6, sizes)
    assert space.parameters(zoo.load("lstm")) == 4 * (8 * 8 + 8 * 8 + 8)


def test_the_strategies_that_start_from_seed_genomes_say_so() -> None:
    rng = np.random.default_rng(0)
    space = cs.load_space("lstm_gru")
    for name in strategies.names():
        strategy = strategies.create(name, {})
        if strategy.is_outside:
            continue
        first = strategy.propose(space, History(), rng)
        assert first is not None
        assert strategy.starts_from_seeds == (first.origin.kind == "seed")
