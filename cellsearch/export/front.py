"""What an exported layer has more than others whose input is projected: the same meaning as
:mod:`cellsearch.compiler.projection`.
"""

from __future__ import annotations

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square

__all__ = ["is_projected", "projected_template"]

_PROJECTED = (
    (
        "    @READS@\n",
        "    Where the input of a layer is not as wide as H, a matrix and a bias in front of it "
        "(l0_projection) make it so.\n    @READS@\n",
    ),
    (
        '                self.add_module(f"l{layer}{suffix}", @CLASS@Cell(width, hidden_size))\n',
        '                self.add_module(f"l{layer}{suffix}", '
        "@CLASS@Cell(hidden_size, hidden_size))\n"
        "                if width != hidden_size:\n"
        '                    self.add_module(f"l{layer}{suffix}_projection", '
        "nn.Linear(width, hidden_size))\n",
    ),
    (
        '        """The weights of each layer and direction."""\n'
        "        return [list(cell.parameters()) for cell in self.children()]\n",
        '        """The weights of each layer and direction, those of its projection last."""\n'
        "        parts: dict[str, list[Tensor]] = {}\n"
        "        for name, module in self.named_children():\n"
        '            parts.setdefault(name.removesuffix("_projection"), [])'
        ".extend(module.parameters())\n"
        "        return list(parts.values())\n",
    ),
    (
        "        for cell in self.children():\n"
        "            cell.reset_parameters(self.hidden_size)\n",
        "        for module in self.children():\n"
        "            if isinstance(module, nn.Linear):\n"
        "                module.reset_parameters()\n"
        "            else:\n"
        "                module.reset_parameters(self.hidden_size)\n",
    ),
    (
        "                cell = getattr(self, f\"l{layer}{'_reverse' if direction else ''}\")\n",
        "                name = f\"l{layer}{'_reverse' if direction else ''}\"\n"
        "                cell = getattr(self, name)\n"
        '                front = getattr(self, f"{name}_projection", None)\n'
        "                read = x if front is None else front(x)\n",
    ),
    ("self._run(cell, x, tuple(", "self._run(cell, read, tuple("),
)


def is_projected(genome: Genome, *, project_input: bool) -> bool:
    """Whether layers of the cell have projections where their input is not as wide as H. Raises
    :class:`ConfigError` for a cell that reads ``mask[t]``, which is about the numbers of x itself.
    """
    if not project_input or not requires_square(genome):
        return False
    if "mask" in genome.inputs:
        raise ConfigError(
            "the cell reads mask[t], which says what of x was observed, so x cannot be projected",
            hint="leave project_input out and use input_size = hidden_size",
        )
    return True


def projected_template(template: str) -> str:
    """The template of a layer, with a projection in front of each one that needs it."""
    for old, new in _PROJECTED:
        if template.count(old) != 1:
            raise ValueError(f"the template of layers has not one line {old!r}")
        template = template.replace(old, new)
    return template
