"""Is the found cell really better? Finalists and baselines, retrained from scratch at equal
parameters, with several seeds.

The protocol is the same for every cell: the hidden size is set so that the whole models have
equally many parameters; a sweep of learning rates, widened until the best is inside, is decided by
validation; then each seed is trained once, and the test data is read once, at the end, with the
weights that validation chose. Answers what Li & Talwalkar 2019 and Yu et al. 2020 found missing in
published searches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.executors.base import Executor
from cellsearch.finals.journal import Journal
from cellsearch.finals.protocol import FIRST_SEED, Finalist, Protocol, make_job
from cellsearch.finals.rounds import Rounds
from cellsearch.finals.sizes import TOLERANCE
from cellsearch.finals.sweep import Swept, sweep
from cellsearch.finals.table import EQUAL_WEIGHTS, WITHIN_LIMITS, FinalRow, FinalTable, judge
from cellsearch.genome.device import COSTS, INT8
from cellsearch.job import Outcome, Result, Training
from cellsearch.later import Later

if TYPE_CHECKING:
    from cellsearch.training import bodies
else:
    bodies = Later("cellsearch.training.bodies")  # it loads torch

__all__ = ["run_finals"]


@checked_arguments
def run_finals(
    executor: Executor,
    finalists: Sequence[Finalist],
    sizes: Mapping[str, int],
    protocol: Protocol,
    on_outcome: Callable[[str, Outcome], None] | None = None,
    *,
    journal: Journal | None = None,
    prefix: str = "",
) -> FinalTable:
    """Sweep, train all seeds, test once.

    executor: ready for the task.
    sizes: hidden size by name, see :func:`equal_sizes`.
    on_outcome: learns of each training, with the name of its cell.
    journal: keeps the outcomes; those that it holds already are not trained for again.
    prefix: of the keys in the journal, where that holds finals on several tasks.
    """
    if not any(f.baseline for f in finalists):
        raise ConfigError(
            "a final needs at least one baseline", hint="add a zoo cell, for example lstm"
        )
    rounds = Rounds(executor, on_outcome, journal, prefix)
    swept = sweep(rounds, finalists, sizes, protocol)
    jobs = {}
    for finalist in finalists:
        training = replace(
            protocol.training,
            hidden_size=sizes[finalist.name],
            learning_rate=swept[finalist.name].rate,
        )
        jobs[finalist.name] = {
            str(k): make_job(finalist, protocol, training, FIRST_SEED + k, test=True)
            for k in range(protocol.seeds)
        }
    outcomes = rounds.train(jobs)
    rows = [
        _row(f, jobs[f.name]["0"].training, swept[f.name], tuple(outcomes[f.name].values()))
        for f in finalists
    ]
    bounded = protocol.device is not None and protocol.device.bounds
    return judge(rows, WITHIN_LIMITS if bounded else _equal(rows))


def _equal(rows: Sequence[FinalRow]) -> str:
    """On which terms: equal weights, or how far they are from equal."""
    weights = [row.parameters for row in rows if row.parameters]
    spread = max(weights) / min(weights) - 1 if weights else 0.0
    return EQUAL_WEIGHTS if spread <= TOLERANCE else f"at model weights within {spread:.1%}"


def _row(
    finalist: Finalist, training: Training, swept: Swept, outcomes: Sequence[Outcome]
) -> FinalRow:
    tested = [o.result for o in outcomes if o.result is not None and _is_tested(o.result)]
    seconds = sum(r.seconds for r in tested)
    steps = sum(r.steps for r in tested)
    return FinalRow(
        name=finalist.name,
        baseline=finalist.baseline,
        hidden_size=training.hidden_size,
        parameters=tested[0].parameters if tested else 0,
        learning_rate=swept.rate,
        scores=tuple(r.metrics["test_score"] for r in tested),
        metrics=tuple(r.metrics["test_metric"] for r in tested),
        step_ms=1000 * seconds / steps if steps else math.nan,
        failures=len(outcomes) - len(tested),
        cell_parameters=tested[0].cell_parameters if tested else 0,
        errors=_errors(tested),
        device=_device(tested),
        rate_inside=swept.inside,
        sweep=swept.tried,
        note=bodies.body_note(finalist.body, training) if finalist.body else "",
    )


def _errors(tested: Sequence[Result]) -> dict[str, float]:
    """The mean of each further error on test data, as training wrote them down."""
    names = [name for r in tested[:1] for name in r.metrics if name.startswith("test ")]
    return {
        name.removeprefix("test "): sum(r.metrics[name] for r in tested) / len(tested)
        for name in names
    }


def _device(tested: Sequence[Result]) -> dict[str, float]:
    """What the cell costs on a device, and the mean test score with int8 weights, as far as they
    were measured.
    """
    if not tested:
        return {}
    found = {name: tested[0].metrics[name] for name in COSTS if name in tested[0].metrics}
    rounded = [r.metrics[key] for r in tested if (key := f"test_{INT8}") in r.metrics]
    return found | ({INT8: sum(rounded) / len(rounded)} if rounded else {})


def _is_tested(result: Result) -> bool:
    """Whether the training gave a test score; NaN and infinity are none."""
    return math.isfinite(result.metrics.get("test_score", math.nan))
