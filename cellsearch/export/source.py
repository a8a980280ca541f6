"""Readable PyTorch source of a cell: one step as a module, and a layer over time that is called
like ``torch.nn.LSTM``.

The file imports torch only. Its named values are those of the equations, and its state dict has the
keys of :func:`cellsearch.compiler.compile_cell`, so trained weights load with ``strict=True``.
"""

from __future__ import annotations

import json
import keyword
import re
from importlib.resources import files
from typing import Literal

from cellsearch.compiler.weights import gate_start, live_parameters
from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.export.beside import beside_fields, not_for_script, without_script
from cellsearch.export.expressions import Expressions, Names, is_dense, number
from cellsearch.export.front import is_projected, projected_template
from cellsearch.export.sized import (
    Named,
    check_bound,
    cut_helpers,
    has_other_sizes,
    size_text,
    sized_template,
)
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import (
    ParameterSpec,
    Sizes,
    check_sizes,
    requires_square,
)

__all__ = ["PRECISIONS", "Precision", "docstring_text", "to_source"]

Precision = Literal["float32", "float16", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "bfloat16", "int8")

_TAKEN = frozenset(
    {
        "Integers",
        "PackedSequence",
        "Weights",
        "Tensor",
        "functional",
        "nn",
        "pad_packed_sequence",
        "torch",
    }
)
_HELPERS = """

class Weights(nn.Module):
    \"""The weights of a node by name.\"""

    def __init__(self, **weights: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, weight in weights.items():
            setattr(self, name, weight)


class Integers(nn.Module):
    \"""A weight [rows, columns] in 8 bits, one scale a row; of a [..., columns]: a @ weight.T.\"""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.register_buffer("integers", torch.zeros(rows, columns, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(rows))

    def forward(self, a: Tensor) -> Tensor:
        \"""Multiply by the integers, then by the scales.\"""
        return a @ self.integers.to(a.dtype).T * self.scale
"""
_WIDTH = 140
_LARGEST = 65504  # number of float16
_STEP = {"dt": "the time dt [B, 1]", "mask": "the mask [B, I]"}


@checked_arguments
def to_source(
    genome: Genome,
    *,
    class_name: str = "Recurrent",
    input_size: int | None = None,
    hidden_size: int | None = None,
    num_layers: int = 1,
    batch_first: bool = False,
    dropout: float = 0.0,
    bidirectional: bool = False,
    doc: str = "",
    weights: str = "",
    precision: Precision = "float32",
    sizes: Named | None = None,
    resets: bool = False,
    project_input: bool = False,
) -> str:
    """A Python file with the classes ``<class_name>Cell`` (one step) and ``<class_name>`` (over
    time).

    The sizes and options become the defaults of the constructor (sizes left out have none).
    ``doc``: what the docstring says about the cell and where it comes from; ``weights``: name of
    the file of weights beside it, which must be in ``precision``
    (:func:`cellsearch.export.weights.in_precision`). 16-bit numbers become the default dtype of the
    layer; with ``"int8"`` dense weights are 8-bit integers with one scale a row (Krishnamoorthi
    2018, arXiv 1806.08342, section 3), everything else is float32. ``sizes``: what the names of
    sizes stand for, as ``compile_cell`` takes them. ``resets``: whether the layer takes
    ``reset=`` although its cell reads x alone; torch.jit.script cannot read it then.
    ``project_input``: whether a layer of a cell that reads x elementwise, and whose input is not as
    wide as H, has a matrix and a bias in front, as ``compile_cell`` makes it. Raises
    :class:`ConfigError` for a class name that is none, and for integers behind a projection, and
    :class:`GenomeError` where the cell needs ``input_size = hidden_size`` and the sizes differ.
    """
    _check_class_name(class_name)
    check_bound(genome, sizes)
    projects = is_projected(genome, project_input=project_input)
    if projects and precision == "int8":
        raise ConfigError(
            "a layer whose input is projected is not written in 8-bit integers",
            hint="float16 and bfloat16 can be had",
        )
    if input_size is not None and hidden_size is not None:
        check_sizes(genome, Sizes(hidden_size if projects else input_size, hidden_size, sizes))
    template = (files(__name__.rpartition(".")[0]) / "layer.py.txt").read_text(encoding="utf-8")
    unread = not_for_script(genome, resets=resets, projects=projects)
    template = sized_template(without_script(template, unread), genome, sizes)
    template = projected_template(template) if projects else template
    arguments = "".join(
        f"        {name}: int{'' if size is None else f' = {size}'},\n"
        for name, size in _sizes(input_size, hidden_size)
    )
    scripted = _scripted(genome, class_name)
    fields = {
        "DOC": _docstring(genome, class_name, doc, weights, input_size, hidden_size, precision),
        "HELPERS": (_HELPERS if precision == "int8" else "") + cut_helpers(genome),
        "DTYPE": f"torch.{precision}" if precision in ("float16", "bfloat16") else "None",
        "CELL": _cell(genome, class_name, sizes, integers=precision == "int8"),
        "CLASS": class_name,
        "SIZES": arguments,
        "NUM_LAYERS": repr(int(num_layers)),
        "BATCH_FIRST": repr(bool(batch_first)),
        "DROPOUT": repr(float(dropout)),
        "BIDIRECTIONAL": repr(bool(bidirectional)),
        "N_STATES": str(len(genome.states)),
        "INITIAL": _tuple([number(state.initial) for state in genome.states]),
        "STATES": ", ".join(genome.state_names),
        "SQUARE": "" if projects else _square_check(genome),
        **scripted,
        **beside_fields(genome, scripted["HX"], unread, resets=resets),
    }
    return re.sub(r"@([A-Z_]+)@", lambda match: fields[match[1]], template)


