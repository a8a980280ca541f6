"""The tracer, gates, loss over position, and the whole diagnosis of trained models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.cells import plain_cells

from cellsearch import tasks, zoo
from cellsearch.compiler.module import compile_cell
from cellsearch.diagnostics import diagnose
from cellsearch.diagnostics.gates import gates, saturation
from cellsearch.diagnostics.inputs import cell_inputs, double
from cellsearch.diagnostics.positions import position_losses
from cellsearch.diagnostics.trace import trace
from cellsearch.errors import ConfigError
from cellsearch.job import Job, Training
from cellsearch.runs.trained import train
from cellsearch.tasks.base import Task
from cellsearch.training.model import cell_factory


@pytest.mark.parametrize("name", plain_cells())
def test_the_trace_ends_where_the_compiled_cell_ends(name: str) -> None:
    genome = zoo.load(name)
    torch.manual_seed(0)
    module = compile_cell(
        genome, input_size=4, hidden_size=4, num_layers=2, backend="reference", dtype=torch.float64
    ).requires_grad_(False)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    expected, final = module(x)
    layers = trace(module, x)
    assert torch.allclose(
        layers[-1][genome.output].expand(6, 3, 4), expected, rtol=1e-11, atol=1e-12
    )
    parts = (final,) if isinstance(final, torch.Tensor) else final
    for value, part in zip(genome.next_states, parts, strict=True):
        for layer in range(2):
            assert torch.allclose(
                layers[layer][value][-1].expand(3, 4), part[layer], rtol=1e-11, atol=1e-12
            )


def test_saturation_counts_both_sides() -> None:
    assert saturation(torch.tensor([0.05, 0.5, 0.95, 0.99])) == (0.25, 0.5)


def test_gates_are_the_sigmoids_by_layer_and_their_shares_follow_the_bias() -> None:
    module = compile_cell(
        zoo.load("lstm"),
        input_size=3,
        hidden_size=8,
        num_layers=2,
        backend="reference",
        dtype=torch.float64,
    )
    module.requires_grad_(False)
    module.get_parameter("l0.f.bias").fill_(20.0)
    module.get_parameter("l1.i.bias").fill_(-20.0)
    found = {
        (gate.layer, gate.node): gate
        for gate in gates(module, torch.randn(5, 2, 3, dtype=torch.float64))
    }
    assert set(found) == {(layer, node) for layer in (0, 1) for node in "ifo"}
    assert (found[0, "f"].closed, found[0, "f"].open) == (0.0, 1.0)
    assert (found[1, "i"].closed, found[1, "i"].open) == (1.0, 0.0)
    assert found[0, "o"].mean == pytest.approx(0.5, abs=0.2)


def test_a_cell_without_gates_has_none() -> None:
    module = compile_cell(
        zoo.load("rnn_tanh"), input_size=3, hidden_size=4, backend="reference", dtype=torch.float64
    )
    assert gates(module.requires_grad_(False), torch.randn(3, 1, 3, dtype=torch.float64)) == ()


def untrained(task: Task, name: str = "gru", hidden: int = 8) -> torch.nn.Module:
    torch.manual_seed(0)
    return task.model(cell_factory(zoo.load(name), Training(hidden_size=hidden)))


def make(name: str, **options: object) -> Task:
    kind = tasks.get(name)
    return kind.create(options, kind.load(options))


def test_what_the_cell_reads_is_the_embedding_of_the_text() -> None:
    task = make("char_lm")
    model = untrained(task)
    batch = next(iter(task.batches("valid", 0)))
    x = cell_inputs(model, batch, positions=20, examples=3)
    assert torch.equal(x, model.embedding(batch.x[:20, :3]).double())  # type: ignore[operator]


def test_padding_is_never_followed() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 30, 60)
    data = tasks.from_arrays([rng.normal(size=(n, 2)) for n in lengths], np.arange(60) % 2)
    task = data.create()
    model = untrained(task)
    batch = next(batch for batch in task.batches("valid", 0) if batch.lengths is not None)
    assert batch.lengths is not None
    x = cell_inputs(model, batch, positions=100, examples=2)
    assert x.shape[:2] == (int(batch.lengths.sort().values[-2]), 2)
    longest = int(batch.lengths.argmax())
    assert torch.allclose(x[:, 0], batch.x[: len(x), longest].double())


def test_losses_over_positions_average_to_the_loss() -> None:
    task = make("char_lm")
    model = untrained(task)
    batches = list(task.batches("valid", 0))[:2]
    losses = position_losses(model, task, batches, positions=1000)
    assert len(losses) == len(batches[0].x)
    with torch.no_grad():
        whole = [float(task.loss(model(batch.x)[0], batch)) for batch in batches]
    assert np.mean([loss for loss in losses if loss is not None]) == pytest.approx(
        np.mean(whole), rel=1e-5
    )


def test_positions_where_nothing_is_asked_have_no_loss() -> None:
    task = make("copy")
    losses = position_losses(
        untrained(task), task, list(task.batches("valid", 0))[:1], positions=1000
    )
    batch = next(iter(task.batches("valid", 0)))
    asked = (batch.y != -100).any(1).tolist()
    assert [loss is not None for loss in losses] == asked


def test_a_task_that_predicts_once_has_no_losses_over_positions() -> None:
    task = make("adding", length=10)
    assert position_losses(untrained(task), task, task.batches("valid", 0), positions=100) == ()


def test_padded_positions_do_not_count() -> None:
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(n, 2)) for n in rng.integers(3, 12, 60)]
    data = tasks.from_arrays(xs, [x[:, 0] > 0 for x in xs], readout="every")
    task = data.create()
    losses = position_losses(untrained(task), task, task.batches("valid", 0), positions=100)
    batches = list(task.batches("valid", 0))
    longest = max(int(b.lengths.max()) if b.lengths is not None else len(b.x) for b in batches)
    assert len(losses) == longest
    assert all(loss is not None and math.isfinite(loss) for loss in losses)


def test_the_copy_in_float64_is_the_same_cell() -> None:
    module = compile_cell(zoo.load("lstm"), input_size=3, hidden_size=4, num_layers=2)
    x = torch.randn(5, 2, 3)
    assert torch.allclose(double(module)(x.double())[0].float(), module(x)[0], atol=1e-6)


def test_a_model_that_reads_both_directions_is_refused() -> None:
    task = make("adding", length=10)
    model = task.model(cell_factory(zoo.load("gru"), Training(hidden_size=4, bidirectional=True)))
    with pytest.raises(ConfigError, match="one direction"):
        diagnose(model, task)


def test_lstm_trained_to_add_keeps_its_gradient_longer_than_a_tanh_network() -> None:
    options = {"length": 20, "batch_size": 32, "evaluation_size": 100}
    arrays = tasks.get("adding").load(options)
    found = {}
    for name in ("lstm", "rnn_tanh"):
        training = Training(steps=300, hidden_size=16, learning_rate=1e-2)
        job = Job(0, 0, zoo.load(name).to_json(), "adding", options, training, 300, 1)
        trained, _ = train(job, arrays)
        found[name] = diagnose(trained.model, trained.task)
    assert len(found["lstm"].gradient) == 19
    assert found["lstm"].gradient[-1] > 10 * found["rnn_tanh"].gradient[-1]
    assert {gate.node for gate in found["lstm"].gates} == {"i", "f", "o"}
