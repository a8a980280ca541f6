"""The card of a cell that a search found: ``found/NAME.toml`` beside ``found/NAME.cell``.

It says which search it was, how the cell was judged on data that the search had not seen, what it
is like, and where it is bad. A cell without failures and with a significant win gets in, no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cellsearch.errors import ConfigError
from cellsearch.options import Key, at_least, between, parse_toml, read_options

__all__ = ["FoundCard", "Judgment", "read_card"]

Count = Annotated[int, at_least(0)]


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """How the cell did at one task against a reference: means over seeds, lower is better."""

    task: str
    """Name of the task, with the options that are not its own."""
    seeds: Annotated[int, at_least(3)]
    """Trainings of each cell."""
    score: float
    """Of the cell, on the test data."""
    lstm: float
    """Of the LSTM."""
    gru: float
    """Of the GRU."""
    p: Annotated[float, between(0, 1)]
    """Of the comparison with the better of them, corrected for the number of comparisons."""
    verdict: Literal["better", "worse", "equal within noise"]
    """Against the better of them."""


@dataclass(frozen=True, kw_only=True)
class FoundCard:
    """Where a found cell comes from, and how good it is where nobody searched."""

    search: str
    """The experiment or command, its strategy and seed."""
    trial: Count
    """Number of the trial in that search."""
    commit: str
    """Of cellsearch when it was searched."""
    date: str
    """When, as 2026-11-29."""
    tried: Annotated[int, at_least(1)]
    """Cells that the search trained."""
    core_hours: Annotated[float, at_least(0)]
    """What the search cost."""
    weights: str
    """How many weights the judged models had, and what was tuned, in words."""
    failed: Annotated[int, between(0, 0)]
    """Trainings of the judgment that failed: a cell with one does not get in."""
    trained: Annotated[int, at_least(1)]
    """Trainings of the judgment in all."""
    like: str
    """What the cell is like."""
    good: str
    """Where it is good."""
    bad: str
    """Where it is bad, or was not tried."""
    judgments: Annotated[tuple[Judgment, ...], Key("judged"), at_least(1)]
    """Task by task, all that were tried."""

    def __post_init__(self) -> None:
        if not any(one.verdict == "better" for one in self.judgments):
            raise ConfigError(
                "the cell is nowhere better with significance",
                where="judged",
                hint="only a cell that is gets into the zoo",
            )

    def lines(self) -> tuple[str, ...]:
        """The card as text, a fact a line."""
        table = [
            f"  {one.task}: {one.score:.4g} (LSTM {one.lstm:.4g}, GRU {one.gru:.4g}; "
            f"{one.verdict}, p = {one.p:.2g}, {one.seeds} seeds)"
            for one in self.judgments
        ]
        return (
            f"found by {self.search}: trial {self.trial} of {self.tried} cells, "
            f"{self.core_hours:g} core hours, {self.date}, commit {self.commit}",
            f"like: {self.like}",
            f"good: {self.good}",
            f"bad: {self.bad}",
            f"judged on data that the search had not seen, {self.weights}; "
            f"{self.failed} of {self.trained} trainings failed; scores, lower is better:",
            *table,
        )


def read_card(text: str, *, source: str) -> FoundCard:
    """The card in a TOML text. Raises :class:`ConfigError` for one that does not say what it must,
    and for one of a cell that should not be here.
    """
    return read_options(FoundCard, parse_toml(text, source), source=source)
