"""Finals: are the found cells really better? And the statistics that say so."""

from cellsearch.finals.effect import Effect
from cellsearch.finals.finals import run_finals
from cellsearch.finals.protocol import Finalist, Protocol
from cellsearch.finals.sizes import equal_sizes, fitting_sizes
from cellsearch.finals.table import FinalRow, FinalTable, verdict

__all__ = [
    "Effect",
    "FinalRow",
    "FinalTable",
    "Finalist",
    "Protocol",
    "equal_sizes",
    "fitting_sizes",
    "run_finals",
    "verdict",
]
