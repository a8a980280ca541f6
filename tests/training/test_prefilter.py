"""Checks before training: they reject what cannot be trained, with the figure, and nothing that a
person has published.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cells import plain_cells

from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError, TrainingError
from cellsearch.executors.in_process import InProcess
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.job import Job, Prefilter, Training
from cellsearch.search import Search
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import Disordered, differing_rows, final_table, small_experiment
from cellsearch.training import evaluate
from cellsearch.training.prefilter import check_cell
from cellsearch.trial import Status

ALL = Prefilter(gradient=True, growth=True, output=True)

# Each diverged, or learned nothing, within 40 steps of char_lm with the settings of the quickstart.
SQUARED = "n1 = linear(x[t], h[t-1])\nh[t] = n1 * n1 + tanh(linear(x[t])) * h[t-1] * h[t-1]"
DEAD = "c[t] = c[t-1] * sigmoid(linear(x[t], h[t-1]))\nh[t] = c[t] * tanh(linear(x[t], h[t-1]))"
FORGETFUL = "h[t] = tanh(linear(x[t])) * sigmoid(linear(x[t])) + 0 * h[t-1]"
EXPLODING = "h[t] = tanh(linear(x[t])) + 2 * h[t-1]"


@pytest.mark.parametrize("name", plain_cells())
def test_no_cell_of_the_zoo_is_rejected(name: str) -> None:
    assert check_cell(zoo.load(name), ALL, seed=0).reason == ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_cell_of_the_zoo_is_rejected_for_other_weights(seed: int) -> None:
    assert {
        name: v.reason
        for name in plain_cells()
        if (v := check_cell(zoo.load(name), ALL, seed=seed)).reason
    } == {}


@pytest.mark.parametrize(
    ("text", "check"),
    [(SQUARED, "growth"), (DEAD, "output"), (FORGETFUL, "gradient"), (EXPLODING, "gradient")],
)
def test_each_check_rejects_what_it_is_for_and_only_when_it_is_asked_for(
    text: str, check: str
) -> None:
    genome = Genome.from_text(text)
    asked = check_cell(genome, Prefilter(**{check: True}))
    assert asked.reason.startswith(f"{check}: ")
    assert set(asked.figures) <= {check, "memory"}
    assert check_cell(genome, Prefilter()).reason == ""


def test_the_gradient_is_that_of_a_known_decay() -> None:
    # h_t = w h_<t-1> + ... with w = 1 passes a gradient of 1 for each of the 4 * 32 units, whatever
    # the distance.
    genome = Genome.from_text("h[t] = h[t-1] + linear(x[t])")
    figures = check_cell(genome, replace(ALL, growth=False)).figures
    assert figures["gradient"] == pytest.approx(np.sqrt(4 * 32), rel=1e-12)
    assert figures["memory"] == pytest.approx(np.sqrt(4 * 32), rel=1e-12)


def test_weights_and_random_numbers_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    first = check_cell(zoo.load("lstm"), ALL)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert check_cell(zoo.load("lstm"), ALL) == first


def test_thresholds_are_options() -> None:
    lstm = zoo.load("lstm")
    assert "gradient" in check_cell(lstm, replace(ALL, gradient_min=1e-10)).reason
    assert "output" in check_cell(lstm, replace(ALL, output_min=10.0)).reason
    with pytest.raises(ConfigError, match="growth_scale"):
        check_cell(lstm, replace(ALL, growth_scale=0.5))


def test_the_training_of_a_rejected_cell_fails_before_it_begins() -> None:
    arrays = tasks.get("parity").load({})
    job = Job(
        0,
        0,
        Genome.from_text(SQUARED).to_json(),
        "parity",
        {},
        Training(steps=2, hidden_size=4),
        2,
        0,
        prefilter=ALL,
    )
    seen: list[int] = []
    with pytest.raises(
        TrainingError, match="growth: with weights 4 times as large a number reaches inf"
    ) as caught:
        evaluate(job, arrays, progress=lambda step, loss: seen.append(step))
    assert caught.value.kind == "prefilter"
    assert seen == []
    assert evaluate(replace(job, genome=zoo.load("lstm").to_json()), arrays).steps == 2


def searched(folder: Path, executor: InProcess | Disordered, **changes: Any) -> History:
    experiment = small_experiment("random", prefilter=Prefilter(growth=True), trials=16, **changes)
    with Search.open(folder, experiment) as search:
        search.run(executor)
        assert search.finished
        return search.history


def test_rejected_trials_do_not_count_and_are_never_proposed_again(tmp_path: Path) -> None:
    history = searched(tmp_path / "a", InProcess(evaluation=EVALUATION))
    rejected = [trial for trial in history if trial.is_rejected]
    assert rejected
    assert len(history) == 16 + len(rejected) == 16 + len(history) - history.counted
    assert all(
        t.status is Status.FAILED and t.failure is not None and "growth" in t.failure.message
        for t in rejected
    )
    assert len({trial.genome.key for trial in history}) == len(history)
    assert not any(trial.is_rejected for trial in history if trial.is_baseline)


def test_rejects_do_not_make_a_deterministic_search_depend_on_who_was_faster(
    tmp_path: Path,
) -> None:
    tables = [
        final_table(
            searched(
                tmp_path / str(workers),
                Disordered(workers, seed=workers),
                deterministic=True,
                lookahead=4,
            )
        )
        for workers in (1, 3, 4)
    ]
    assert any(row[6] == "prefilter" for row in tables[0])
    assert differing_rows(tables[0], tables[1]) == []
    assert differing_rows(tables[0], tables[2]) == []
