"""Teachers of the task ``distil``: trained modules whose answers a smaller cell learns.

A file of weights is read without running anything in it. Python code is imported only where a
person has named it in the environment variable :data:`CONSENT`: a name in an experiment that
somebody else wrote is not enough.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from torch import nn

from cellsearch.errors import ConfigError, InputFileError
from cellsearch.files import read_plain

__all__ = ["CONSENT", "answers", "load_teacher"]

CONSENT = "CELLSEARCH_TEACHER"
"""The environment variable that names the function whose code may run."""
BATCH = 256
"""Sequences of one length that a teacher answers at once."""
_KINDS: dict[int, type[nn.LSTM | nn.GRU | nn.RNN]] = {4: nn.LSTM, 3: nn.GRU, 1: nn.RNN}
"""By how many times H rows a weight has; a plain RNN is one with tanh."""
_FIRST, _RECURRENT = "weight_ih_l0", "weight_hh_l0"


def load_teacher(path: str, function: str) -> nn.Module:
    """The trained module, ready to answer.

    path: file of a state dict (``.pt``, ``.safetensors``); ``""``: the function gives a module that
        has its weights.
    function: ``"package.module:name"``, called without arguments; ``""``: the file holds a
        ``torch.nn.LSTM``, ``GRU`` or ``RNN`` (tanh), under any prefix, and possibly a linear
        readout.

    Raises :class:`ConfigError` for code that nobody has allowed or that gives no module,
    :class:`InputFileError` for a file that is not such a state dict.
    """
    module = _made(function) if function else None
    if path:
        weights = _weights(Path(path))
        module = _recognised(weights, path) if module is None else _filled(module, weights, path)
    assert module is not None
    return module.eval()


def _made(function: str) -> nn.Module:
    """What a function of the user's own gives."""
    where = "task_options.module"
    name, colon, attribute = function.partition(":")
    if not colon or not all(part.isidentifier() for part in (*name.split("."), attribute)):
        hint = 'for example "mine:teacher", for the function teacher() in mine.py'
        raise ConfigError(f"{function!r:.80} is not MODULE:FUNCTION", where=where, hint=hint)
    if os.environ.get(CONSENT) != function:
        raise ConfigError(
            f"the teacher {function} is Python code, which runs only where you say so",
            where=where,
            hint=f"if it is yours: {CONSENT}={function} in front of the command",
        )
    try:
        made = getattr(import_module(name), attribute)()
    except Exception as error:
        raise ConfigError(
            f"{function} cannot be called: {type(error).__name__}: {error}",
            where=where,
            hint="the module is looked for as Python does (PYTHONPATH), and the function takes no "
            "arguments",
        ) from error
    if not isinstance(made, nn.Module):
        raise ConfigError(
            f"{function} gives {type(made).__name__}, not a torch.nn.Module", where=where
        )
    return made


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors of a file; nothing in it is executed."""
    hint = "write it with torch.save(teacher.state_dict(), PATH)"
    try:
        data = read_plain(path)
        if path.suffix == ".safetensors":
            loaded: Any = load_safetensors(data)
        else:
            loaded = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputFileError(
            "the file cannot be read as a state dict; one that holds a whole module is not read, "
            f"because that would run code in it ({type(error).__name__})",
            where=str(path),
            hint=hint,
        ) from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(weight, torch.Tensor)
        for name, weight in loaded.items()
    ):
        raise InputFileError("the file does not hold named tensors", where=str(path), hint=hint)
    return dict(loaded)


def _filled(module: nn.Module, weights: Mapping[str, torch.Tensor], path: str) -> nn.Module:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise InputFileError(
            f"the weights are not those of the module: {error}", where=path
        ) from None
    return module


class _WithReadout(nn.Module):
    """A recurrent layer, and a linear readout at every position."""

    def __init__(self, layer: nn.RNNBase, readout: nn.Linear | None) -> None:
        super().__init__()
        self.layer, self.readout = layer, readout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [T, B, I]`` -> ``[T, B, K]``."""
        output, _ = self.layer(x)
        said: torch.Tensor = output if self.readout is None else self.readout(output)
        return said


def _recognised(weights: Mapping[str, torch.Tensor], path: str) -> nn.Module:
    """The layer, and perhaps the readout, that a state dict is of."""
    hint = (
        "name a function that makes the module (task_options.module), which then gets these weights"
    )
    firsts = [name for name in weights if re.search(rf"(^|\.){_FIRST}$", name)]
    if len(firsts) != 1:
        raise InputFileError(
            f"the file holds {len(firsts)} recurrent layers of torch.nn, and a teacher has one",
            where=path,
            hint=hint,
        )
    prefix = firsts[0].removesuffix(_FIRST)
    own = {n.removeprefix(prefix): w for n, w in weights.items() if re.match(
        rf"{re.escape(prefix)}(weight|bias)_(ih|hh|hr)_l\d+(_reverse)?$", n)}  # fmt: skip
    rest = {name: w for name, w in weights.items() if name.removeprefix(prefix) not in own}
    try:
        layer = _layer(own)
        layer.load_state_dict(own)
        readout = _readout(rest, layer)
    except (RuntimeError, KeyError, ValueError) as error:
        raise InputFileError(
            f"the weights are not those of one LSTM, GRU or RNN with a linear readout: {error}",
            where=path,
            hint=hint,
        ) from error
    return _WithReadout(layer, readout).to(own[_FIRST].dtype)


