"""Finals: are the found cells really better? And the statistics that say so."""

from cellsearch.finals.effect import Effect
from cellsearch.finals.finals import run_finals
from cellsearch.finals.over_tasks import FinalTables, TaskTable
from cellsearch.finals.protocol import Finalist, Protocol
from cellsearch.finals.sizes import equal_sizes, fitting_sizes
from cellsearch.finals.standings import FinalComparison, Standing
from cellsearch.finals.table import FinalRow, FinalTable, verdict

__all__ = [
    "Effect",
    "FinalComparison",
    "FinalRow",
    "FinalTable",
    "FinalTables",
    "Finalist",
    "Protocol",
    "Standing",
    "TaskTable",
    "equal_sizes",
    "fitting_sizes",
    "run_finals",
    "verdict",
]
