"""Weights between compiled cells and ``torch.nn.LSTM`` / ``torch.nn.GRU``, both ways.

torch stacks its gates in one matrix (LSTM: i, f, g, o; GRU: r, z, n) and keeps two biases a gate.
Where only their sum counts, it is loaded as one bias and goes back as ``bias_ih``, with ``bias_hh =
0``; the candidate n of the GRU needs both, as ``n.bias`` and ``m.bias``. An LSTM with ``proj_size``
is the cell :data:`PROJECTED`, whose size P it is; ``weight_hr`` is its ``h.weight_0``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from cellsearch import zoo
from cellsearch.compiler.lower import lower
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.compiler.program import Program
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.genome.graph import Genome

__all__ = ["PROJECTED", "load_torch_gru", "load_torch_lstm", "to_torch_gru", "to_torch_lstm"]

PROJECTED = """
i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1]))
c[t] = f * c[t-1] + i * g
h[t] = linear(o * tanh(c[t]), bias=False, size=P)
"""
"""The LSTM with a projection, Sak et al. 2014 (arXiv 1402.1128), as torch.nn.LSTM has it."""

_Torch = TypeVar("_Torch", nn.LSTM, nn.GRU)


@dataclass(frozen=True)
class _Layout:
    """How torch stacks a cell: the zoo cell of the same function, and for each gate its (input,
    hidden) weights and biases.

    ``gates``: name of the node with the input weight, of the node with the hidden weight; equal
    where one bias serves both.
    """

    cell: str
    gates: tuple[tuple[str, str], ...]
    text: str = ""
    """Of a cell that is not in the zoo."""

    @property
    def title(self) -> str:
        """What an error calls the cell."""
        return "the LSTM with a projection" if self.text else f"the zoo's {self.cell}"

    @property
    def genome(self) -> Genome:
        """The cell."""
        return Genome.from_text(self.text) if self.text else zoo.load(self.cell)


_LSTM = _Layout("lstm", (("i", "i"), ("f", "f"), ("g", "g"), ("o", "o")))
_LSTMP = _Layout("lstm", _LSTM.gates, PROJECTED)
_GRU = _Layout("gru", (("r", "r"), ("z", "z"), ("n", "m")))


@checked_arguments
def load_torch_lstm(
    module: nn.LSTM | CellModule, torch_lstm: nn.LSTM | None = None, *, backend: str = "auto"
) -> CellModule:
    """The function and weights of a ``torch.nn.LSTM`` as a compiled cell.

    ``load_torch_lstm(lstm)`` compiles the zoo's LSTM with the same sizes, arguments, device and
    dtype; ``load_torch_lstm(module, lstm)`` copies into a compiled LSTM that is there already
    (``backend`` is then not looked at). With ``proj_size`` the cell is :data:`PROJECTED`. Returns
    the compiled module. Raises :class:`ConfigError` for another cell, or other sizes.
    """
    given = module if torch_lstm is None else torch_lstm
    layout = _LSTMP if isinstance(given, nn.LSTM) and given.proj_size else _LSTM
    return _load(layout, nn.LSTM, module, torch_lstm, backend)


@checked_arguments
def load_torch_gru(
    module: nn.GRU | CellModule, torch_gru: nn.GRU | None = None, *, backend: str = "auto"
) -> CellModule:
    """The function and weights of a ``torch.nn.GRU`` as a compiled cell; see
    :func:`load_torch_lstm`.
    """
    return _load(_GRU, nn.GRU, module, torch_gru, backend)


def to_torch_lstm(module: CellModule) -> nn.LSTM:
    """A ``torch.nn.LSTM`` with the function and weights of a compiled LSTM, its sizes, arguments,
    device and dtype.

    Raises :class:`ConfigError` if the module runs another cell than the zoo's ``lstm`` or
    :data:`PROJECTED` (names of the nodes included).
    """
    return _export(_LSTMP if module.genome.sized else _LSTM, nn.LSTM, module)


def to_torch_gru(module: CellModule) -> nn.GRU:
    """A ``torch.nn.GRU`` with the function and weights of a compiled GRU; see
    :func:`to_torch_lstm`.
    """
    return _export(_GRU, nn.GRU, module)


def _load(
    layout: _Layout, kind: type[_Torch], module: nn.Module, source: _Torch | None, backend: str
) -> CellModule:
    given = module if source is None else source
    if not isinstance(given, kind):
        raise ConfigError(f"expected a torch.nn.{kind.__name__}, not a {type(given).__name__}")
    target = module if source is not None else _compile(layout, given, backend)
    if not isinstance(target, CellModule):
        raise ConfigError(
            f"expected a compiled cell as the first argument, not a {type(target).__name__}"
        )
    _check_cell(layout, target.genome)
    for name in ("input_size", "hidden_size", "num_layers", "bidirectional", "proj_size"):
        if getattr(target, name) != getattr(given, name):
            raise ConfigError(
                f"{name} is {getattr(target, name)} in the cell and "
                f"{getattr(given, name)} in torch.nn.{kind.__name__}"
            )
    weights = dict(target.named_parameters())
    with torch.no_grad():
        for name, value in _from_torch(layout, given).items():
            weights[name].copy_(value)
    return target


def _compile(layout: _Layout, source: nn.LSTM | nn.GRU, backend: str) -> CellModule:
    weight = next(source.parameters())
    return compile_cell(
        layout.genome,
        input_size=source.input_size,
        hidden_size=source.hidden_size,
        num_layers=source.num_layers,
        batch_first=source.batch_first,
        dropout=source.dropout,
        bidirectional=source.bidirectional,
        sizes={"P": source.proj_size} if source.proj_size else None,
        backend=backend,
        device=weight.device,
        dtype=weight.dtype,
    ).train(source.training)


def _export(layout: _Layout, kind: type[_Torch], module: CellModule) -> _Torch:
    _check_cell(layout, module.genome)
    weight = next(module.parameters())
    made = kind(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        batch_first=module.batch_first,
        dropout=module.dropout if module.num_layers > 1 else 0.0,
        bidirectional=module.bidirectional,
        device=weight.device,
        dtype=weight.dtype,
        **({"proj_size": module.output_size} if layout.text else {}),
    )
    with torch.no_grad():
        for name, value in _to_torch(layout, module).items():
            getattr(made, name).copy_(value)
    return made.train(module.training)


def _suffixes(bidirectional: bool) -> tuple[str, ...]:
    return ("", "_reverse") if bidirectional else ("",)


def _from_torch(layout: _Layout, source: nn.LSTM | nn.GRU) -> dict[str, Tensor]:
    """Torch's weights under the names that the compiled cell gives them."""
    found: dict[str, Tensor] = {}
    weights: Mapping[str, Tensor] = source.state_dict()
    for layer in range(source.num_layers):
        for suffix in _suffixes(source.bidirectional):
            parts = {
                part: weights[f"{part}_l{layer}{suffix}"].chunk(len(layout.gates))
                if f"{part}_l{layer}{suffix}" in weights
                else [torch.zeros(source.hidden_size)] * len(layout.gates)  # bias=False
                for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            for k, (x_node, h_node) in enumerate(layout.gates):
                prefix = f"l{layer}{suffix}."
                found[f"{prefix}{x_node}.weight_x"] = parts["weight_ih"][k]
                found[f"{prefix}{h_node}.weight_h"] = parts["weight_hh"][k]
                if x_node == h_node:
                    found[f"{prefix}{x_node}.bias"] = parts["bias_ih"][k] + parts["bias_hh"][k]
                else:
                    found[f"{prefix}{x_node}.bias"] = parts["bias_ih"][k]
                    found[f"{prefix}{h_node}.bias"] = parts["bias_hh"][k]
            if source.proj_size:
                found[f"l{layer}{suffix}.h.weight_0"] = weights[f"weight_hr_l{layer}{suffix}"]
    return found


def _to_torch(layout: _Layout, module: CellModule) -> dict[str, Tensor]:
    """The compiled cell's weights under torch's names."""
    found: dict[str, Tensor] = {}
    for name, layer in module.layers():
        weights = layer.weights()
        suffix = f"_{name}"
        zero = torch.zeros_like(weights[f"{layout.gates[0][0]}.bias"])
        found[f"weight_ih{suffix}"] = torch.cat([weights[f"{x}.weight_x"] for x, _ in layout.gates])
        found[f"weight_hh{suffix}"] = torch.cat([weights[f"{h}.weight_h"] for _, h in layout.gates])
        found[f"bias_ih{suffix}"] = torch.cat([weights[f"{x}.bias"] for x, _ in layout.gates])
        found[f"bias_hh{suffix}"] = torch.cat(
            [zero if x == h else weights[f"{h}.bias"] for x, h in layout.gates]
        )
        if layout.text:
            found[f"weight_hr{suffix}"] = weights["h.weight_0"]
    return found


def _check_cell(layout: _Layout, genome: Genome) -> None:
    """The genome must compute the zoo cell's function with equally named weights; order of
    statements and operands is free.
    """
    numbers: dict[object, int] = {}
    if _meaning(simplify_program(lower(genome)), numbers) != _meaning(
        simplify_program(lower(layout.genome)), numbers
    ):
        raise ConfigError(
            f"the cell is not {layout.title} with its names, so torch's "
            "weights have no place in it",
            hint="compile cellsearch.compiler.torch_rnn.PROJECTED"
            if layout.text
            else f'compile cellsearch.zoo.load("{layout.cell}")',
        )


def _meaning(program: Program, numbers: dict[object, int]) -> tuple[object, ...]:
    """What a program computes: names of weights count, numbering and order of sums and products do
    not.

    ``numbers`` gives each different computation a number; programs that share it can be compared.
    """

    def number(computation: object) -> int:
        return numbers.setdefault(computation, len(numbers))

    known = [number(name) for name in program.names[: program.first]]
    terms: dict[int, list[int]] = {}  # of sums and products, flattened
    for value, instruction in program.numbered():
        operands = [known[v] for v in instruction.inputs]
        if instruction.op in ("add", "mul"):
            flat: list[int] = []
            for v in instruction.inputs:
                below = program.instruction(v)
                flat += terms[v] if below is not None and below.op == instruction.op else [known[v]]
            terms[value] = operands = sorted(flat)
        known.append(
            number((instruction.op, instruction.parameter, instruction.value, tuple(operands)))
        )
    return (program.states, tuple(known[v] for v in program.next_states), known[program.output])
