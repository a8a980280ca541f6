"""A suite of two tasks and a training that take less than a second, for tests of suites and of the
references they are compared with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cellsearch import tasks, zoo
from cellsearch.job import Job, Training
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.suite import Suite

__all__ = ["DOCUMENT", "declared", "one_training"]

DOCUMENT: dict[str, Any] = {
    "name": "small",
    "seeds": [3, 4],
    "training": {"hidden_size": 8, "evaluations": 2, "learning_rate": 0.02},
    "tasks": [
        {
            "task": "parity",
            "steps": 30,
            "chance": 0.6,
            "options": {"max_length": 3, "valid_lengths": [3], "evaluation_size": 60},
        },
        {
            "task": "adding",
            "steps": 20,
            "chance": 1.0,
            "options": {"length": 4, "evaluation_size": 50},
            "training": {"evaluations": 3},
        },
    ],
}
"""The small suite as it would be declared in a file."""


def declared(**changes: Any) -> Suite:
    """The small suite, with these keys of its declaration changed."""
    return Suite.parse({**DOCUMENT, **changes})


def one_training(**changes: Any) -> tuple[Job, Arrays]:
    """Three steps of an LSTM on the first task of the small suite, with these fields of the job
    changed; and the data.
    """
    options = DOCUMENT["tasks"][0]["options"]
    job = Job(
        0, 0, zoo.load("lstm").to_json(), "parity", options, Training(steps=3, hidden_size=4), 3, 1
    )
    return replace(job, **changes), tasks.get("parity").load(options)
