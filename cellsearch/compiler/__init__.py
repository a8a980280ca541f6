"""The compiler: a genome becomes a torch module that trains fast.

``lower`` -> ``simplify_program`` -> ``gradient`` -> a backend; :func:`compile_cell` does it all.
Weights go to ``torch.nn.LSTM`` and ``torch.nn.GRU`` and back.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellsearch.compiler.module import CellModule, compile_cell
    from cellsearch.compiler.torch_rnn import (
        load_torch_gru,
        load_torch_lstm,
        to_torch_gru,
        to_torch_lstm,
    )

__all__ = [
    "CellModule",
    "compile_cell",
    "load_torch_gru",
    "load_torch_lstm",
    "to_torch_gru",
    "to_torch_lstm",
]

_OF_MODULE = ("CellModule", "compile_cell")


def __getattr__(name: str) -> object:
    """Load a name on first use: these need torch, and predicting a cell's cost does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "module" if name in _OF_MODULE else "torch_rnn"
    return getattr(import_module(f"{__name__}.{home}"), name)
