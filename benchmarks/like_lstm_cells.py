"""Cells of ``benchmarks/like_lstm.py --cells``, one for each part of the wider language, and a
plain layer that says what each check has to give.

The plain layer has the step of the exported source and, written here a second time, all around it:
layers, directions, packed sequences, times, masks, resets, projections. The checks are written for
two states as wide as h; hooks before and after each call turn these into the states of the cell.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cellsearch import Genome, compile_cell, zoo
from cellsearch.export.source import to_source

__all__ = ["CASES", "Case", "Law", "RefusedByLaw", "law_maker", "spoken"]

HEADS = """
i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
c[t] = f * c[t-1] + i * g
h[t] = 0.1 * tanh(head_norm(c[t], 2)) * i
"""
"""Two units a head: the norm of two close numbers magnifies rounding up to 300 times, so h is
small.
"""
ELEMENTWISE = """
z = sigmoid(linear(x[t], h[t-1]))
h[t] = blend(z, h[t-1], tanh(x[t] + linear(h[t-1])))
"""


@dataclass(frozen=True)
class Case:
    """A cell, how it is compiled, and what a call is given beside x."""

    part: str
    what: str
    genome: Callable[[], Genome]
    given: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def exported(self) -> dict[str, Any]:
        """What source and package are told beside the cell."""
        return {**self.options, **({"resets": True} if "reset" in self.given else {})}


def _two_blocks() -> Genome:
    """``gru_dreamer`` with the blocks that divide the 4 units of the checks."""
    text = zoo.load("gru_dreamer").to_text()
    assert "blocks=8" in text
    return Genome.from_text(text.replace("blocks=8", "blocks=2"))


CASES = {
    case.part: case
    for case in (
        Case("dt, mask", "gru_dh", lambda: zoo.load("gru_dh"), ("dt", "mask")),
        Case("reset", "lstm", lambda: zoo.load("lstm"), ("reset",)),
        Case("all given", "gru_dh", lambda: zoo.load("gru_dh"), ("dt", "mask", "reset")),
        Case("size=", "lstmp", lambda: zoo.load("lstmp")),
        Case("blocks=", "gru_dreamer, 2 blocks", _two_blocks),
        Case("head_norm", "an LSTM with 2 heads", lambda: Genome.from_text(HEADS)),
        Case("rotate", "rotrnn", lambda: zoo.load("rotrnn")),
        Case("delay", "dilated_rnn", lambda: zoo.load("dilated_rnn")),
        Case(
            "conv",
            "mingru_conv, project_input",
            lambda: zoo.load("mingru_conv"),
            options={"project_input": True},
        ),
        Case(
            "project_input",
            "a cell that reads x elementwise",
            lambda: Genome.from_text(ELEMENTWISE),
            options={"project_input": True},
        ),
    )
}


class RefusedByLaw(Exception):
    """What torch.nn.LSTM takes and a cell cannot: ``bias=False``, ``proj_size``."""


def beside(x: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Times, masks and resets for x ``[..., I]``, from the signs of its numbers: the same however
    x is laid out, and constant where x is varied.
    """
    values = {
        "dt": lambda: torch.where(x[..., 0] > 0, 0.5, 1.5).to(x.dtype),
        "mask": lambda: (x > -0.5).to(x.dtype),
        "reset": lambda: x[..., -1] > 0.5,
    }
    return {name: values[name]() for name in names}


# -- the plain layer -------------------------------------------------------------------------------


@cache
def source_of(part: str) -> Any:
    """The exported source of a case's cell as a module, which pickle and inspect find."""
    case, name = CASES[part], f"like_lstm_source_{list(CASES).index(part)}"
    text, home = to_source(case.genome(), **case.exported), ModuleType(name)
    linecache.cache[f"<{name}>"] = (len(text), None, text.splitlines(keepends=True), f"<{name}>")
    sys.modules[name] = home
    exec(compile(text, f"<{name}>", "exec"), vars(home))  # noqa: S102 our own
    return home


@cache
def widths(part: str, hidden: int) -> tuple[tuple[int, ...], int]:
    """Widths of the states and of the output."""
    case = CASES[part]
    with torch.device("cpu"):
        layer = compile_cell(case.genome(), 3, hidden, backend="reference", **case.options)
    return layer.state_sizes, layer.output_size


