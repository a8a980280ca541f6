r"""Genomes as equations: a LaTeX ``align`` block that needs amsmath only.

Weights are written ``W_{i,x}`` (dense), ``w_{i,c}`` (a vector), ``s_{i}`` (a number) and ``b_{i}``
(a bias), after their names in the compiled module (``i.weight_x``, ...); ``\odot`` is the
elementwise product.
"""

from __future__ import annotations

import re

from cellsearch import ops
from cellsearch.errors import checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import ParameterSpec
from cellsearch.genome.parts import Node

__all__ = ["to_latex"]

_GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "mu",
    "nu", "xi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Xi", "Phi", "Psi", "Omega",
})  # fmt: skip
SUM, PRODUCT, ATOM = 1, 2, 3  # how strongly a piece binds


@checked_arguments
def to_latex(genome: Genome) -> str:
    """The equations of a genome as an ``align`` block, one statement a line."""
    writer = _Writer(genome)
    lines = [
        rf"{_subscript(s.name, '0')} &= {_number(s.initial)}" for s in genome.states if s.initial
    ]
    done: set[str] = set()
    for value, node in genome.numbered():
        name = node.name or genome.slots.get(value, "")
        if name:
            done.add(name if not node.name else "")
            lines.append(rf"{_subscript(name, 't')} &= {writer.node(value)[0]}")
    for name, value in zip(
        (*genome.state_names, genome.output_name), (*genome.next_states, genome.output), strict=True
    ):
        if name not in done:
            done.add(name)
            lines.append(rf"{_subscript(name, 't')} &= {writer.operand(value, 0)}")
    body = " \\\\\n".join(f"  {line}" for line in lines)
    return f"\\begin{{align}}\n{body}\n\\end{{align}}\n"


class _Writer:
    """Writes values as LaTeX."""

    def __init__(self, genome: Genome) -> None:
        self.genome = genome
        self.weights: dict[tuple[int, int], ParameterSpec] = {
            (spec.node, spec.operand): spec for spec in genome.parameters
        }

    def operand(self, value: int, binding: int) -> str:
        """A value where it is used, in parentheses if it binds weaker than ``binding``."""
        genome = self.genome
        if genome.is_input(value):
            return _subscript(genome.inputs[value], "t")
        if genome.is_state(value):
            return _subscript(genome.states[value - len(genome.inputs)].name, "t-1")
        node = genome.nodes[value - genome.first_node]
        if node.name or value in genome.slots:
            return _subscript(node.name or genome.slots[value], "t")
        text, strength = self.node(value)
        return rf"\left({text}\right)" if strength < binding else text

    def node(self, value: int) -> tuple[str, int]:
        """The right side of a node and how strongly it binds."""
        node = self.genome.nodes[value - self.genome.first_node]
        if node.op in ("linear", "diag", "scale", "bias"):
            return self.weighted(value, node)
        if node.op == "const":
            return _number(node.value), ATOM if node.value >= 0 else SUM
        if node.op in ("add", "sub", "mul", "div", "neg", "blend"):
            return self.arithmetic(node)
        return self.function(node)

    def weighted(self, value: int, node: Node) -> tuple[str, int]:
        terms: list[str] = []
        blocks = rf"^{{({node.blocks})}}" if node.blocks > 1 else ""
        for position, operand in enumerate(node.inputs):
            spec = self.weights[value, position]
            owner, _, suffix = spec.name.partition(".")
            inner = self.operand(operand, PRODUCT if node.op == "scale" else ATOM)
            if node.op == "scale":
                terms.append(rf"s_{{{_name(owner)}}} \, {inner}")
            else:
                subscript = f"{_name(owner)},{_name(suffix.removeprefix('weight_'))}"
                terms.append(
                    rf"w_{{{subscript}}} \odot {inner}"
                    if node.op == "diag"
                    else rf"W{blocks}_{{{subscript}}} {inner}"
                )
        if (value, -1) in self.weights:
            terms.append(rf"b_{{{_name(self.weights[value, -1].name.partition('.')[0])}}}")
        return " + ".join(terms), (
            SUM if len(terms) > 1 else ATOM if node.op == "bias" else PRODUCT
        )

    def arithmetic(self, node: Node) -> tuple[str, int]:
        if node.op == "add":
            return " + ".join(
                self.operand(v, SUM if k == 0 else PRODUCT) for k, v in enumerate(node.inputs)
            ), SUM
        if node.op == "sub":
            return (
                f"{self.operand(node.inputs[0], SUM)} - {self.operand(node.inputs[1], PRODUCT)}",
                SUM,
            )
        if node.op == "neg":
            return f"-{self.operand(node.inputs[0], PRODUCT)}", SUM
        if node.op == "div":
            return (
                rf"\frac{{{self.operand(node.inputs[0], 0)}}}{{{self.operand(node.inputs[1], 0)}}}",
                ATOM,
            )
        if node.op == "mul":
            return self.product(node.inputs), PRODUCT
        gate, first, second = (self.operand(v, PRODUCT) for v in node.inputs)
        complement = self.operand(node.inputs[0], PRODUCT)
        return rf"{gate} \odot {first} + \left(1 - {complement}\right) \odot {second}", SUM

    def product(self, inputs: tuple[int, ...]) -> str:
        text = ""
        for k, value in enumerate(inputs):
            if k:
                before, here = self.genome.node(inputs[k - 1]), self.genome.node(value)
                plain = any(n is not None and n.op == "const" for n in (before, here))
                text += r" \cdot " if plain else r" \odot "
            text += self.operand(value, PRODUCT if k == 0 else ATOM)
        return text

    def function(self, node: Node) -> tuple[str, int]:
        arguments = ", ".join(self.operand(v, 0) for v in node.inputs)
        pattern = ops.OPS[node.op].latex
        if "#1" in pattern:
            return pattern.replace("#1", arguments), ATOM
        name = pattern or rf"\operatorname{{{_escape(node.op)}}}"
        name += rf"_{{{node.parts}}}" if node.op == "head_norm" else ""
        return rf"{name}\left({arguments}\right)", ATOM


def _subscript(name: str, step: str) -> str:
    r"""``c`` -> ``c_{t}``, ``g0`` -> ``g_{0,t}``, ``gate`` -> ``\mathrm{gate}_{t}``."""
    match = re.fullmatch(r"([A-Za-z]|[A-Za-z]*[A-Za-z](?=\d))(\d+)", name)
    if match:
        return f"{_letters(match[1])}_{{{match[2]},{step}}}"
    return f"{_letters(name)}_{{{step}}}"


def _name(name: str) -> str:
    """A name inside a subscript."""
    match = re.fullmatch(r"([A-Za-z]+)_?(\d+)", name)
    return f"{_letters(match[1])}_{{{match[2]}}}" if match else _letters(name)


def _letters(name: str) -> str:
    if len(name) == 1:
        return name
    return f"\\{name}" if name in _GREEK else rf"\mathrm{{{_escape(name)}}}"


def _escape(name: str) -> str:
    return name.replace("_", r"\_")


def _number(value: float) -> str:
    text = f"{value:.12g}"
    mantissa, exponent, power = text.partition("e")
    if not exponent:
        return text
    scale = f"10^{{{int(power)}}}"
    return (
        scale
        if mantissa == "1"
        else f"-{scale}"
        if mantissa == "-1"
        else rf"{mantissa} \cdot {scale}"
    )
