"""Drawings: every value is there, nothing overlaps, text is escaped, and the same cell gives the
same bytes.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.genome import Genome
from cellsearch.genome.drawing.layers import Box, Layout, lay_out
from cellsearch.genome.drawing.picture import Picture, difference, picture
from cellsearch.genome.drawing.svg import diff_svg, to_svg
from cellsearch.testing.genomes import random_genome

SVG = "{http://www.w3.org/2000/svg}"
SHOWN = ("lstm", "gru", "nascell", "darts_v2", "slstm", "rwkv4", "lstm_fgr")


def elements(svg: str, kind: str) -> list[ET.Element]:
    """The groups of a drawing that carry this class."""
    return [e for e in ET.fromstring(svg).iter() if kind in (e.get("class") or "").split()]


def boxes_of(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each vertex."""
    rects = [e.find(f"{SVG}rect") for e in elements(svg, "v")]
    sizes = [
        [float(r.get(a, "")) for a in ("x", "y", "width", "height")] for r in rects if r is not None
    ]
    return [(x, y, x + w, y + h) for x, y, w, h in sizes]


def overlaps(boxes: list[tuple[float, float, float, float]]) -> int:
    """Pairs of boxes that share area."""
    return sum(
        a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
        for k, a in enumerate(boxes)
        for b in boxes[:k]
    )


def wires_through_boxes(drawn: Layout, boxes: list[Box], wires: list[tuple[int, int]]) -> int:
    """Vertical pieces of wires that run through a box that is neither their source nor their
    target.
    """
    count = 0
    for route, ends in zip(drawn.routes, wires, strict=True):
        for k in range(1, len(route) - 1, 2):
            (x, low), (_, high) = route[k], route[k + 1]
            for number, (box, centre) in enumerate(zip(boxes, drawn.centres, strict=True)):
                beside = (
                    abs(x - centre[0]) >= box.width / 2
                    or centre[1] - box.height / 2 >= low
                    or centre[1] + box.height / 2 <= high
                )
                count += number not in ends and not beside
    return count


def test_overlap_helpers_see_overlaps() -> None:
    assert overlaps([(0, 0, 2, 2), (1, 1, 3, 3), (5, 5, 6, 6)]) == 1
    layout = Layout([(0, 10), (0, 5), (0, 0)], [[(0, 9), (0, 6), (0, 4), (0, 1)]], [True], 1, 12)
    assert wires_through_boxes(layout, [Box(2, 2)] * 3, [(0, 2)]) == 1


@pytest.mark.parametrize("name", SHOWN)
def test_all_values_are_drawn_once_and_nothing_overlaps(name: str) -> None:
    genome = zoo.load(name)
    svg = to_svg(genome, compact=False)
    ends = len(genome.states) + (genome.output_name not in genome.state_names)
    assert len(elements(svg, "v")) == genome.n_values + ends
    assert (
        len([e for e in elements(svg, "w") if "head" in (e.get("class") or "")])
        == sum(len(n.inputs) for n in genome.nodes) + ends
    )
    assert overlaps(boxes_of(svg)) == 0
    assert overlaps(boxes_of(to_svg(genome))) == 0


def test_whole_zoo_is_drawn_without_overlaps() -> None:
    for name in zoo.names():
        assert overlaps(boxes_of(zoo.load(name).to_svg())) == 0, name


@pytest.mark.parametrize("seed", range(12))
def test_random_cells_of_40_nodes_are_drawn_clean(seed: int) -> None:
    genome = random_genome(np.random.default_rng(seed), max_nodes=40)
    drawn = picture(genome)
    boxes = [Box(40.0 + 7 * len(v.text), 30.0, v.rank) for v in drawn.vertices]
    wires = [(w.source, w.target) for w in drawn.wires]
    assert wires_through_boxes(lay_out(boxes, wires), boxes, wires) == 0
    assert overlaps(boxes_of(to_svg(genome, recurrent_edges=True))) == 0


def test_inputs_are_at_the_bottom_and_outputs_at_the_top() -> None:
    genome = zoo.load("lstm")
    drawn = picture(genome)
    layout = lay_out(
        [Box(30, 30, v.rank) for v in drawn.vertices], [(w.source, w.target) for w in drawn.wires]
    )
    heights = {
        rank: {
            y for v, (_, y) in zip(drawn.vertices, layout.centres, strict=True) if v.rank == rank
        }
        for rank in ("bottom", "", "top")
    }
    assert len(heights["bottom"]) == len(heights["top"]) == 1
    assert (
        max(heights["top"]) < min(heights[""]) < max(heights[""]) < min(heights["bottom"])
    )  # y grows downwards
    assert all(layout.up)


def test_lstm_has_no_crossing_but_those_of_x_and_h() -> None:
    """Four gates read both x and h; two sources and four targets cannot do with fewer than six
    crossings, and the LSTM needs no other.
    """
    drawn = picture(zoo.load("lstm"))
    layout = lay_out(
        [Box(60, 30, v.rank) for v in drawn.vertices], [(w.source, w.target) for w in drawn.wires]
    )
    segments = [(r[k], r[k + 1]) for r in layout.routes for k in range(0, len(r) - 1, 2)]
    crossings = sum(
        a[0][1] == b[0][1] and (a[0][0] - b[0][0]) * (a[1][0] - b[1][0]) < -1e-6
        for k, a in enumerate(segments)
        for b in segments[:k]
    )
    assert crossings == 6


