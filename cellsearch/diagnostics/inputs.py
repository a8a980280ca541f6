"""What the recurrent layer of a trained model reads on real data, and a float64 copy of that
layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.errors import ConfigError
from cellsearch.tasks.base import Batch

__all__ = ["cell_inputs", "cell_of", "double"]


def cell_of(model: nn.Module) -> CellModule:
    """The recurrent layer of a task's model. Raises :class:`ConfigError` for one that diagnostics
    cannot look into.
    """
    cell = model.cell
    if not isinstance(cell, CellModule):
        raise ConfigError(
            f"the model's recurrent layer is a {type(cell).__name__}",
            hint="diagnostics read cells made by compile_cell",
        )
    if cell.bidirectional:
        raise ConfigError(
            "diagnostics follow time in one direction",
            where="training.bidirectional",
            hint="train with false",
        )
    return cell


def double(cell: CellModule) -> CellModule:
    """The same layer in float64 on the reference backend, without dropout: exact, and
    differentiable as often as one likes.
    """
    copy = compile_cell(
        cell.genome,
        input_size=cell.input_size,
        hidden_size=cell.hidden_size,
        num_layers=cell.num_layers,
        sizes=cell.sizes,
        backend="reference",
        dtype=torch.float64,
    )
    copy.load_state_dict(cell.state_dict())
    return copy.eval().requires_grad_(False)


def cell_inputs(model: nn.Module, batch: Batch, *, positions: int, examples: int) -> Tensor:
    """What the recurrent layer is given for a batch, ``[T, B, I]`` in float64: the first positions
    of the longest sequences.

    ``positions`` and ``examples`` bound T and B; T is the length of the shortest sequence taken, so
    that nothing is padding.
    """
    seen: list[Any] = []
    hook = cell_of(model).register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            batch.read_by(model)
    finally:
        hook.remove()
        model.train(was_training)
    given = seen[0]
    if isinstance(given, PackedSequence):
        x, lengths = pad_packed_sequence(given)
        longest = lengths.argsort(descending=True, stable=True)[:examples]
        x = x[: int(lengths[longest].min()), longest]
    else:
        x = given[:, :examples]
    return x[:positions].double()
