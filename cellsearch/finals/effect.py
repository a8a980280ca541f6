"""How large a difference is, beside how sure: two effect sizes with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from cellsearch.errors import checked_arguments
from cellsearch.finals.statistics import bootstrap_interval, percent_difference, superiority

__all__ = ["Effect"]


@dataclass(frozen=True, slots=True)
class Effect:
    """A found cell against a baseline. The intervals hold 95 %, see
    :func:`cellsearch.finals.statistics.bootstrap_interval`.
    """

    against: str
    """Name of the baseline."""
    percent: float
    """Difference of the mean test scores in percent of the baseline's, below 0 is better; NaN where
    a training of either failed."""
    percent_low: float
    """Lower end of its interval."""
    percent_high: float
    """Upper end."""
    superiority: float
    """Probability that a training of the cell is better than one of the baseline, ties and two
    failures counted half, a failure worse than everything else."""
    superiority_low: float
    """Lower end of its interval."""
    superiority_high: float
    """Upper end."""

    @classmethod
    @checked_arguments
    def of(cls, found: Sequence[float], baseline: Sequence[float], against: str) -> Self:
        """The effect between test scores; infinity for a training that failed."""
        return cls(
            against,
            float(percent_difference(found, baseline)),
            *bootstrap_interval(percent_difference, found, baseline),
            float(superiority(found, baseline)),
            *bootstrap_interval(superiority, found, baseline),
        )

    @classmethod
    @checked_arguments
    def read(cls, document: Mapping[str, Any]) -> Self:
        """What :func:`dataclasses.asdict` made of one, with ``None`` for NaN."""
        numbers = (document[field.name] for field in fields(cls)[1:])
        values = (math.nan if value is None else float(value) for value in numbers)
        return cls(str(document["against"]), *values)

    @checked_arguments
    def sentence(self, name: str) -> str:
        """Both in words, of the cell of this name."""
        text = ""
        if not math.isnan(self.percent_low):
            text = (
                f"The difference of the means lies between {self.percent_low:+.1f} and "
                f"{self.percent_high:+.1f} % (95 % bootstrap interval). "
            )
        return (
            f"{text}The probability that a training of {name} beats one of {self.against} is "
            f"{self.superiority:.2f} ({self.superiority_low:.2f} to {self.superiority_high:.2f})."
        )
