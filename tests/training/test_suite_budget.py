"""Suites whose cells have equally many weights, and that are measured against perfection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cellsearch import zoo
from cellsearch.errors import ConfigError, TrainingError
from cellsearch.experiment import catalog
from cellsearch.genome.parameters import parameter_count
from cellsearch.job import Job, Training
from cellsearch.tasks.suite import SUITE, Member, Suite, load_suite_data, part
from cellsearch.training import prepare
from cellsearch.training.results import ResultCache
from cellsearch.training.suite import targets, train_suite

SHIPPED = catalog.load_suite(catalog.find(catalog.SUITES, "cogscale_search").path)


def small(weights: int) -> Suite:
    """Its first task alone, for a few epochs."""
    member = replace(SHIPPED.members[0], steps=20)
    return replace(SHIPPED, members=(member,), weights=weights, trainings=1, rates=(1.0,))


def job(suite: Suite, cell: str) -> Job:
    document = suite.to_document()
    genome = zoo.load(cell).to_json()
    return Job(0, 0, genome, SUITE, document, Training(), suite.steps, 0, targets=targets(suite))


def test_nothing_is_trained_for_a_suite_that_is_measured_against_perfection(tmp_path: Path) -> None:
    data = prepare(SUITE, small(300).to_document(), cache=ResultCache(tmp_path))
    assert data.targets == (0.0,)
    assert not list(tmp_path.iterdir())


def test_every_cell_gets_the_hidden_size_of_the_weights() -> None:
    suite = small(300)
    arrays = load_suite_data(suite)
    found = {cell: train_suite(job(suite, cell), arrays)[0] for cell in ("gru", "rnn_tanh")}
    assert all(255 <= result.parameters <= 345 for result in found.values())
    result, scored = train_suite(job(suite, "gru"), arrays)
    assert scored[0].share == pytest.approx(1 - result.metrics["score.adding"] / 0.8)


def test_every_cell_is_as_large_as_the_one_that_it_is_to_be_equal_to() -> None:
    member = Member(task="adding", steps=2, chance=0.1667, options={"length": 5})
    suite = Suite(
        name="equal", members=(member,), seeds=(1,), equal="lstm", training={"hidden_size": 16}
    )
    arrays = load_suite_data(suite)
    wanted = parameter_count(zoo.load("lstm"), 2, 16)
    asked = replace(job(replace(suite, reference="perfect"), "gru"), targets=(0.0,))
    for cell, hidden in (("lstm", 16), ("gru", 18), ("rnn_tanh", 33)):
        work = replace(asked, genome=zoo.load(cell).to_json())
        result, _ = train_suite(work, arrays)
        assert result.cell_parameters == parameter_count(zoo.load(cell), 2, hidden)
        assert 0.85 * wanted <= result.cell_parameters <= wanted


def test_the_size_of_cells_follows_from_one_thing() -> None:
    with pytest.raises(ConfigError, match="not from both") as caught:
        replace(SHIPPED, equal="lstm")
    assert caught.value.where == "equal"
    assert "equal" not in SHIPPED.to_document()


def test_a_cell_that_cannot_have_so_many_weights_is_invalid() -> None:
    suite = small(10)
    with pytest.raises(TrainingError, match="cannot have 10 weights") as caught:
        train_suite(job(suite, "lstm"), load_suite_data(suite))
    assert caught.value.kind == "invalid"


def test_suites_of_before_say_nothing_of_weights() -> None:
    assert "weights" not in replace(SHIPPED, weights=0).to_document()
    assert Suite.parse(SHIPPED.to_document()) == SHIPPED


def test_the_shipped_suite_uses_data_that_the_benchmark_does_not() -> None:
    seeds = {member.options["data_seed"] for member in SHIPPED.members}
    assert min(seeds | set(SHIPPED.seeds)) > 9
    assert part(load_suite_data(small(300)), 0)["train_x"].shape == (100, 12, 5)
