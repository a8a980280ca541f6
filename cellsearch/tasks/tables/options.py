"""What a user says about a table, in ``[task_options]`` or on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cellsearch.errors import ConfigError
from cellsearch.options import at_least, between
from cellsearch.tasks.options import DataPath, TaskOptions
from cellsearch.tasks.tables.read import Written

__all__ = ["TableOptions"]

Names = Annotated[tuple[str, ...], "a list of columns, by name or by number from 1 on"]


@dataclass(frozen=True, slots=True)
class TableOptions(TaskOptions):
    """Options of the tasks over a table."""

    path: Annotated[str, DataPath()] = ""
    """The table: CSV, or Parquet where pyarrow is installed."""
    predict: Names = ()
    """What is predicted."""
    inputs: Names = ()
    """What is predicted from; empty: all columns of numbers."""
    time: str = ""
    """The column that says when; empty: the first column of moments, else the order of the rows."""
    group: str = ""
    """The column that says which series a row belongs to; empty: there is one series."""
    horizon: Annotated[int, at_least(1)] = 1
    """How many rows ahead are predicted at once."""
    window: Annotated[int, at_least(0)] = 0
    """How many rows the cell reads; 0: two periods, or 24, or what fits."""
    period: Annotated[int, at_least(0)] = 0
    """Rows after which the series repeats itself, for the seasonal forecast; 0: that is found."""
    relative: Literal["auto", "yes", "no"] = "auto"
    """Whether the last row of a window is subtracted from it and its targets; auto: where the last
    value says more than the mean."""
    valid: Annotated[float, between(0, 1)] = 0.15
    """Share of the rows (or groups) that validates."""
    test: Annotated[float, between(0, 1)] = 0.15
    """Share that is kept for the finals: the last ones in time."""
    separator: Literal["", ",", ";", "\\t", "\t", "|"] = ""
    """Between the cells; empty: that is found."""
    decimal: Literal["", ".", ","] = ""
    """Before the decimals; empty: that is found."""
    dates: Literal["", "day first", "month first"] = ""
    """How 01/02/2024 is read; empty: that is found."""

    def check(self) -> None:
        """Raise :class:`ConfigError` for shares that leave nothing to train on."""
        if self.valid <= 0 or self.test <= 0 or self.valid + self.test > 0.9:
            raise ConfigError(
                f"valid = {self.valid} and test = {self.test} leave no three parts",
                where="valid",
                hint="both are above 0, and at most 0.9 together",
            )

    @property
    def written(self) -> Written:
        """What is said of how the table is written."""
        separator = "\t" if self.separator == "\\t" else self.separator
        return Written(separator, self.decimal, self.dates)

    @property
    def named(self) -> tuple[str, ...]:
        """All columns that are named."""
        return tuple(filter(None, (*self.predict, *self.inputs, self.time, self.group)))
