"""Sizes, blocks and heads in drawings, LaTeX and the difference of two cells."""

from __future__ import annotations

from xml.etree import ElementTree

from cellsearch import zoo
from cellsearch.genome import Genome
from cellsearch.genome.drawing.svg import to_latex, to_mermaid, to_svg
from cellsearch.genome.matching import prepared
from cellsearch.runs.facts import cell_facts
from cellsearch.space.declaration import LayerSizes
from tests.genome.test_shapes import HEADS, LOW_RANK, LSTMP


def test_drawings_say_sizes_and_parts() -> None:
    assert "linear → P" in to_mermaid(Genome.from_text(LSTMP))
    heads = to_mermaid(Genome.from_text(HEADS))
    assert "linear, 4 blocks" in heads
    assert "head norm, 4 heads" in heads
    assert "linear → H/4" in Genome.from_text(LOW_RANK).to_svg()


def test_equations_mark_blocks_and_heads() -> None:
    text = to_latex(Genome.from_text(HEADS))
    assert r"W^{(4)}_{h_{2},h} h_{t-1}" in text
    assert r"\operatorname{head\_norm}_{4}" in text


def test_cells_that_differ_in_size_alone_are_not_drawn_alike() -> None:
    texts = [f"h[t] = tanh(linear(x[t]) + linear(h[t-1], blocks={n}))" for n in (1, 2, 4)]
    labels = [prepared(Genome.from_text(text)).labels for text in texts]
    assert len(set(labels)) == 3


def test_what_is_known_of_a_cell_counts_the_state() -> None:
    facts = cell_facts(Genome.from_text(LSTMP.replace("P", "H/2")), LayerSizes(16, 64))
    assert facts["state_floats"] == 96
    assert facts["parameters"] == 4 * 64 * (16 + 32 + 1) + 32 * 64


def _drawn(name: str) -> tuple[list[ElementTree.Element], list[ElementTree.Element]]:
    """The vertices of a picture, and the small labels."""
    root = ElementTree.fromstring(to_svg(zoo.load(name)))
    space = "{http://www.w3.org/2000/svg}"
    groups = [g for g in root.iter(f"{space}g") if (g.get("class") or "").startswith("v ")]
    labels = [t for t in root.iter(f"{space}text") if "port" in (t.get("class") or "")]
    return groups, labels


def test_blocks_are_stacks_and_sizes_stand_at_lines() -> None:
    groups, labels = _drawn("slstm_heads")
    rects = [sum(part.tag.endswith("rect") for part in group) for group in groups]
    assert rects.count(3) == 4
    assert set(rects) == {1, 3}
    assert "H/2" not in [label.text for label in labels]
    groups, labels = _drawn("lstmp")
    assert {sum(part.tag.endswith("rect") for part in group) for group in groups} == {1}
    assert [label.text for label in labels].count("H/2") == 2  # h of both steps
    groups, labels = _drawn("lstm")
    assert not labels


def test_a_size_stands_on_the_side_where_no_line_goes() -> None:
    _, labels = _drawn("fastgrnn_low_rank")
    found = [label for label in labels if label.text == "H/4"]
    assert {label.get("class") for label in found} == {"port", "port left"}
