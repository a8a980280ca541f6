"""The section of a report about size and speed. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable

from cellsearch.genome.measures import gemm_depth, recurrence_class
from cellsearch.history import History
from cellsearch.reporting.curves import leaders_and_controls
from cellsearch.reporting.page import cost_columns, cost_text, number, table
from cellsearch.trial import Trial

__all__ = ["cell_costs", "costs_section"]

LEADERS = 3
CONTROLS = 4
_MEASURED = {"predicted_us": "predicted µs a step"}


def cell_costs(history: History) -> list[Trial]:
    """The trials whose costs are listed: the best found cells, then the controls, best first."""
    return leaders_and_controls(history, LEADERS, CONTROLS)


def costs_section(history: History) -> str:
    """Weights, multiply-adds, class and time of the leaders and the controls; ``""`` without
    any.
    """
    shown = cell_costs(history)
    if not shown:
        return ""
    costs = cost_columns(trial.metrics for trial in shown)
    further = {
        name: heading
        for name, heading in _MEASURED.items()
        if any(name in trial.metrics for trial in shown)
    }
    first = shown[0].number
    rows = [
        (
            "baseline" if t.is_baseline else "winner" if t.number == first else "",
            (*_texts(t), *(cost_text(n, t.metrics) for n in costs), *_further(t, further)),
        )
        for t in shown
    ]
    columns = [("cell", False), ("score", True), ("cell weights", True), ("model weights", True)]
    columns += [("recurrence", False), ("products in a row", True), ("nodes", True)]
    columns += [("ms a training step", True), ("trained (s)", True)]
    columns += [(heading, True) for heading in (*costs.values(), *further.values())]
    note = (
        "Recurrence: affine-diagonal cells can be computed for all positions at once, elementwise "
        "ones without a matrix product a position. Products in a row: matrix products of the "
        "previous state that wait for one another within a step. Times are those of the search, "
        "with whatever else the machine did."
    )
    return f'<h2>Size and speed</h2>{table(columns, rows)}<p class="soft">{note}</p>'


def _texts(trial: Trial) -> tuple[str, ...]:
    result, genome = trial.result, trial.genome
    assert result is not None
    return (
        trial.name,
        number(trial.score),
        f"{result.cell_parameters:,}",
        f"{result.parameters:,}",
        recurrence_class(genome),
        str(gemm_depth(genome)),
        str(len(genome.nodes)),
        number(1000 * result.seconds / result.steps, 2) if result.steps else "–",
        number(result.seconds, 1),
    )


def _further(trial: Trial, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(number(trial.metrics.get(name), 1) for name in names)
