"""Cells whose outputs and states have other sizes than H, in the models of tasks, and in a whole
run with finals; names of sizes that the experiment binds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import cellsearch
from cellsearch import Genome, zoo
from cellsearch.errors import ConfigError, TrainingError
from cellsearch.finals import equal_sizes
from cellsearch.genome.parameters import parameter_count, size_step
from cellsearch.job import Job, Prefilter, Training
from cellsearch.options import table_of
from cellsearch.streaming import OnlineLearner
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.translation_model import TranslationModel
from cellsearch.training import evaluate, prepare
from cellsearch.training.budget import size_within
from cellsearch.training.model import cell_factory, fewest_weights
from cellsearch.training.prefilter import check_cell
from cellsearch.training.state import identity

HALF = Genome.from_text(
    "c[t] = sigmoid(linear(x[t], h[t-1])) * c[t-1] + tanh(linear(x[t], h[t-1]))\n"
    "h[t] = tanh(linear(c[t], size=H/2))"
)
WIDE = Genome.from_text(
    "c[t] = tanh(linear(x[t], c[t-1], size=2*H))\nh[t] = tanh(linear(c[t], h[t-1]))"
)
NAMED = Genome.from_text(
    "c[t] = tanh(linear(x[t], c[t-1], size=P))\nh[t] = tanh(linear(c[t], h[t-1], size=R))"
)
CELLS = {"half": HALF, "wide": WIDE, "named": NAMED}
SIZES: dict[str, int | str] = {"P": "H/2", "R": 6}
TASKS: dict[str, dict[str, Any]] = {
    "parity": {},
    "char_lm": {},
    "adding": {},
    "mackey_glass": {},
    "associative_recall": {},
    "mad_compression": {},
    "episodes": {},
}


def _job(genome: Genome, task: str, options: dict[str, Any], **changes: Any) -> Job:
    training: dict[str, Any] = {"hidden_size": 8, "batch_size": 4, "sizes": SIZES, "num_layers": 2}
    return Job(0, 0, genome.to_json(), task, options, Training(2, **(training | changes)), 2, 0)


@pytest.mark.parametrize("task", TASKS)
def test_each_kind_of_task_trains_them(task: str) -> None:
    arrays = prepare(task, TASKS[task]).arrays
    for genome in CELLS.values():
        job = _job(genome, task, TASKS[task])
        result = evaluate(job, arrays)
        assert np.isfinite(result.score)
        assert result.cell_parameters >= fewest_weights(genome, job.training)


def test_both_directions_of_the_last_position() -> None:
    training = Training(hidden_size=8, bidirectional=True, num_layers=2)
    model = SequenceModel(cell_factory(HALF, training), outputs=3, features=5, readout="last")
    x, lengths = torch.randn(6, 2, 5), torch.tensor([6, 4])
    outputs = model.cell(x[:, :1])[0][:, 0]
    assert outputs.shape == (6, 8)
    last = torch.cat([outputs[-1, :4], outputs[0, 4:]])
    torch.testing.assert_close(model(x, None, lengths)[0][0], model.readout(last))
    result = evaluate(_job(HALF, "adding", {}, bidirectional=True), prepare("adding", {}).arrays)
    assert np.isfinite(result.score)


@pytest.mark.parametrize("attention", [False, True])
def test_encoder_and_decoder(attention: bool) -> None:
    for genome in CELLS.values():
        factory = cell_factory(genome, Training(hidden_size=8, sizes=SIZES))
        model = TranslationModel(factory, source=7, target=9, attention=attention)
        x, lengths = torch.randint(1, 7, (2, 5, 3)), torch.tensor([5, 4, 2])
        assert model(x, None, lengths)[0].shape == (5, 3, 9)
        assert len(model.translate(x[0], lengths)) == 3


def test_a_shared_embedding_says_what_it_needs() -> None:
    with pytest.raises(cellsearch.errors.GenomeError, match="puts out 4 numbers"):
        SequenceModel(cell_factory(HALF, Training(hidden_size=8)), outputs=5, tokens=5, tied=True)


def test_streams_and_checks_before_training() -> None:
    for genome in (HALF, WIDE):
        learner = OnlineLearner(genome, input_size=2, outputs=1, hidden_size=8)
        for _ in range(5):
            learner.predict(torch.randn(3, 2))
            assert np.isfinite(learner.learn(torch.randn(3, 1)))
        verdict = check_cell(genome, Prefilter(gradient=True, growth=True, output=True))
        assert set(verdict.figures) >= {"gradient", "growth", "output"}
    thirds = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1], blocks=3))")
    assert check_cell(thirds, Prefilter(output=True)).reason == ""


def test_a_name_that_is_not_bound() -> None:
    job = _job(NAMED, "parity", {}, sizes={"P": 4})
    with pytest.raises(TrainingError, match="the size R, which is not bound") as caught:
        evaluate(job, prepare("parity", {}).arrays)
    assert caught.value.kind == "invalid"
    assert '[training] sizes = {R = "H/2"}' in caught.value.hint


@pytest.mark.parametrize("sizes", [{"P": 0}, {"P": "I/2"}, {"p": 3}, {"H": 3}])
def test_sizes_that_are_none(sizes: dict[str, int | str]) -> None:
    with pytest.raises(ConfigError, match=r"the size P is|cannot name a size"):
        Training(sizes=sizes)


def test_without_sizes_nothing_says_so() -> None:
    job = _job(zoo.load("lstm"), "parity", {}, sizes=None)
    assert "sizes" not in table_of(Training())
    assert "sizes" not in identity(job)["training"]
    assert identity(_job(NAMED, "parity", {}))["training"]["sizes"] == SIZES


def test_equal_weights_choose_sizes_that_divide() -> None:
    cell = Genome.from_text("h[t] = tanh(linear(x[t]) + linear(h[t-1], blocks=6))")
    counts = {
        name: (lambda hidden, genome=genome: parameter_count(genome, 16, hidden))
        for name, genome in (("lstm", zoo.load("lstm")), ("blocks", cell), ("half", HALF))
    }
    steps = {"blocks": size_step(cell), "half": size_step(HALF)}
    assert steps == {"blocks": 6, "half": 2}
    found = equal_sizes(counts, "lstm", 32, 0.2, steps)
    assert found["blocks"] % 6 == 0
    assert found["half"] % 2 == 0
    assert size_within(counts["blocks"], 2000, "blocks", 6) % 6 == 0
    with pytest.raises(ConfigError, match="that of blocks is a multiple of 6"):
        equal_sizes(counts, "lstm", 3, 1e-6, steps)
