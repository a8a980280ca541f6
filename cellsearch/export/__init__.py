"""Export: a cell leaves as plain PyTorch source, its weights as a file."""

from cellsearch.export.source import to_source
from cellsearch.export.weights import load_weights, save_weights

__all__ = ["load_weights", "save_weights", "to_source"]