def _layer(own: Mapping[str, torch.Tensor]) -> nn.RNNBase:
    rows, inputs = own[_FIRST].shape
    projected = "weight_hr_l0" in own
    hidden = own["weight_hr_l0"].shape[1] if projected else own[_RECURRENT].shape[1]
    times, left = divmod(rows, hidden)
    if left or times not in _KINDS:
        raise ValueError(f"{rows} rows for H = {hidden}")
    options: dict[str, Any] = {"proj_size": own["weight_hr_l0"].shape[0]} if projected else {}
    return _KINDS[times](
        inputs,
        hidden,
        num_layers=sum(bool(re.fullmatch(r"weight_ih_l\d+", name)) for name in own),
        bias="bias_ih_l0" in own,
        bidirectional=f"{_FIRST}_reverse" in own,
        **options,
    )


def _readout(rest: Mapping[str, torch.Tensor], layer: nn.RNNBase) -> nn.Linear | None:
    if not rest:
        return None
    width = (layer.proj_size or layer.hidden_size) * (2 if layer.bidirectional else 1)
    matrices = [name for name in rest if rest[name].ndim == 2 and name.endswith("weight")]
    if len(matrices) != 1 or rest[matrices[0]].shape[1] != width:
        raise ValueError(f"{', '.join(rest)} are no readout of {width} values")
    bias = matrices[0].removesuffix("weight") + "bias"
    if rest.keys() - {matrices[0], bias}:
        raise ValueError(f"{', '.join(sorted(rest.keys() - {matrices[0], bias}))} are left over")
    readout = nn.Linear(width, len(rest[matrices[0]]), bias=bias in rest)
    readout.load_state_dict({name.rpartition(".")[2]: weight for name, weight in rest.items()})
    return readout


def answers(
    teacher: Callable[..., Any],
    sequences: Sequence[NDArray[Any]],
    *,
    every: bool,
    batch_first: bool = False,
    where: str = "teacher",
) -> list[NDArray[np.float32]]:
    """What a module says of each sequence ``[T, I]`` (or tokens ``[T]``): ``[T, K]``, or ``[K]`` of
    its last position.

    It takes ``[T, B, I]`` (``batch_first``: ``[B, T, I]``) and gives the same form with K columns,
    alone or first in a tuple, or ``[B, K]``. Raises :class:`ConfigError` for anything else.
    """
    found: list[NDArray[np.float32] | None] = [None] * len(sequences)
    by_length: dict[int, list[int]] = {}
    for number, sequence in enumerate(sequences):
        by_length.setdefault(len(sequence), []).append(number)
    parameter = next(teacher.parameters(), None) if isinstance(teacher, nn.Module) else None
    dtype = torch.float32 if parameter is None else parameter.dtype
    for length, group in by_length.items():
        for begin in range(0, len(group), BATCH):
            numbers = group[begin : begin + BATCH]
            stacked = torch.from_numpy(np.stack([sequences[n] for n in numbers]))
            x = stacked.to(dtype) if stacked.ndim == 3 else stacked
            said = _said(teacher, x if batch_first else x.transpose(0, 1).contiguous(), where)
            if said.ndim == 3 and not batch_first:
                said = said.transpose(0, 1)
            rows = _fitting(said, len(numbers), length, every=every, where=where)
            for number, row in zip(numbers, rows, strict=True):
                found[number] = np.ascontiguousarray(row)
    return [row for row in found if row is not None]


def _said(teacher: Callable[..., Any], x: torch.Tensor, where: str) -> torch.Tensor:
    try:
        with torch.no_grad():
            output = teacher(x)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise ConfigError(
            f"the teacher does not take sequences of shape {list(x.shape)}: {error}",
            where=where,
            hint="they are [T, B, I], or [B, T, I] with batch_first",
        ) from error
    first = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(first, torch.Tensor):
        raise ConfigError(f"the teacher gives {type(first).__name__}, not a tensor", where=where)
    return first


def _fitting(
    said: torch.Tensor, count: int, length: int, *, every: bool, where: str
) -> NDArray[np.float32]:
    """Answers ``[B, T, K]`` or ``[B, K]``, of the form that is wanted."""
    shape = list(said.shape)
    if said.ndim == 3 and shape[:2] == [count, length]:
        said = said if every else said[:, -1]
    elif every or said.ndim != 2 or shape[0] != count:
        wanted = f"[{length}, {count}, K]" + ("" if every else f" or [{count}, K]")
        raise ConfigError(
            f"the teacher answers {count} sequences of {length} positions with shape {shape}",
            where=where,
            hint=f"it is to be {wanted}"
            + ('; for one answer a sequence: readout = "last"' if every else ""),
        )
    rows = said.to(torch.float32).numpy()
    if not np.isfinite(rows).all():
        raise ConfigError("the teacher's answers are not all finite", where=where)
    return np.asarray(rows)
