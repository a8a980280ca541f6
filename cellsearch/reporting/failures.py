"""The section of a report about what failed. All text is escaped."""

from __future__ import annotations

from html import escape

from cellsearch.errors import amount
from cellsearch.history import History
from cellsearch.reporting.causes import MEANINGS, failure_kinds
from cellsearch.reporting.page import table
from cellsearch.trial import Status, Trial

__all__ = ["failed_examples", "failures_section"]

EXAMPLES = 40
"""Trials of each kind that are looked at."""
CAUSES = 3
"""Causes of each kind that are shown."""
NUMBERS = 5
LENGTH = 240
"""Numbers of trials, and characters of a message."""


def failed_examples(history: History, most: int = EXAMPLES) -> dict[str, tuple[int, list[Trial]]]:
    """For each kind of failure how many trials failed so, and the first ``most`` of them; the most
    frequent kind first.
    """
    return {
        kind: (count, list(history.failed(most, kind))) for kind, count in history.causes().items()
    }


def failures_section(history: History) -> str:
    """Failures by kind and cause, with the cell of the first of each kind; ``""`` without any."""
    found = failed_examples(history)
    if not found:
        return ""
    rows, cells = [], []
    for kind, (count, trials) in found.items():
        said = [(t.number, kind, t.failure.message if t.failure else "") for t in trials]
        causes = failure_kinds(said)[0].causes if said else []
        for k, cause in enumerate(causes[:CAUSES]):
            numbers = ", ".join(map(str, cause.trials[:NUMBERS]))
            more = ", ..." if len(cause.trials) > NUMBERS or count > len(trials) else ""
            head = (kind, f"{count:,}", MEANINGS.get(kind, "")) if k == 0 else ("", "", "")
            rows.append(("failed", (*head, _short(cause.message), numbers + more)))
        if trials:
            cells.append(
                f"<h4>Trial {trials[0].number}: {escape(kind)}</h4>"
                f"<pre>{escape(trials[0].genome.to_text())}</pre>"
            )
    count = history.totals.statuses[Status.FAILED]
    kinds = ", ".join(f"{n} {kind}" for kind, (n, _) in found.items())
    columns = [("kind", False), ("trials", True), ("meaning", False), ("what it says", False)]
    return (
        f"<h2>Failures</h2><p>{amount(count, 'failed trial')}: {escape(kinds)}</p>"
        f'<div class="wrap">{table([*columns, ("for example", False)], rows)}</div>'
        f"<details><summary>a cell of each kind</summary>{''.join(cells)}</details>"
    )


def _short(message: str) -> str:
    return message if len(message) <= LENGTH else f"{message[:LENGTH]} ..."
