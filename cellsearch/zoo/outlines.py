"""The zoo's cells as a rough comparison sees them, worked out beforehand, so that "nearest" need
not read, simplify and number seventy cells at each call.

``outlines.json`` holds them, each beside the digest of the text that it was made from: a cell whose
file says something else by now, or that another package brings, is worked out when it is asked for.
``python -m cellsearch.zoo.outlines`` writes the file anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cellsearch import zoo
from cellsearch.files import write_atomically
from cellsearch.genome.graph import Genome
from cellsearch.genome.matching import CellOutline, prepared

__all__ = ["FILE", "KnownCells", "known_cells", "outlines", "outlines_text", "read_outlines"]

FILE = Path(__file__).with_name("outlines.json")


class KnownCells(Mapping[str, Genome]):
    """Cells of the zoo, and earlier forms of them, by name; one is read when it is asked for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    def __getitem__(self, name: str) -> Genome:
        forms = zoo.earlier_forms()
        return forms[name] if name in forms else zoo.load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def known_cells(key: str) -> KnownCells:
    """The zoo in the order of :func:`cellsearch.zoo.entries`, and the earlier forms that have this
    search key.
    """
    given, forms = outlines(), zoo.earlier_forms()
    names = [name for name in given if name not in forms]
    if sorted(names) != list(zoo.names()):
        names = [entry.name for entry in zoo.entries()]
    shapes = {name: given.get(name) or prepared(forms[name]) for name in forms}
    return KnownCells([*names, *(name for name, shape in shapes.items() if shape.key == key)])


@cache
def outlines() -> Mapping[str, CellOutline]:
    """Name -> outline, of all that the file holds and that has not changed since."""
    return read_outlines(FILE.read_text(encoding="utf-8"))


def read_outlines(document: str) -> dict[str, CellOutline]:
    """The outlines in the text of such a file, of cells that are still what they were made from."""
    stored: dict[str, dict[str, Any]] = json.loads(document)
    texts = _texts()
    return {
        name: CellOutline(
            one["key"],
            tuple(one["labels"]),
            tuple(one["kinds"]),
            Counter({(a, b, place): count for a, b, place, count in one["connections"]}),
        )
        for name, one in stored.items()
        if name in texts and one["text"] == _digest(texts[name])
    }


def outlines_text() -> str:
    """What the file should hold: a line a cell."""
    names = [entry.name for entry in zoo.entries()]
    texts, lines = _texts(), []
    for name, genome in KnownCells([*names, *zoo.earlier_forms()]).items():
        if name in texts:
            shape = prepared(genome)
            line = {
                "text": _digest(texts[name]),
                "key": shape.key,
                "labels": shape.labels,
                "kinds": shape.kinds,
                "connections": [[*edge, count] for edge, count in shape.connections.items()],
            }
            lines.append(f"{json.dumps(name)}: {json.dumps(line)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _texts() -> dict[str, str]:
    """The text of each cell of this package."""
    texts = {name: genome.to_text() for name, genome in zoo.earlier_forms().items()}
    return {**texts, **{n: p.read_text(encoding="utf-8") for n, p in zoo.files().items()}}


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


if __name__ == "__main__":
    write_atomically(FILE, outlines_text())
