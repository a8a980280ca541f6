"""What training learns about each connection: its gate, its saliency, and what removing it adds to
the loss.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.trainings import ADDING, GATED, SHORT, gated_job, job

from cellsearch.genome.graph import Genome
from cellsearch.tasks.adding import Adding
from cellsearch.tasks.base import Arrays
from cellsearch.training import evaluate
from cellsearch.training.connections import ConnectionMeter, measure_perturbations
from cellsearch.training.model import cell_factory

# -- gate and saliency -----------------------------------------------------------------------------


def test_connections_have_gate_and_saliency(text: Arrays) -> None:
    genome = Genome.from_text(GATED)
    names = {spec.name for spec in genome.parameters if spec.operand >= 0}
    assert {"a.weight_x", "a.weight_h", "b.weight_x", "b.weight_h"} < names
    result = evaluate(job(genome, steps=20, connections=True), text)
    assert set(result.connections) == names
    assert all(
        c.gate > 0 and c.saliency > 0 and math.isfinite(c.gate + c.saliency)
        for c in result.connections.values()
    )


def test_saliency_estimates_what_removing_costs(tmp_path: Path) -> None:
    """For a small gate the first-order estimate is what really happens to the loss when the gate
    becomes zero.
    """
    from cellsearch.training.connections import ConnectionMeter
    from cellsearch.training.model import cell_factory

    genome = Genome.from_text(GATED)
    options = {"length": 6, "evaluation_size": 100}
    task = Adding.create(options, Adding.load(options))
    torch.manual_seed(0)
    model = task.model(cell_factory(genome, replace(SHORT, dtype="float64"))).double()
    assert isinstance(model.cell, torch.nn.Module)
    meter = ConnectionMeter(genome, model.cell, 1)
    gates = {name: weights[0] for name, weights in meter.weights.items() if name.endswith("scale")}
    assert len(gates) == 3
    with torch.no_grad():
        for gate in gates.values():
            gate.copy_(torch.tensor(1e-4))
    batch = next(task.batches("train", 0))
    loss = task.loss(model(batch.x)[0], batch)
    before = float(loss.detach())
    loss.backward()  # type: ignore[no-untyped-call]
    meter.observe(1)
    for name, gate in gates.items():
        with torch.no_grad():
            kept = gate.clone()
            gate.zero_()
            removed = float(task.loss(model(batch.x)[0], batch))
            gate.copy_(kept)
        assert meter.result()[name].saliency == pytest.approx(abs(removed - before), rel=0.02)
        assert meter.result()[name].gate == pytest.approx(1e-4)


def test_the_gate_penalty_makes_gates_smaller(text: Arrays) -> None:
    genome = Genome.from_text(GATED)
    free = evaluate(job(genome, steps=40, connections=True), text)
    held = evaluate(
        job(genome, steps=40, connections=True, training=replace(SHORT, gate_penalty=0.3)), text
    )
    for name in (name for name in free.connections if name.endswith("scale")):
        assert held.connections[name].gate < free.connections[name].gate
    assert math.isfinite(
        evaluate(job(steps=2, training=replace(SHORT, gate_penalty=0.3)), text).score
    )  # no gates, no penalty


# -- perturbation ----------------------------------------------------------------------------------


def test_perturbation_is_what_removing_adds_to_the_validation_loss(data: Arrays) -> None:
    """Against the loss of the cell that lacks the connection, built anew with the weights that are
    left.
    """
    genome = Genome.from_text(
        "n = sigmoid(linear(x[t], h[t-1]))\nm = tanh(linear(x[t], h[t-1]))\nh[t] = n * m"
    )
    task = Adding.create(ADDING, data)
    torch.manual_seed(0)
    model = task.model(cell_factory(genome, replace(SHORT, dtype="float64"))).double().eval()
    assert isinstance(model.cell, torch.nn.Module)
    meter = ConnectionMeter(genome, model.cell, 1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = measure_perturbations(meter.result(), meter.weights, model, task, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    batch = next(iter(task.batches("valid", 0)))

    def loss(cell: str) -> float:
        other = (
            task.model(cell_factory(Genome.from_text(cell), replace(SHORT, dtype="float64")))
            .double()
            .eval()
        )
        other.load_state_dict(
            {name: tensor for name, tensor in before.items() if name in other.state_dict()}
        )
        with torch.no_grad():
            return float(task.loss(other(batch.x)[0], batch))

    without = "n = sigmoid(linear(x[t]))\nm = tanh(linear(x[t], h[t-1]))\nh[t] = n * m"
    assert found["n.weight_h"].perturbation == pytest.approx(
        loss(without) - loss(genome.to_text()), abs=1e-12
    )
    assert abs(loss(without) - loss(genome.to_text())) > 1e-6
    assert len({c.perturbation for c in found.values()}) == len(found)


def test_perturbation_is_measured_when_asked_for_and_changes_nothing_else(data: Arrays) -> None:
    plain, measured = evaluate(gated_job(), data), evaluate(gated_job(perturbation=1), data)
    assert all(c.perturbation is None for c in plain.connections.values())
    assert all(
        c.perturbation is not None and math.isfinite(c.perturbation)
        for c in measured.connections.values()
    )
    assert plain.score == measured.score
    for name, connection in plain.connections.items():
        assert replace(measured.connections[name], perturbation=None) == connection
