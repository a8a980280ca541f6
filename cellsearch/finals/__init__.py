"""Finals: are the found cells really better? And the statistics that say so."""

from cellsearch.finals.finals import Finalist, Protocol, equal_sizes, fitting_sizes, run_finals
from cellsearch.finals.table import FinalRow, FinalTable, verdict

__all__ = [
    "FinalRow",
    "FinalTable",
    "Finalist",
    "Protocol",
    "equal_sizes",
    "fitting_sizes",
    "run_finals",
    "verdict",
]