class Law(nn.Module):
    """A cell over sequences, a step at a time; arguments, shapes and names of weights as in
    ``compile_cell``, ``dt``, ``mask`` and ``reset`` laid out as x.
    """

    def __init__(
        self,
        part: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if not bias or proj_size:
            raise RefusedByLaw("bias, proj_size")
        self.part, self.input_size, self.hidden_size = part, input_size, hidden_size
        self.num_layers, self.bias = num_layers, True
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.state_sizes, self.output_size = widths(part, hidden_size)
        self.proj_size = self.output_size if self.output_size != hidden_size else 0
        self.suffixes = ("", "_reverse")[: 1 + bidirectional]
        width = input_size
        for k in range(num_layers):
            projected = CASES[part].options.get("project_input") and width != hidden_size
            for suffix in self.suffixes:
                if projected:
                    front = nn.Linear(width, hidden_size)
                    self.add_module(f"l{k}{suffix}_projection", front)
                read = hidden_size if projected else width
                cell = source_of(part).RecurrentCell(read, hidden_size)
                self.add_module(f"l{k}{suffix}", cell)
            width = self.output_size * len(self.suffixes)
        self.to(device=device, dtype=dtype)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights of each layer and direction, with those of the matrix in front."""
        parts: dict[str, list[Tensor]] = {}
        for name, module in self.named_children():
            parts.setdefault(name.removesuffix("_projection"), []).extend(module.parameters())
        return [*parts.values()]

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for weight in self.parameters():
            nn.init.uniform_(weight, -0.5, 0.5)

    def flatten_parameters(self) -> None:
        """Nothing to do."""

    def forward(self, input: Any, hx: Any = None, **given: Any) -> tuple[Any, Any]:
        """Outputs and states."""
        weight = next(self.parameters())
        if weight.dtype != torch.float64 and torch.is_autocast_enabled("cpu"):
            low = torch.get_autocast_dtype("cpu")
            with torch.autocast("cpu", enabled=False):
                found = self._called(*_cast((input, hx, given), weight.dtype))
                return _cast(found, low)
        return self._called(input, hx, given)

    def _called(self, input: Any, hx: Any, given: dict[str, Any]) -> tuple[Any, Any]:
        """Packed or not, a state or several."""
        states = None if hx is None else [hx] if isinstance(hx, Tensor) else list(hx)
        if isinstance(input, PackedSequence):
            output, final = self._packed(input, states, given)
        else:
            output, final = self._laid_out(input, states, given)
        return output, final[0] if len(final) == 1 else tuple(final)

    @torch.compiler.disable
    def _packed(self, x: PackedSequence, states: Any, given: Any) -> tuple[Any, list[Tensor]]:
        """Each sequence alone; ``rows[b][t]`` is where step t of sequence b lies."""
        starts = [0, *torch.cumsum(x.batch_sizes, 0).tolist()]
        order = range(starts[1]) if x.sorted_indices is None else x.sorted_indices.tolist()
        rows = {
            b: [starts[t] + place for t, n in enumerate(x.batch_sizes.tolist()) if place < n]
            for place, b in enumerate(order)
        }
        parts, finals = {}, {}
        for b, at in rows.items():
            own = {name: value.data[at][:, None] for name, value in given.items()}
            mine = states and [s[:, b : b + 1] for s in states]
            parts[b], finals[b] = self._run(x.data[at][:, None], mine, own)
        back = torch.argsort(torch.tensor([row for b in parts for row in rows[b]]))
        data = torch.cat([part[:, 0] for part in parts.values()])[back]
        rows_of_states = zip(*(finals[b] for b in sorted(finals)), strict=True)
        final = [torch.cat(found, 1) for found in rows_of_states]
        return x._replace(data=data), final

    def _laid_out(self, x: Tensor, states: Any, given: Any) -> tuple[Tensor, list[Tensor]]:
        """With and without a batch, either first."""
        if x.dim() == 2:
            x, given = x[:, None], {name: value[:, None] for name, value in given.items()}
            states = states and [s[:, None] for s in states]
            output, final = self._run(x, states, given)
            return output[:, 0], [s[:, 0] for s in final]
        if self.batch_first:
            x, given = x.transpose(0, 1), {k: v.transpose(0, 1) for k, v in given.items()}
        output, final = self._run(x, states, given)
        return output.transpose(0, 1) if self.batch_first else output, final

    def _run(self, x: Tensor, states: Any, given: Any) -> tuple[Tensor, list[Tensor]]:
        """``x [T, B, I]`` through all layers."""
        if states is None:
            count = self.num_layers * len(self.suffixes)
            states = [x.new_zeros(count, x.shape[1], width) for width in self.state_sizes]
        finals = []
        for k in range(self.num_layers):
            if k and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            beside_x = {**given, "mask": torch.ones_like(x)} if k and "mask" in given else given
            outputs = []
            for d, suffix in enumerate(self.suffixes):
                first = [s[k * len(self.suffixes) + d] for s in states]
                cell = self.get_submodule(f"l{k}{suffix}")
                front = getattr(self, f"l{k}{suffix}_projection", nn.Identity())
                output, last = _along(cell, front(x), first, beside_x, backward=bool(d))
                outputs.append(output)
                finals.append(last)
            x = torch.cat(outputs, -1)
        return x, [torch.stack(parts) for parts in zip(*finals, strict=True)]


def _along(
    cell: nn.Module, x: Tensor, states: Any, given: Any, *, backward: bool
) -> tuple[Tensor, list[Tensor]]:
    """One cell over time. Backwards a step is entered from the one after it: the time and the reset
    are those of that one; the first step made has the first time, and no reset.
    """
    steps, outputs = range(len(x)), {}
    for t in reversed(steps) if backward else steps:
        before = (t + 1) % len(x) if backward else t
        if "reset" in given and not (backward and t + 1 == len(x)):
            fresh = given["reset"][before][:, None]
            states = [torch.where(fresh, 0.0, s) for s in states]
        more = [given["dt"][before][:, None]] if "dt" in given else []
        more += [given["mask"][t]] if "mask" in given else []
        outputs[t], states = cell(x[t], tuple(states), *more)
    return torch.stack([outputs[t] for t in steps]), list(states)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating numbers in another dtype, in all parts."""
    if isinstance(value, PackedSequence):
        return value._replace(data=_cast(value.data, dtype))
    if isinstance(value, dict):
        return {name: _cast(part, dtype) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_cast(part, dtype) for part in value)
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(dtype) if floating else value


# -- hooks -----------------------------------------------------------------------------------------


class Before:
    """Before a call: what is given beside x, and the cell's states from those of the check."""

    def __init__(self, given: tuple[str, ...], sizes: tuple[int, ...]) -> None:
        self.given, self.sizes = given, sizes

    def __call__(self, layer: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """New arguments."""
        kwargs = dict(kwargs)
        x = args[0] if args else kwargs.get("input")
        tensor = x.data if isinstance(x, PackedSequence) else x
        if self.given and isinstance(tensor, Tensor) and tensor.dim():
            more = beside(tensor, self.given)
            packed = isinstance(x, PackedSequence)
            kwargs |= {k: x._replace(data=v) if packed else v for k, v in more.items()}
        if len(args) > 1 and args[1] is not None:
            args = (args[0], self.states(args[1]), *args[2:])
        elif kwargs.get("hx") is not None:
            kwargs["hx"] = self.states(kwargs["hx"])
        return args, kwargs

    def states(self, given: Any) -> Any:
        """The cell's own states from two: those of a call before, or numbers as wide as 4, where a
        check has made them a little wider or narrower so are these.
        """
        first, second = given
        if (first.shape[-1], second.shape[-1]) == (
            self.sizes[0],
            sum(self.sizes[1:]) or self.sizes[0],
        ):
            made = [first, *(second.split(self.sizes[1:], -1) if self.sizes[1:] else ())]
        else:
            odd = [s for s in (first, second) if s.shape[-1] != 4]
            made = []
            for k, size in enumerate(self.sizes):
                s = odd[0] if odd else (first, second)[k % 2]
                made.append(torch.cat([s, s], -1)[..., : size + s.shape[-1] - 4])
        return made[0] if len(made) == 1 else tuple(made) if isinstance(given, tuple) else made


class After:
    """After a call: two states, the first and all others side by side."""

    def __call__(self, layer: nn.Module, args: Any, result: Any) -> Any:
        """Output and two states."""
        output, states = result
        if isinstance(states, Tensor):
            return output, (states, states)
        return output, (states[0], torch.cat(states[1:], -1))


def spoken(layer: nn.Module, part: str) -> nn.Module:
    """The layer, called as the checks call a torch.nn.LSTM."""
    sizes, width = widths(part, layer.hidden_size)
    layer.battery_width = width
    layer.register_forward_pre_hook(Before(CASES[part].given, sizes), with_kwargs=True)
    layer.register_forward_hook(After())
    return layer


@cache
def _weights(part: str, *shape: Any) -> dict[str, Tensor]:
    """The weights of a case, the same in every form."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
        law = Law(part, *shape[:3], bidirectional=shape[3], dtype=torch.float32)
        for weight in law.parameters():
            weight.copy_(torch.rand(weight.shape, generator=generator) - 0.5)
        return {name: weight.detach().clone() for name, weight in law.state_dict().items()}


def law_maker(part: str, build: Callable[..., nn.Module] | None = None) -> Callable[..., nn.Module]:
    """What makes the plain layer of a case, or by ``build`` another form with its weights."""

    def make(*sizes: int, **options: Any) -> nn.Module:
        sizes = sizes or (3, 4, 2)
        layer = (build or (lambda *a, **k: Law(part, *a, **k)))(*sizes, **options)
        if not options.get("proj_size") and options.get("bias") is not False:
            with torch.random.fork_rng():
                shape = (layer.input_size, layer.hidden_size, layer.num_layers)
                layer.load_state_dict(_weights(part, *shape, layer.bidirectional))
        return spoken(layer, part)

    return make


def names(parts: str) -> Iterator[str]:
    """The cases that a text names: ``all``, or a part of a name."""
    return (part for part in CASES if parts == "all" or parts in part)