def test_gates_products_and_states_are_told_apart() -> None:
    svg = to_svg(zoo.load("lstm"))
    assert len(elements(svg, "gate")) == 3
    assert len(elements(svg, "product")) == 3
    assert len(elements(svg, "state")) == 4
    assert len(elements(svg, "out")) == 1
    assert (
        len(elements(to_svg(zoo.load("gru")), "gate")) == 2
    )  # one feeds a product, one steers a blend


def test_recurrent_edges_are_optional() -> None:
    genome = zoo.load("slstm")
    assert len(elements(to_svg(genome), "loop")) == 0
    assert len(elements(to_svg(genome, recurrent_edges=True), "loop")) == len(genome.states)


def test_text_is_escaped_and_the_element_stands_alone() -> None:
    svg = to_svg(zoo.load("gru"), title='<script>alert("x")</script> & more')
    assert "<script>" not in svg
    root = ET.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title") is not None
    assert "prefers-color-scheme:dark" in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert not [e for e in root.iter() if e.get("id")]  # several drawings share one page


def test_drawings_are_the_same_in_every_process() -> None:
    code = "import sys; from cellsearch import zoo; sys.stdout.write(zoo.load('nascell').to_svg())"
    digests = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )
        digests.add(hashlib.sha256(done.stdout).hexdigest())
    assert digests == {hashlib.sha256(zoo.load("nascell").to_svg().encode()).hexdigest()}


def test_notebooks_show_the_drawing() -> None:
    genome = zoo.load("mgu")
    assert genome._repr_svg_() == to_svg(genome)


@pytest.mark.timeout(240)  # of a hang; a few seconds on an idle machine
def test_large_genomes_are_drawn() -> None:
    lines = ["v0 = linear(x[t], h[t-1])"]
    lines += [f"v{k} = tanh(linear(v{k - 1}, v{(k * 7) % k}))" for k in range(1, 400)]
    genome = Genome.from_text("\n".join([*lines, "h[t] = v399"]))
    assert len(boxes_of(to_svg(genome))) >= 400


def test_highlight_marks_values() -> None:
    genome = zoo.load("lstm")
    gate = genome.labels.index("i")
    assert len(elements(to_svg(genome, highlight={gate: "changed"}, compact=False), "changed")) == 1
    assert (
        len(elements(to_svg(genome, highlight={gate: "added"}), "changed")) == 1
    )  # the box also holds the unmarked linear


# -- differences -----------------------------------------------------------------------------------


def by_label(a: Genome, b: Genome) -> dict[int, int]:
    """Values of equal label."""
    there = {label: value for value, label in enumerate(b.labels)}
    return {value: there[label] for value, label in enumerate(a.labels) if label in there}


def marks(drawn: Picture) -> tuple[int, int, int]:
    """Number of vertices added, removed and changed."""
    found = [v.mark for v in drawn.vertices]
    return found.count("added"), found.count("removed"), found.count("changed")


def test_difference_of_a_cell_and_itself_is_empty() -> None:
    genome = zoo.load("nascell")
    drawn = difference(genome, genome, {v: v for v in range(genome.n_values)})
    assert marks(drawn) == (0, 0, 0)
    assert not [w for w in drawn.wires if w.mark]


def test_difference_shows_what_was_added_removed_and_changed() -> None:
    old = Genome.from_text(
        "a = linear(x[t], h[t-1])\nb = sigmoid(linear(h[t-1]))\nh[t] = b * tanh(a)"
    )
    new = Genome.from_text("a = linear(x[t], h[t-1], bias=False)\nh[t] = relu(a)\n")
    mapping = by_label(old, new)
    mapping.pop(old.labels.index("h_t"))  # the product has no counterpart
    mapping[old.labels.index("h.1")] = new.labels.index("h_t")  # tanh became relu
    drawn = difference(old, new, mapping)
    assert marks(drawn) == (0, 3, 2)
    texts = {v.text for v in drawn.vertices if v.mark == "changed"}
    assert texts == {"tanh → relu", "linear, bias removed"}
    added = [
        (drawn.vertices[w.source].text, drawn.vertices[w.target].name)
        for w in drawn.wires
        if w.mark == "added"
    ]
    assert added == [("tanh → relu", "h_t")]
    svg = diff_svg(old, new, mapping)
    assert overlaps(boxes_of(svg)) == 0
    assert len(elements(svg, "removed")) == 3 + 2 * len(
        [w for w in drawn.wires if w.mark == "removed"]
    )


def test_new_states_are_added_and_swapped_edges_do_not_loop() -> None:
    drawn = difference(zoo.load("gru"), zoo.load("lstm"), {})
    names = {v.name for v in drawn.vertices if v.mark == "added"}
    assert {"c_t", "c_<t-1>"} <= names
    up = Genome.from_text("a = tanh(x[t])\nb = sigmoid(a)\nh[t] = b + linear(h[t-1])")
    down = Genome.from_text("b = sigmoid(x[t])\na = tanh(b)\nh[t] = a + linear(h[t-1])")
    svg = diff_svg(
        up, down, {up.labels.index(n): down.labels.index(n) for n in ("a", "b", "h_t", "h.1")}
    )
    assert overlaps(boxes_of(svg)) == 0
    assert len(elements(svg, "removed")) == 2 * 3  # x -> a, a -> b, b -> h
