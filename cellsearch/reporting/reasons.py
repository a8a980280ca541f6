"""The section of a report about cells that were proposed with a reason."""

from __future__ import annotations

from itertools import islice

from cellsearch.history import History
from cellsearch.reporting.page import number, table
from cellsearch.trial import IN_FLIGHT

__all__ = ["reasons"]

SHOWN = 100
"""Rows, at most."""
LENGTH = 600
"""Characters of a reason, at most."""


def reasons(history: History) -> str:
    """A table of the cells that somebody gave a reason for, best first; ``""`` without any."""
    found = sorted(history.reasoned(), key=lambda trial: (trial.score, trial.number))
    if not found:
        return ""
    rows = []
    for trial in islice(found, SHOWN):
        reason = trial.proposal.reason
        said = reason if len(reason) <= LENGTH else f"{reason[:LENGTH]} ..."
        became = trial.failure.kind if trial.failure is not None else number(trial.score)
        became = trial.status.value if trial.status in IN_FLIGHT else became
        parents = ", ".join(map(str, trial.proposal.parents))
        rows.append(("", (str(trial.number), became, str(trial.proposal.origin), parents, said)))
    columns = [("trial", True), ("score", True), ("from", False), ("parents", False)]
    drawn = table([*columns, ("reason", False)], rows)
    more = len(found) - len(rows)
    note = f'<p class="soft">{more:,} more are not shown.</p>' if more > 0 else ""
    return f"<h2>Why they were proposed</h2>{drawn}{note}"
