"""Experiments: the TOML that declares a search, and where such files are found by name."""

from cellsearch.experiment.experiment import (
    Experiment,
    load_experiment,
    parse_experiment,
    read_training,
)

__all__ = ["Experiment", "load_experiment", "parse_experiment", "read_training"]
