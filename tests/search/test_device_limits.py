"""What a small device allows limits a search, is measured, and is shown."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import cellsearch as cs
from cellsearch import tasks, training, zoo
from cellsearch.cli import cli
from cellsearch.errors import ConfigError, SpaceError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import Experiment, load_experiment, parse_experiment
from cellsearch.export.accuracy import exported_layer
from cellsearch.finals import fitting_sizes
from cellsearch.genome.device import COSTS, DeviceLimits
from cellsearch.genome.footprint import Footprint, footprint
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Result, Training
from cellsearch.search import Search
from cellsearch.space import layer_footprint
from cellsearch.strategies.nsga2 import Nsga2
from cellsearch.training.device import rounded
from cellsearch.training.loop import evaluate
from cellsearch.training.model import cell_factory
from cellsearch.trial import Budget, Proposal, Rung, Status, Trial

TRAINED = {"steps": 2, "hidden_size": 12, "evaluations": 1}
SUNSPOTS = {"history": 6}


@pytest.fixture(scope="module")
def data() -> Any:
    x = np.random.default_rng(0).normal(size=(40, 6, 5))
    return tasks.from_arrays(x, x[:, :, 0].sum(1), kind="regression")


def experiment(data: Any, **changes: Any) -> Experiment:
    document: dict[str, Any] = {
        "name": "limited",
        "space": "lstm_gru",
        "strategy": "genetic",
        "task": data.name,
        "task_options": dict(data.options),
        "trials": 8,
        "training": TRAINED,
    }
    return parse_experiment(document | changes, source="limited.toml")


def search(folder: Path, declared: Experiment, data: Any) -> Search:
    with Search.open(folder, declared) as one:
        one.run(InProcess(), arrays=data.arrays)
        return one


LIMITS = {
    "flash_bytes": 4300,
    "ram_bytes": 130,
    "macs_per_step": 650,
    "state_bytes": 50,
}


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.filterwarnings("ignore::cellsearch.errors.SearchWarning")
def test_no_cell_is_trained_that_does_not_fit(name: str, data: Any, tmp_path: Path) -> None:
    declared = experiment(data, device={name: LIMITS[name]})
    done = search(tmp_path / "a", declared, data)
    (sizes,) = training.layer_sizes(data.name, data.options, declared.training, data.arrays)
    found = [t for t in done.history if not t.is_baseline]
    assert len(found) == 6
    for trial in found:
        cost = getattr(layer_footprint(trial.genome, sizes), name)
        assert cost <= LIMITS[name]
        assert trial.metrics[name] == cost
    lstm = next(t for t in done.history if t.is_baseline)
    assert lstm.metrics[name] > LIMITS[name], "the limit would bind nothing"


def test_what_is_measured_is_the_footprint_of_the_whole_model(data: Any) -> None:
    genome = zoo.load("gru")
    job = Job(0, 0, genome.to_json(), data.name, data.options, Training(**TRAINED), 1, 0)
    assert not set(training.evaluate(job, data.arrays).metrics) & {*COSTS, "int8"}
    for int8 in (False, True):
        asked = Job(**{**_fields(job), "device": DeviceLimits(int8=int8)})
        metrics = training.evaluate(asked, data.arrays).metrics
        bare = footprint(genome, 5, 12, precision="int8" if int8 else "float32")
        readout = footprint(genome, 5, 12, precision="int8" if int8 else "float32", outputs=1)
        assert bare.flash_bytes < readout.flash_bytes <= metrics["flash_bytes"]
        assert metrics["state_bytes"] == 48
        assert ("int8" in metrics) == int8


def _fields(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__dataclass_fields__}


@pytest.mark.parametrize("cell", ["lstm", "indrnn", "minlstm"])
def test_the_score_with_int8_weights_is_that_of_what_the_exporter_writes(
    cell: str, data: Any
) -> None:
    genome = zoo.load(cell)
    task = tasks.get(data.name).create(data.options, data.arrays)
    torch.manual_seed(0)
    model = task.model(cell_factory(genome, Training(**TRAINED, num_layers=2)))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    layer = exported_layer(model.cell, "int8")
    x = torch.randn(7, 2, 5)
    expected, _ = layer(x)
    plain, _ = model.cell(x)
    with rounded(model):
        got, _ = model.cell(x)
        assert torch.allclose(got, expected, atol=1e-6)
        assert not torch.equal(model.readout.weight, before["readout.weight"])
    assert not torch.allclose(plain, expected, atol=1e-6)
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in before.items())


def test_a_training_for_int8_is_otherwise_the_same(data: Any) -> None:
    text = zoo.load("lstm").to_json()
    job = Job(0, 0, text, data.name, data.options, Training(**TRAINED), 2, 0, connections=True)
    plain = evaluate(job, data.arrays)
    measured = evaluate(Job(**{**_fields(job), "device": DeviceLimits(int8=True)}), data.arrays)
    for name in ("score", "curve", "connections"):
        assert getattr(plain, name) == getattr(measured, name)
    assert measured.metrics["int8"] != measured.score
    assert abs(measured.metrics["int8"] - measured.score) < 0.05 * measured.score


@pytest.mark.parametrize("strategy", ["genetic", "random", "nsga2"])
def test_where_nothing_fits_it_is_said_before_the_first_trial(
    strategy: str, data: Any, tmp_path: Path
) -> None:
    declared = experiment(data, device={"flash_bytes": 300}, strategy=strategy)
    with Search.open(tmp_path / "a", declared) as one:
        with pytest.raises(
            SpaceError, match=r"fits flash_bytes = 300: 2000.* bytes of flash"
        ) as caught:
            one.settle(data.arrays)
        assert len(one.history) == 0
    assert caught.value.where == "device"
    assert "lstm needs flash_bytes = 5," in caught.value.hint
    assert "--max-flash" in caught.value.hint


def test_a_cell_that_does_not_fit_cannot_be_enqueued(data: Any, tmp_path: Path) -> None:
    declared = experiment(data, device={"ram_bytes": 130})
    with Search.open(tmp_path / "a", declared) as one:
        with pytest.warns(cs.errors.SearchWarning, match="bytes of RAM"):
            one.settle(data.arrays)
        with pytest.raises(SpaceError, match=r"bytes of RAM.*at most 130 with I = 5, H = 12"):
            one.enqueue(zoo.load("lstm"))


# -- declaring ---------------------------------------------------------------------------------


def test_limits_in_constrain_are_those_of_the_device(data: Any) -> None:
    declared = experiment(data, constrain={"flash_bytes": 9000, "forbid_ops": ["diag"]})
    assert declared.device == DeviceLimits(flash_bytes=9000)
    assert "diag" not in declared.space.ops
    again = parse_experiment(cs.options.parse_toml(declared.to_toml(), ""), source="")
    assert again.device == declared.device
    assert again.to_toml() == declared.to_toml()
    assert "[device]" not in experiment(data).to_toml()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device": {"flash_bytes": -1}}, "at least 0"),
        ({"device": {"flash": 100}}, "flash_bytes"),
        ({"limits": {"ram_bytes": 100}}, r"device.ram_bytes"),
        ({"device": {"ram_bytes": 9}, "constrain": {"ram_bytes": 8}}, "two limits ram_bytes"),
        ({"device": {"ram_bytes": 9}, "training": {"bidirectional": True}}, "future"),
        (
            {"strategy": "nsga2", "strategy_options": {"objectives": ["score", "int8"]}},
            "int8 = true",
        ),
        (
            {"strategy": "nsga2", "strategy_options": {"objectives": ["score", "flash"]}},
            "flash_bytes",
        ),
        ({"task": "suite:standard", "device": {"int8": True}}, "suite has no score with int8"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], says: str, data: Any) -> None:
    document = {
        "name": "a",
        "space": "lstm_gru",
        "strategy": "genetic",
        "task": data.name,
        "task_options": dict(data.options),
    }
    if changes.get("task"):
        del document["task_options"]
    with pytest.raises(ConfigError) as caught:
        parse_experiment(document | changes, source="a.toml")
    error = caught.value
    assert re.search(says, f"{error.where}: {error.message} {error.hint}")


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [("20000", 20000), ("20,000", 20000), ("20k", 20000), ("20kB", 20000), ("1.5 KiB", 1536)],
)
def test_amounts_on_the_command_line(given: str, bytes_: int) -> None:
    arguments = ["search", "quickstart", "--dry-run", "--json", "--max-flash", given, "--int8"]
    shown = json.loads(CliRunner().invoke(cli, arguments).output)
    assert shown["device"] == {
        "flash_bytes": bytes_,
        "ram_bytes": 0,
        "macs_per_step": 0,
        "state_bytes": 0,
        "int8": True,
    }


@pytest.mark.parametrize("given", ["", "many", "-3", "20 apples", "1e9"])
def test_what_is_not_an_amount_is_refused(given: str) -> None:
    result = CliRunner().invoke(cli, ["search", "quickstart", "--dry-run", "--max-ram", given])
    assert result.exit_code == 2
    assert "is not an amount" in result.output


# -- objectives, finals and what is shown ------------------------------------------------------


def trials(rows: list[tuple[float, float]]) -> Iterator[Trial]:
    for number, (score, flash) in enumerate(rows):
        genome = Genome.from_text(f"h[t] = tanh({number + 2} * linear(x[t], h[t-1]))")
        result = Result(score, score, 1, 1.0, 1, 1, metrics={"flash_bytes": flash})
        rungs = (Rung(Budget(1), result),)
        yield Trial(number, Proposal(genome), Status.COMPLETED, rungs=rungs)


def test_the_front_is_what_nothing_dominates() -> None:
    rng = np.random.default_rng(0)
    strategy = Nsga2(objectives=("score", "flash_bytes"))
    for count in (0, 1, 2, 40):
        rows = [(float(a), float(b)) for a, b in rng.integers(0, 12, size=(count, 2))]
        front = strategy.front(cs.load_space("tiny"), trials(rows))
        expected = {
            k
            for k, row in enumerate(rows)
            if not any(a <= row[0] and b <= row[1] and (a, b) != row for a, b in rows)
        }
        assert {trial.number for trial in front} == expected
        assert [t.score for t in front] == sorted(t.score for t in front)


def test_cells_of_a_final_are_as_large_as_the_device_allows() -> None:
    def cost(width: int, each: int) -> Footprint:
        return Footprint(each * width * width, 10 * width, 0, 0, 0)

    costs = {"a": lambda h: cost(h, 4), "b": lambda h: cost(h, 1)}
    for flash, ram in itertools.product((4, 99, 400, 10**6), (10, 55, 10**5)):
        bounds = {"flash_bytes": flash, "ram_bytes": ram}
        for name, size in fitting_sizes(costs, bounds).items():
            fits = [
                all(getattr(costs[name](h), key) <= most for key, most in bounds.items())
                for h in (size, size + 1)
            ]
            assert fits == [True, False]
    with pytest.raises(ConfigError, match="a does not fit the device with a single unit"):
        fitting_sizes(costs, {"flash_bytes": 3})


@pytest.mark.filterwarnings("ignore::cellsearch.errors.SearchWarning")
def test_tables_pages_and_finals_show_the_costs(data: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    x = np.random.default_rng(0).normal(size=(40, 6, 5))
    path = tmp_path / "data.npz"
    tasks.arrays.save(tasks.from_arrays(x, x[:, :, 0].sum(1), kind="regression"), path)
    declared = experiment(
        data,
        task="arrays",
        task_options={"path": str(path)},
        strategy="nsga2",
        strategy_options={"objectives": ["score", "flash_bytes", "int8"]},
        device={"flash_bytes": 4300, "int8": True},
    )
    with Search.open(folder, declared) as one:
        one.run(InProcess())
    run = CliRunner().invoke
    heads = ("flash (bytes)", "RAM (bytes)", "state (bytes)", "score with int8 weights")
    for command in ("ls", "best"):
        assert all(head in run(cli, [command, str(folder)]).output for head in heads)
    front = json.loads(run(cli, ["ls", str(folder), "--pareto", "--json"]).output)["trials"]
    assert 0 < len(front) <= 6
    assert not any(trial["origin"].startswith("baseline") for trial in front)
    table = cs.open_run(folder).run_finals(InProcess(), top=1, seeds=2)
    assert "as large as the device allows" in table.sentence
    assert all(row.device["flash_bytes"] <= 4300 for row in table.rows)
    assert all(abs(row.device["int8"] / row.mean - 1) < 0.5 for row in table.rows)
    assert cs.open_run(folder).finals() == table
    page = cs.open_run(folder).report().read_text()
    assert "Pareto front" in page
    assert page.count("flash (bytes)") >= 3  # leaderboard, front, finals


def test_an_experiment_for_a_small_device_ships() -> None:
    declared = load_experiment("tiny_device")
    assert declared.device == DeviceLimits(flash_bytes=20000, ram_bytes=4096, int8=True)
    assert not {"sigmoid", "tanh", "exp"} & set(declared.space.ops)
