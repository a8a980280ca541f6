"""What a search has left: reading a run, its trained models, finals, diagnoses, and exports."""

from cellsearch.runs.locate import load_model
from cellsearch.runs.run import Run, open_run
from cellsearch.runs.trial import RunTrial

__all__ = ["Run", "RunTrial", "load_model", "open_run"]
