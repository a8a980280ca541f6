"""Writes docs/gallery.md and docs/pictures/*.svg: every cell of the zoo, drawn, with its equations.

python docs/make_gallery.py
"""

from __future__ import annotations

from pathlib import Path

from cellsearch import zoo
from cellsearch.genome import Builder, Genome
from cellsearch.genome.drawing.svg import diff_svg, to_svg
from cellsearch.zoo import ZooEntry

DOCS = Path(__file__).parent
FAMILY_TITLES = {
    "simple": "Simple networks",
    "lstm": "LSTM and its variants",
    "gru": "GRU and its variants",
    "gated": "Other gated cells",
    "searched": "Cells found by search",
    "linear": "Recurrences that are linear, or nearly so",
    "exponential": "Exponential gates",
    "found": "Found by cellsearch",
}


def forty_nodes() -> Genome:
    """A cell of 40 nodes without any plan, to show what a drawing of one looks like; a linear
    congruence chooses.
    """
    builder = Builder(["h", "c"])
    values = [builder.x, builder.state("h"), builder.state("c")]
    number = 12

    def choose(count: int) -> int:
        nonlocal number
        number = (number * 1103515245 + 12345) % 2**31
        return (number >> 12) % count

    while len(builder.nodes) < 37:
        recent = values[:3] + values[-8:]
        first, second = recent[choose(len(recent))], recent[choose(len(recent))]
        op = ("linear", "linear", "tanh", "sigmoid", "mul", "mul", "add", "relu", "sub", "max")[
            choose(10)
        ]
        name = f"v{len(builder.nodes)}" if choose(4) == 0 else ""
        values.append(
            builder.node(
                op, *((first,) if op in ("tanh", "sigmoid", "relu") else (first, second)), name=name
            )
        )
    loose = [v for v in values[3:] if not any(v in node.inputs for node in builder.nodes)]
    builder.next_state("c", builder.node("mul", builder.node("sigmoid", loose[0]), values[-1]))
    builder.next_state("h", builder.node("add", *loose, builder.state("c")))
    return builder.build()


def pictures() -> dict[str, str]:
    """Name of each picture -> its SVG text."""
    drawn = {entry.name: to_svg(entry.genome) for entry in zoo.entries()}
    drawn["random_40"] = to_svg(forty_nodes())
    drawn["lstm_over_time"] = to_svg(zoo.load("lstm"), recurrent_edges=True)
    before, after = zoo.load("lstm_peephole"), zoo.load("lstm")
    there = {label: value for value, label in enumerate(after.labels)}
    mapping = {value: there[label] for value, label in enumerate(before.labels) if label in there}
    drawn["diff_peephole_lstm"] = diff_svg(before, after, mapping)
    return {name: f"{svg}\n" for name, svg in drawn.items()}


def section(entry: ZooEntry) -> str:
    """The part of the page about one cell."""
    states = ", ".join(entry.genome.state_names)
    lines = [
        f"### {entry.name}",
        "",
        entry.title,
        "",
        f"{entry.paper}. States: {states}; {entry.matrices} n² parameters.",
        "",
        f'<img src="pictures/{entry.name}.svg" alt="Graph of {entry.name}">',
        "",
        "```",
        *entry.equations,
        "```",
    ]
    if entry.family == "found":
        lines += ["", "```", *zoo.card(entry.name).lines(), "```"]
    if entry.pitfalls:
        lines += ["", *entry.pitfalls]
    return "\n".join(lines)


def page() -> str:
    """The text of docs/gallery.md."""
    parts = [
        "# Gallery",
        "",
        "Every cell of the zoo, drawn. Inputs and previous states stand at the bottom, "
        "new states and the output at the top; dashed",
        "outlines are states, amber boxes gates, violet circles products. `blend` with "
        "g, a, b is g·a + (1 − g)·b.",
        "In the equations an unprimed state belongs to the step before, a primed one to "
        "this step. [zoo.md](zoo.md) says how the cells are",
        "checked. This page is written by `docs/make_gallery.py`.",
        "",
        " · ".join(f"[{title}](#{_anchor(title)})" for title in _titles().values()),
    ]
    for family, title in _titles().items():
        parts += ["", f"## {title}"]
        for entry in zoo.entries():
            if entry.family == family:
                parts += ["", section(entry)]
    return "\n".join(parts) + "\n"


def _titles() -> dict[str, str]:
    """The families that have cells."""
    there = {entry.family for entry in zoo.entries()}
    return {family: title for family, title in FAMILY_TITLES.items() if family in there}


def _anchor(title: str) -> str:
    return title.lower().replace(",", "").replace(" ", "-")


def main() -> None:
    """Write the page and the pictures."""
    folder = DOCS / "pictures"
    folder.mkdir(exist_ok=True)
    for name, svg in pictures().items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    (DOCS / "gallery.md").write_text(page(), encoding="utf-8")
    print(f"wrote docs/gallery.md and {len(pictures())} pictures")


if __name__ == "__main__":
    main()
