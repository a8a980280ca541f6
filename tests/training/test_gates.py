"""Hard-concrete gates: they follow their formulas, close under a penalty, and are stored and
inherited.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.trainings import FOUR_GATES, gated_job

from cellsearch.compiler.module import compile_cell
from cellsearch.genome.graph import Genome
from cellsearch.job import Training
from cellsearch.tasks.base import Arrays
from cellsearch.training import checkpoint, evaluate
from cellsearch.training.gates import BETA, GAMMA, ZETA, HardConcreteGates, attach

SHORT = Training(steps=20, hidden_size=8, learning_rate=2e-2, evaluations=2)


def gates(start: float = 0.7) -> tuple[HardConcreteGates, dict[str, torch.nn.Parameter]]:
    layer = compile_cell(
        Genome.from_text(FOUR_GATES),
        input_size=3,
        hidden_size=4,
        backend="reference",
        dtype=torch.float64,
    )
    found = HardConcreteGates(Genome.from_text(FOUR_GATES), layer)
    for parameter in found.parameters():
        parameter.data[1] = start
    return found, {
        name: weight for name, weight in layer.named_parameters() if name.endswith(".scale")
    }


def test_gates_are_open_as_often_as_the_formula_says() -> None:
    """Louizos et al. 2018, eq. 12, against 6,000 draws."""
    for log_alpha in (-1.5, 0.3):
        made, weights = gates(log_alpha)
        opened = 0
        for step in range(1500):
            made.sample(7, step)
            opened += sum(bool(weight != 0) for weight in weights.values())
        expected = 1 / (1 + math.exp(-(log_alpha - BETA * math.log(-GAMMA / ZETA))))
        assert opened / 6_000 == pytest.approx(
            expected, abs=4 * math.sqrt(expected * (1 - expected) / 6_000)
        )


def test_the_same_seed_and_step_draw_the_same_gates() -> None:
    first, weights = gates()
    first.sample(3, 5)
    values = [float(weight.detach()) for weight in weights.values()]
    first.sample(3, 6)
    assert [float(weight.detach()) for weight in weights.values()] != values
    first.sample(3, 5)
    assert [float(weight.detach()) for weight in weights.values()] == values


def test_gradients_are_those_of_the_loss_and_the_penalty() -> None:
    """Against differences of the whole expression, with the noise held fixed."""
    made, weights = gates(0.2)
    factors = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    penalty = 0.3

    def total() -> float:
        made.sample(1, 1)
        loss = sum(
            float(f) * float(w.detach()) ** 2
            for f, w in zip(factors, weights.values(), strict=True)
        )
        open_gates = sum(
            1 / (1 + math.exp(-(float(p[1]) - BETA * math.log(-GAMMA / ZETA))))
            for p in made.parameters()
        )
        return loss + penalty * open_gates

    made.sample(1, 1)
    for factor, weight in zip(factors, weights.values(), strict=True):
        weight.grad = 2 * factor * weight.detach()
    made.backward(penalty)
    assert all(weight.grad is None for weight in weights.values())
    for parameter in made.parameters():
        assert parameter.grad is not None
        for position in range(2):
            step = 1e-6
            with torch.no_grad():
                parameter[position] += step
                above = total()
                parameter[position] -= 2 * step
                below = total()
                parameter[position] += step
            assert float(parameter.grad[position]) == pytest.approx(
                (above - below) / (2 * step), abs=1e-5
            )


def test_adopted_weights_are_what_the_gates_settle_to() -> None:
    made, weights = gates(2.0)
    with torch.no_grad():
        for k, weight in enumerate(weights.values()):
            weight.fill_(0.3 * k - 0.5)
    made.adopt()
    made.settle()
    assert [float(weight.detach()) for weight in weights.values()] == pytest.approx(
        [-0.5, -0.2, 0.1, 0.4]
    )


def test_a_penalty_closes_gates_altogether(data: Arrays) -> None:
    long = replace(SHORT, steps=120, learning_rate=5e-2, relaxation="l0")
    held = evaluate(gated_job(replace(long, gate_penalty=1.0)), data)
    closed = [
        name for name, c in held.connections.items() if name.endswith(".scale") and c.gate == 0
    ]
    assert len(closed) >= 3
    free = evaluate(gated_job(long), data)
    assert sum(
        c.gate == 0 for name, c in free.connections.items() if name.endswith(".scale")
    ) < len(closed)
    small = evaluate(gated_job(replace(long, gate_penalty=1.0, relaxation="none")), data)
    assert all(
        c.gate > 0 for name, c in small.connections.items() if name.endswith(".scale")
    )  # L1 makes small, not zero


def test_a_training_with_relaxed_gates_resumes_exactly(data: Arrays, tmp_path: Path) -> None:
    paths = {name: str(tmp_path / name) for name in ("whole", "half", "resumed")}
    training = replace(SHORT, relaxation="l0", gate_penalty=0.01, evaluations=1)
    evaluate(gated_job(training, steps=14, checkpoint=paths["whole"]), data)
    evaluate(gated_job(training, steps=5, checkpoint=paths["half"]), data)
    evaluate(gated_job(training, steps=14, resume=paths["half"], checkpoint=paths["resumed"]), data)
    whole, resumed = (checkpoint.read(paths[name]).group("model.") for name in ("whole", "resumed"))
    assert any(name.startswith("connection_gates.") for name in whole)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_smaller_cell_inherits_gates(data: Arrays, tmp_path: Path) -> None:
    path = str(tmp_path / "parent")
    training = replace(SHORT, relaxation="l0", gate_penalty=0.01)
    evaluate(gated_job(training, checkpoint=path), data)
    smaller = FOUR_GATES.replace("c = scale(h[t-1])\n", "").replace("a + b + c + d", "a + b + d")
    child = evaluate(gated_job(training, smaller, steps=0, inherit=path), data)
    given = checkpoint.read(path).weights()
    for name in ("a", "b", "d"):
        assert child.connections[f"{name}.scale"].gate == pytest.approx(
            abs(float(given[f"cell.l0.{name}.scale"])), rel=1e-5
        )


def test_cells_without_gates_train_as_ever(data: Arrays) -> None:
    plain = "h[t] = tanh(linear(x[t], h[t-1]))"
    assert (
        evaluate(gated_job(cell=plain), data).score
        == evaluate(gated_job(replace(SHORT, relaxation="l0"), plain), data).score
    )
    layer = compile_cell(Genome.from_text(plain), input_size=3, hidden_size=4)
    assert attach(torch.nn.Module(), Genome.from_text(plain), layer) is None
