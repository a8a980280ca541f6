"""DOT, Mermaid and LaTeX: complete, well formed, and accepted by the programs that read them where
those are installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cellsearch import ops, zoo
from cellsearch.genome import Genome
from cellsearch.genome.drawing.svg import to_dot, to_latex, to_mermaid
from cellsearch.genome.parts import ATTRIBUTES
from cellsearch.testing.genomes import random_genome

CELLS = {name: zoo.load(name) for name in zoo.names()}
CELLS |= {
    f"random{seed}": random_genome(np.random.default_rng(seed), max_nodes=30) for seed in range(30)
}


def test_dot_has_every_vertex_and_edge() -> None:
    for name, genome in CELLS.items():
        text = to_dot(genome, compact=False)
        ends = len(genome.states) + (genome.output_name not in genome.state_names)
        assert len(re.findall(r"^  v\d+ \[label=", text, re.M)) == genome.n_values + ends, name
        assert (
            len(re.findall(r"^  v\d+ -> v\d+", text, re.M))
            == sum(len(n.inputs) for n in genome.nodes) + ends
        ), name


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_dot() -> None:
    for genome in list(CELLS.values())[::8]:
        subprocess.run(
            ["dot", "-Tplain"],
            input=to_dot(genome),
            text=True,
            capture_output=True,
            check=True,
            timeout=60,
        )


def test_mermaid_is_well_formed() -> None:
    vertex = re.compile(r'  v\d+(\(\["[^"]*"\]\)|\(\("[^"]*"\)\)|\["[^"]*"\])')
    edge = re.compile(r'  v\d+ (-->|-- "[^"]*" -->) v\d+')
    style = re.compile(r"  (classDef|class) .*;")
    for genome in CELLS.values():
        first, *lines = to_mermaid(genome).splitlines()
        assert first == "flowchart BT"
        assert all(
            vertex.fullmatch(line) or edge.fullmatch(line) or style.fullmatch(line)
            for line in lines
        )
        assert not re.search(r"<(?!br/>)", "\n".join(lines))


def test_latex_of_the_lstm() -> None:
    assert to_latex(zoo.load("lstm")).splitlines() == [
        r"\begin{align}",
        r"  i_{t} &= \sigma\left(W_{i,x} x_{t} + W_{i,h} h_{t-1} + b_{i}\right) \\",
        r"  f_{t} &= \sigma\left(W_{f,x} x_{t} + W_{f,h} h_{t-1} + b_{f}\right) \\",
        r"  g_{t} &= \tanh\left(W_{g,x} x_{t} + W_{g,h} h_{t-1} + b_{g}\right) \\",
        r"  o_{t} &= \sigma\left(W_{o,x} x_{t} + W_{o,h} h_{t-1} + b_{o}\right) \\",
        r"  c_{t} &= f_{t} \odot c_{t-1} + i_{t} \odot g_{t} \\",
        r"  h_{t} &= o_{t} \odot \tanh\left(c_{t}\right)",
        r"\end{align}",
    ]


def test_latex_keeps_parentheses_where_they_matter() -> None:
    genome = Genome.from_text(
        "h[t] = (x[t] - (h[t-1] - 1)) * (-h[t-1]) / blend(sigmoid(x[t]), max(x[t], 2), -1e-9)"
    )
    line = to_latex(genome).splitlines()[1]
    assert r"\left(x_{t} - \left(h_{t-1} - 1\right)\right) \odot \left(-h_{t-1}\right)" in line
    assert r"\left(1 - \sigma\left(x_{t}\right)\right) \odot \left(-10^{-9}\right)" in line


def unbalanced(text: str) -> bool:
    """Whether braces, or left and right delimiters, do not pair up."""
    depth = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return True
    return depth != 0 or text.count(r"\left") != text.count(r"\right")


def test_latex_of_every_cell_is_balanced_and_has_every_weight() -> None:
    assert unbalanced("{a}}{")
    assert unbalanced(r"\left(a")
    for name, genome in CELLS.items():
        text = to_latex(genome)
        assert not unbalanced(text), name
        assert all(line.count("&=") == 1 for line in text.splitlines()[1:-1]), name
        weights = re.findall(r"(?<!\\)\b[Wwbs](?:\^\{\(\d+\)\})?_\{", text)
        written = [genome.node(spec.node) for spec in genome.parameters]
        assert len(weights) >= len(written), name


@pytest.mark.parametrize(
    "name", [name for name in ops.names() if name not in ("const", "add", "mul", "sub", "div")]
)
def test_latex_writes_every_op(name: str) -> None:
    operands = ", ".join(["x[t]", "h[t-1]", "2"][: ops.get(name).min_arity])
    operands = operands.replace("h[t-1]", "2") if name == "rotate" else operands
    operands += ", 2" * any(attribute.positional for attribute in ATTRIBUTES.get(name, ()))
    text = to_latex(Genome.from_text(f"h[t] = h[t-1] + {name}({operands})"))
    assert not unbalanced(text)
    assert text.count("x_{t}") == (1 if operands else 0) + (
        name == "blend"
    )  # blend writes its gate twice


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_pdflatex_compiles_the_whole_zoo(tmp_path: Path) -> None:
    body = "\n".join(to_latex(genome) for genome in CELLS.values())
    source = (
        "\\documentclass{article}\\usepackage{amsmath}\\usepackage[paperwidth=200cm,margin=1cm]{geometry}\\begin{document}\n"
        + body
        + "\\end{document}\n"
    )
    (tmp_path / "zoo.tex").write_text(source, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "zoo.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
