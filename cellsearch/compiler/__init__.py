"""The compiler: a genome becomes a torch module that trains fast.

``lower`` -> ``simplify_program`` -> ``gradient`` -> a backend; :func:`compile_cell` does it all.
Weights go to ``torch.nn.LSTM`` and ``torch.nn.GRU`` and back.
"""

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
