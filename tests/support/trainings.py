"""Short trainings of a character model and of the adding task, and what is the same about their
results every time.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cellsearch import zoo
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Result, Training

__all__ = ["ADDING", "FOUR_GATES", "GATED", "LM", "SHORT", "facts", "gated_job", "job"]

LM: dict[str, Any] = {"valid_tokens": 2048, "tbptt": 8, "batch_size": 16}
SHORT = Training(steps=12, hidden_size=12, learning_rate=1e-2, evaluations=3)
GATED = """
a = tanh(linear(x[t], h[t-1]))
b = sigmoid(linear(x[t], h[t-1]))
h[t] = scale(a) + scale(b) + scale(h[t-1])
"""
ADDING = {"length": 6, "evaluation_size": 200}
FOUR_GATES = """
n1 = tanh(linear(x[t], h[t-1]))
n2 = sigmoid(linear(x[t], h[t-1]))
a = scale(n1)
b = scale(n2 * h[t-1])
c = scale(h[t-1])
d = scale(sin(n1))
h[t] = a + b + c + d
"""


def job(
    cell: str | Genome = "lstm",
    *,
    task: str = "char_lm",
    steps: int = 12,
    training: Training = SHORT,
    **changes: Any,
) -> Job:
    genome = zoo.load(cell) if isinstance(cell, str) else cell
    options = {"char_lm": LM, "adding": {"length": 6, "evaluation_size": 100}}.get(task, {})
    return Job(
        trial=0,
        rung=0,
        genome=genome.to_json(),
        task=task,
        task_options=options,
        training=training,
        steps=steps,
        **{"seed": 1, **changes},
    )


def facts(result: Result) -> dict[str, Any]:
    """All of a result that must be the same every time: not how long it took, nor where the
    checkpoint went.
    """
    return {
        name: value
        for name, value in asdict(result).items()
        if name not in ("seconds", "checkpoint")
    }


def gated_job(training: Training | None = None, cell: str = FOUR_GATES, **changes: Any) -> Job:
    """A training of a cell with gates on the adding task."""
    training = training or Training(steps=20, hidden_size=8, learning_rate=2e-2, evaluations=2)
    values = {"steps": training.steps, "seed": 1, "connections": True, **changes}
    return Job(0, 0, Genome.from_text(cell).to_json(), "adding", ADDING, training, **values)