def _sizes(input_size: int | None, hidden_size: int | None) -> list[tuple[str, int | None]]:
    """Sizes with defaults; one without cannot follow one with."""
    return [
        ("input_size", input_size if hidden_size is not None else None),
        ("hidden_size", hidden_size),
    ]


def _check_class_name(name: str) -> None:
    legal = (
        name.isascii()
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and not keyword.issoftkeyword(name)
    )
    if not legal or name.startswith("_") or name in _TAKEN or f"{name}Cell" in _TAKEN:
        raise ConfigError(
            f"{name!r} cannot name a class of the exported file",
            hint="for example --class-name Recurrent",
        )


def _docstring(
    genome: Genome,
    class_name: str,
    doc: str,
    weights: str,
    input_size: int | None,
    hidden_size: int | None,
    precision: Precision,
) -> str:
    lines = [
        "A recurrent cell, one step and over time, in plain PyTorch. Exported by cellsearch.",
        "",
    ]
    lines += [
        "Equations, one step:",
        "",
        *(f"    {line}" for line in genome.to_text().splitlines()),
        "",
    ]
    if doc.strip():
        lines += [*doc.strip().splitlines(), ""]
    if precision in ("float16", "bfloat16"):
        lines += [f"Weights, input, states and output are {precision}.", ""]
    elif precision == "int8":
        lines += [
            "Dense weights are 8-bit integers with one scale a row, everything else is "
            "float32. For inference only.",
            "",
        ]
    sizes = f"input_size={input_size or 8}, hidden_size={hidden_size or 8}"
    lines += ["Use:", "", f"    layer = {class_name}({sizes})"]
    if weights:
        if weights.endswith(".safetensors"):
            lines.append(
                f"    layer.load_state_dict(safetensors.torch.load_file({_quoted(weights)}))"
            )
        else:
            lines.append(
                f"    layer.load_state_dict(torch.load({_quoted(weights)}, weights_only=True))"
            )
    final = ", ".join(genome.state_names)
    dtype = f", dtype=torch.{precision}" if precision in ("float16", "bfloat16") else ""
    lines.append(
        f"    output, {f'({final})' if len(genome.states) > 1 else final} = "
        f"layer(torch.randn(20, 4, {input_size or 8}{dtype}))"
    )
    return "\n".join(docstring_text(line) for line in lines)


def docstring_text(line: str) -> str:
    """Text that cannot end the docstring that it stands in, nor break its line."""
    line = "".join(c if c.isprintable() else " " for c in line)
    return line.replace("\\", "/").replace('"""', "'''").rstrip()


def _quoted(name: str) -> str:
    return json.dumps(name)


def _square_check(genome: Genome) -> str:
    if not requires_square(genome):
        return ""
    return (
        "\n        if input_size != hidden_size or (bidirectional and num_layers > 1):"
        '\n            raise ValueError("this cell needs input_size = hidden_size in every layer")'
    )


def _cell(genome: Genome, class_name: str, named: Named | None, *, integers: bool) -> str:
    names = Names(genome, integers=integers)
    states = f"{class_name}States"
    given = "".join(f", {_STEP[name]}" for name in genome.inputs[1:])
    more = "".join(f", {name}: Tensor" for name in genome.inputs[1:])
    other = has_other_sizes(genome)
    shapes = "as wide as they are -> output" if other else "[B, H] each -> output [B, H]"
    previous = [names.of(k) for k in range(len(genome.inputs), genome.first_node)]
    lines = [
        f"class {class_name}Cell(nn.Module):",
        f'    """One step: x [B, I]{given} and the states ({", ".join(genome.state_names)}) '
        f'{shapes}, next states."""',
        "",
        "    def __init__(self, input_size: int, hidden_size: int) -> None:",
        "        super().__init__()",
        *(_integer_weights if integers else _weights)(genome, names, named),
        "        self.reset_parameters(hidden_size)",
        "",
        "    def reset_parameters(self, hidden_size: int) -> None:",
        '        """Uniform in +-1/sqrt(H), as in torch.nn.LSTM; gates of connections '
        '(scale) start at a constant."""',
        "        bound = hidden_size**-0.5",
        "        for weight in self.parameters():",
        "            nn.init.uniform_(weight, -bound, bound)",
        *(
            f"        nn.init.constant_({names.weight(spec)}, {number(start)})"
            for spec in live_parameters(genome)
            if not spec.shape
            for start in (gate_start(genome)[spec.name],)
        ),
        "",
        *_train(genome),
        *_not_for_script(names),
        f"    def forward(self, x: Tensor, states: {states}{more}) -> tuple[Tensor, {states}]:",
        '        """Compute one step."""',
        f"        {_unpacked(previous)} = states",
        *(f"        {line}" for line in Expressions(genome, names).statements()),
    ]
    return "\n".join(lines)


