"""What the exported source of a cell with sizes, blocks or heads has more than others: the numbers
that sizes stand for, states and an output that are not as wide as H, and the two helpers.
"""

from __future__ import annotations

from collections.abc import Mapping

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import output_width, size_names, state_widths
from cellsearch.genome.sizes import Width, base_of, ratio

__all__ = [
    "Named",
    "check_bound",
    "cut_helpers",
    "has_other_sizes",
    "size_text",
    "sized_template",
]

Named = Mapping[str, int | str]
"""What the names of sizes stand for, as ``compile_cell`` takes them."""

_BLOCKS = '''

def _blocks(a: Tensor, weight: Tensor) -> Tensor:
    """Each of the n equal parts of a times its matrix of weight [n, o, i]."""
    parts = a.reshape(a.shape[:-1] + (weight.shape[0], weight.shape[2]))
    product = torch.einsum("...ni,noi->...no", parts, weight)
    return product.reshape(a.shape[:-1] + (weight.shape[0] * weight.shape[1],))
'''
_HEADS = '''

def _head_norm(a: Tensor, heads: int) -> Tensor:
    """Layer norm of each of the equal parts of a."""
    width = a.shape[-1] // heads
    parts = a.reshape(a.shape[:-1] + (heads, width))
    return functional.layer_norm(parts, [width]).reshape(a.shape)
'''
_ROTATE = '''

def _rotate(a: Tensor, angle: Tensor) -> Tensor:
    """The pairs (a_2j, a_2j+1) turned by the angles."""
    even, odd, cos, sin = a[..., 0::2], a[..., 1::2], torch.cos(angle), torch.sin(angle)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
'''
_STATES = (
    (
        "        self.directions = 2 if bidirectional else 1\n",
        "        self.directions = 2 if bidirectional else 1\n"
        "        self.output_size, self.state_sizes = @OUTPUT_SIZE@, @STATE_SIZES@\n",
    ),
    (
        "width = input_size if layer == 0 else hidden_size * self.directions",
        "width = input_size if layer == 0 else self.output_size * self.directions",
    ),
    (
        '        """0: states are as wide as the output."""\n        return 0\n',
        '        """How wide the output is where it is not as wide as H, else 0."""\n'
        "        return self.output_size if self.output_size != self.hidden_size else 0\n",
    ),
    (
        "        shape = (self.num_layers * self.directions, x.shape[1], self.hidden_size)\n"
        "        if hx is None:",
        "        rows = self.num_layers * self.directions\n"
        "        shapes = [(rows, x.shape[1], size) for size in self.state_sizes]\n"
        "        if hx is None:",
    ),
    (
        "            return tuple(x.new_tensor(min(max(value, -largest), largest)).expand(shape) "
        "for value in @INITIAL@)\n",
        "            starts = [min(max(value, -largest), largest) for value in @INITIAL@]\n"
        "            return tuple(x.new_tensor(value).expand(shape) for value, shape in "
        "zip(starts, shapes, strict=True))\n",
    ),
    (
        "if len(states) != @N_STATES@ or any(tuple(state.shape) != shape for state in states):",
        "if [tuple(state.shape) for state in states] != shapes:",
    ),
    (
        "Expected @N_STATES@ hidden state(s) of size {shape}, got {[list(state.shape) for",
        "Expected @N_STATES@ hidden state(s) of sizes {shapes}, got {[list(state.shape) for",
    ),
    (
        "    @staticmethod\n    def _run(\n        cell: nn.Module,",
        "    def _run(\n        self, cell: nn.Module,",
    ),
    (
        "            n = sizes[t]\n            shape = states[0][:n].shape@STEP_GIVEN@\n",
        "            n = sizes[t]@STEP_GIVEN@\n",
    ),
    ("now.expand(shape), old[n:]", "now.expand(n, old.shape[1]), old[n:]"),
    (
        "functional.pad(output.expand(shape), ",
        "functional.pad(output.expand(n, self.output_size), ",
    ),
    (
        "    [num_layers * directions, B, H]; one state is passed and returned without a tuple. "
        "Returns (output [T, B, H * directions], states).",
        "    [num_layers * directions, B, size], as wide as state_sizes says; one state is passed "
        "and returned without a tuple.\n    Returns (output [T, B, output_size * directions], "
        "states).",
    ),
)


def size_text(width: Width, sizes: Named | None = None) -> str:
    """The number of a symbol, as an expression over ``input_size`` and ``hidden_size``. Raises
    :class:`ConfigError` for a name that is not bound.
    """
    base = base_of(width)
    if not base:
        return width
    text = {"I": "input_size", "H": "hidden_size"}.get(base, "")
    if not text:
        bound = (sizes or {}).get(base)
        if bound is None:
            raise ConfigError(
                f"the cell has the size {base}, which is not bound",
                hint=f"say how large it is: sizes={{'{base}': 32}}, or --size {base}=32",
            )
        text = str(bound) if isinstance(bound, int) else size_text(bound)
    factor = ratio(width, base)
    assert factor is not None
    if factor == 1:
        return text
    text = f"({text})" if " " in text else text
    text = f"{factor.numerator} * {text}" if factor.numerator != 1 else text
    return f"{text} // {factor.denominator}" if factor.denominator != 1 else text


def cut_helpers(genome: Genome) -> str:
    """The functions that block products, head norms and rotations call, as far as the cell has
    them.
    """
    nodes = [node for value, node in genome.numbered() if value in genome.live]
    blocks = _BLOCKS if any(node.blocks > 1 for node in nodes if node.attrs) else ""
    heads = _HEADS if any(node.op == "head_norm" for node in nodes) else ""
    return blocks + heads + (_ROTATE if any(node.op == "rotate" for node in nodes) else "")


def sized_template(template: str, genome: Genome, sizes: Named | None) -> str:
    """The template of a layer, for states and an output of the cell's sizes."""
    if not has_other_sizes(genome):
        return template
    states = [size_text(width, sizes) for width in state_widths(genome)]
    listed = f"({states[0]},)" if len(states) == 1 else f"({', '.join(states)})"
    for old, new in _STATES:
        if old not in template:
            raise ValueError(f"the template of layers has no line {old!r}")
        template = template.replace(old, new)
    template = template.replace("@OUTPUT_SIZE@", size_text(output_width(genome), sizes))
    return template.replace("@STATE_SIZES@", listed)


def has_other_sizes(genome: Genome) -> bool:
    """Whether states or the output are not as wide as H."""
    return {*state_widths(genome), output_width(genome)} != {"H"}


def check_bound(genome: Genome, sizes: Named | None) -> None:
    """Raise :class:`ConfigError` for a size of the cell that is not bound."""
    for name in size_names(genome):
        size_text(name, sizes)
