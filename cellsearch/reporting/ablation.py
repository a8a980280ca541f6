"""The part of a report that is about ablations. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cellsearch.reporting.page import number, table

__all__ = ["ablation_grid", "ablation_notes", "ablation_section", "ablations_section"]

SAID = {
    "fails": "fails",
    "costs": "costs",
    "pays": "better without",
    "unclear": "cannot be told",
}
SHOWN = 3
"""Ablations of a run that its report shows."""
ROWS = 60
"""Removals of each."""
HEADERS = ("without", "which means", "score", "deviation", "costs", "95 %", "", "cell weights")
RIGHT = (2, 3, 4, 5, 7)
"""The columns of numbers."""


def ablation_grid(document: Mapping[str, Any], most: int | None = None) -> list[list[str]]:
    """The texts of :data:`HEADERS`, a row a removal, that of the whole cell first, out of the plain
    data of a :class:`cellsearch.ablation.AblationTable`; ``most``: so many removals.
    """
    whole = document["whole"]
    rows = [["–", "the whole cell", *_scores(whole), "", "", _failed(whole), _weights(whole)]]
    for row in document["rows"][:most]:
        means = row["meaning"] + (f" ({row['known']})" if row["known"] else "")
        said = _failed(row) or SAID[row["said"]]
        rows.append([row["removed"], means, *_scores(row), *_cost(row, whole), said, _weights(row)])
    return rows


def ablation_notes(document: Mapping[str, Any]) -> list[str]:
    """What stands below the table."""
    notes = [document["sentence"]]
    if document["idle"]:
        notes.append(f"Without effect on what is computed: {', '.join(document['idle'])}.")
    if document["impossible"]:
        notes.append(f"No cell is left without: {', '.join(document['impossible'])}.")
    return notes


def _scores(row: Mapping[str, Any]) -> tuple[str, str]:
    """Mean and deviation of the trainings that ended."""
    scores = row["scores"]
    if not scores:
        return "–", "–"
    deviation = row["deviation"]
    mean = math.fsum(scores) / len(scores)
    return number(mean), "–" if deviation is None else number(deviation)


def _failed(row: Mapping[str, Any]) -> str:
    lost = row["failures"]
    kinds = ", ".join(dict.fromkeys(lost))
    return f"{len(lost)} of {len(lost) + len(row['scores'])} failed ({kinds})" if lost else ""


def _weights(row: Mapping[str, Any]) -> str:
    return f"{row['cell_weights']:,}" if row["cell_weights"] else "–"


def _cost(row: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[str, str]:
    """The difference and its interval, in percent of the score of the whole cell where it has
    any.
    """
    cost, low, high = row["cost"], row["low"], row["high"]
    if cost is None:
        return "–", "–"
    base = whole["mean"]
    unit, sign, form = (100 / abs(base), " %", "+.1f") if base else (1.0, "", "+.4f")
    between = "–" if low is None else f"{unit * low:{form}} to {unit * high:{form}}"
    return f"{unit * cost:{form}}{sign}", between


def ablation_section(document: Mapping[str, Any]) -> str:
    """One ablation: the table and what it says."""
    grid = ablation_grid(document, ROWS)
    css = ["winner", *("" for _ in grid[1:])]
    drawn = table(
        [(name, k in RIGHT) for k, name in enumerate(HEADERS)],
        list(zip(css, map(tuple, grid), strict=True)),
    )
    left_out = len(document["rows"]) - ROWS
    more = [f"{left_out} removals that cost less are not shown."] if left_out > 0 else []
    first, *rest = ablation_notes(document)
    notes = " ".join([document["protocol"], *rest, *more])
    return f'<p>{escape(first)}</p>{drawn}<p class="soft">{escape(notes)}</p>'


def ablations_section(documents: Mapping[int, Mapping[str, Any]], best: int | None) -> str:
    """The section of a report, with the ablation of the best cell first; ``""`` without any.

    documents: the plain data of each, by the number of the trial.
    best: the number of the best cell.
    """
    order: Sequence[int] = sorted(documents, key=lambda trial: (trial != best, trial))
    if not order:
        return ""
    parts = [
        f"<h3>Trial {trial}</h3>{ablation_section(documents[trial])}" for trial in order[:SHOWN]
    ]
    if len(order) > SHOWN:
        parts.append(f'<p class="soft">{len(order) - SHOWN} more ablations are not shown.</p>')
    return f"<h2>Ablation: what each part is worth</h2>{''.join(parts)}"
