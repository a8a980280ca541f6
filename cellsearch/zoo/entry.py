"""What the docstring of a zoo cell says, in a strict form.

::

    One sentence that names the cell.

    Paper: authors, title, place and year
    Year: 1997
    Family: lstm
    Also: other_name, another            (may be missing)
    Check: torch.nn.LSTM                 (an implementation to compare with; may be missing)

    Equations:
        h' = tanh(W x + U h + b)

    Pitfalls:                            (may be missing)
        One sentence a line.

In the equations ``x`` is the input, an unprimed state that of step t-1, a primed one that of step
t; ``*`` is elementwise; ``W`` acts on x, ``U`` on a state, ``V`` on another value, ``p`` is a
vector weight, ``b`` a bias.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cellsearch.errors import InputFileError
from cellsearch.genome.graph import Genome
from cellsearch.genome.text import parse

__all__ = ["FAMILIES", "ZooEntry", "read_entry"]

FAMILIES = ("simple", "lstm", "gru", "gated", "searched", "linear", "exponential", "found")
"""The families, in the order in which they are listed; ``found``: by this program."""

_HEADERS = {"Paper": True, "Year": True, "Family": True, "Also": False, "Check": False}
_SECTIONS = {"Equations": True, "Pitfalls": False}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A named cell. ``equations`` and ``pitfalls`` hold one string a line; ``text`` is the whole
    file.

    ``check``: the independent implementation that the tests compare with, ``""`` if only the
    printed equations are.
    """

    name: str
    title: str
    paper: str
    year: int
    family: str
    also: tuple[str, ...]
    check: str
    equations: tuple[str, ...]
    pitfalls: tuple[str, ...]
    doc: str
    text: str
    genome: Genome

    @property
    def family_position(self) -> int:
        """Position of the family in :data:`FAMILIES`."""
        return FAMILIES.index(self.family)

    @property
    def matrices(self) -> int:
        """Number of dense weight matrices: the count of parameters in units of n^2 for I = H
        = n.
        """
        return sum(len(spec.shape) == 2 for spec in self.genome.parameters)


def read_entry(text: str, *, name: str, source: str) -> ZooEntry:
    """Read a zoo file. Raises :class:`CellSyntaxError` for the cell and :class:`InputFileError` for
    its docstring.
    """
    cell = parse(text, source=source)
    blocks = [block.split("\n") for block in cell.doc.strip("\n").split("\n\n")]
    if len(blocks) < 3 or len(blocks[0]) != 1 or not blocks[0][0].endswith("."):
        raise _error(
            source,
            "the docstring needs a title line that ends with a full stop, the header "
            "lines and the equations, with empty lines between",
        )
    header = _header(blocks[1], source)
    sections = _sections(blocks[2:], source)
    if not re.fullmatch(r"(19|20)\d\d", header["Year"]):
        raise _error(source, f"Year: {header['Year']!r} is not a year")
    if header["Family"] not in FAMILIES:
        raise _error(source, f"Family: {header['Family']!r} is none of {', '.join(FAMILIES)}")
    also = tuple(part.strip() for part in header.get("Also", "").split(",") if part.strip())
    for other in (name, *also):
        if not _NAME.fullmatch(other):
            raise _error(
                source, f"{other!r} cannot name a zoo cell: lower-case letters, digits and _ only"
            )
    return ZooEntry(
        name=name,
        title=blocks[0][0],
        paper=header["Paper"],
        year=int(header["Year"]),
        family=header["Family"],
        also=also,
        check=header.get("Check", ""),
        equations=sections["Equations"],
        pitfalls=sections.get("Pitfalls", ()),
        doc=cell.doc,
        text=text,
        genome=cell.genome,
    )


def _header(lines: list[str], source: str) -> dict[str, str]:
    header: dict[str, str] = {}
    for line in lines:
        word, colon, rest = line.partition(": ")
        if not colon or word not in _HEADERS or word in header or not rest.strip():
            raise _error(
                source,
                f"{line!r} is not a header line: {', '.join(_HEADERS)}, once each, "
                f"followed by a colon and a value",
            )
        header[word] = rest.strip()
    missing = [word for word, required in _HEADERS.items() if required and word not in header]
    if missing:
        raise _error(source, f"the line '{missing[0]}: ...' is missing")
    return header


def _sections(blocks: list[list[str]], source: str) -> dict[str, tuple[str, ...]]:
    sections: dict[str, tuple[str, ...]] = {}
    for first, *lines in blocks:
        word = first.removesuffix(":")
        if word not in _SECTIONS or word in sections or not first.endswith(":"):
            raise _error(
                source,
                f"{first!r} opens no section: {', '.join(_SECTIONS)}, once each, "
                f"followed by a colon",
            )
        if not lines or not all(line.startswith("    ") for line in lines):
            raise _error(
                source, f"the lines of '{first}' are indented by four spaces, without empty lines"
            )
        sections[word] = tuple(line[4:] for line in lines)
    missing = [word for word, required in _SECTIONS.items() if required and word not in sections]
    if missing:
        raise _error(source, f"the section '{missing[0]}:' is missing")
    return sections


def _error(source: str, message: str) -> InputFileError:
    return InputFileError(
        message, where=source, hint="see cellsearch/zoo/entry.py for the form of the docstring"
    )