def _scripted(genome: Genome, class_name: str) -> dict[str, str]:
    """What the layer for torch.jit.script says of each state: tuples have a fixed length there."""
    count = range(len(genome.states))

    def each(indent: int, name: str, text: str) -> str:
        return _assigned(indent, name, [text.format(k) for k in count])

    one = len(genome.states) == 1
    return {
        "HX": "Tensor" if one else f"{class_name}States",
        "STATES_TYPE": f"tuple[{', '.join('Tensor' for _ in count)}]",
        "FRESH": _assigned(8, "given", [_fresh(state.initial) for state in genome.states]),
        "GIVEN": "(hx,)" if one else "hx",
        "UNSQUEEZED": each(16, "given", "given[{}].unsqueeze(1)"),
        "ROW": each(12, "states", "given[{}][row]"),
        "EXPANDED": each(16, "states", "new[{}].expand(shape[1:])"),
        "STACKED": each(8, "last", "torch.stack([final[{}] for final in finals])"),
        "SQUEEZED": each(8, "last", "last[{}].squeeze(1)"),
        "RETURNED": "last[0]" if one else "last",
    }


def _assigned(indent: int, name: str, parts: list[str]) -> str:
    """A statement that makes a tuple, one part a line where it is long."""
    before = " " * indent
    line = f"{before}{name} = {_tuple(parts)}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join(
        [f"{before}{name} = (", *(f"{before}    {part}," for part in parts), f"{before})"]
    )


def _fresh(initial: float) -> str:
    """A state that starts so, not beyond the range of its dtype."""
    if abs(initial) <= _LARGEST:
        return f"x.new_full(shape, {number(initial)})"
    return (
        f"torch.full(shape, {number(initial)}, dtype=torch.float64, device=x.device)"
        ".to(x.dtype).nan_to_num()"
    )


def _weights(genome: Genome, names: Names, named: Named | None) -> list[str]:
    owners: dict[str, list[ParameterSpec]] = {}
    for spec in live_parameters(genome):
        owners.setdefault(spec.name.partition(".")[0], []).append(spec)
    lines = []
    for owner, specs in owners.items():
        lines.append(f"        {names.owner(owner)} = nn.ParameterDict(")
        lines.append("            {")
        for spec in specs:
            sizes = _tuple([size_text(width, named) for width in spec.shape])
            lines.append(f'                "{spec.name.partition(".")[2]}": torch.empty({sizes}),')
        lines += ["            }", "        )"]
    return lines


def _integer_weights(genome: Genome, names: Names, named: Named | None) -> list[str]:
    """The same as :func:`_weights` with dense weights as integers."""
    owners: dict[str, list[ParameterSpec]] = {}
    for spec in live_parameters(genome):
        owners.setdefault(spec.name.partition(".")[0], []).append(spec)
    lines = []
    for owner, specs in owners.items():
        lines.append(f"        {names.owner(owner)} = Weights(")
        for spec in specs:
            sizes = _tuple([size_text(width, named) for width in spec.shape])
            weight = f"Integers{sizes}" if is_dense(spec) else f"nn.Parameter(torch.empty({sizes}))"
            lines.append(f"            {spec.name.partition('.')[2]}={weight},")
        lines.append("        )")
    return lines


def _train(genome: Genome) -> list[str]:
    """A node may be called ``training``, which torch uses for the mode."""
    if not any(spec.name.startswith("training.") for spec in live_parameters(genome)):
        return []
    return [
        "    def train(self, mode: bool = True):",
        '        """Set the mode of the children only: one of them is called training."""',
        "        for child in self.children():",
        "            child.train(mode)",
        "        return self",
        "",
    ]


def _not_for_script(names: Names) -> list[str]:
    """A node of a name that torch uses itself is reached in a way that scripts do not know."""
    owners = {spec.name.partition(".")[0] for spec in names.weights.values()}
    taken = sorted(owner for owner in owners if names.owner(owner) != f"self.{owner}")
    if not taken:
        return []
    return [
        "    def __prepare_scriptable__(self):",
        '        """What torch.jit.script asks for first."""',
        f'        raise RuntimeError("torch.jit.script cannot read a cell whose nodes are called '
        f'{", ".join(taken)}, as parts of a module are: export it with other names")',
        "",
    ]


def _tuple(parts: list[str]) -> str:
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _unpacked(names: list[str]) -> str:
    return f"({names[0]},)" if len(names) == 1 else ", ".join(names)
