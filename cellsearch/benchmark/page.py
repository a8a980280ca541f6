"""Writes what a benchmark says as a page in Markdown: the tables, and the cells that took part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from cellsearch.benchmark.base import Benchmark, BenchmarkReport, Contestant, PrintedTable
from cellsearch.errors import InputFileError
from cellsearch.files import write_atomically
from cellsearch.genome.drawing.svg import to_svg

__all__ = ["DrawnCell", "cell_picture", "write_page"]

BEGIN, END = "<!-- benchmark: written by the command -->", "<!-- benchmark: end -->"
"""Between these two lines the command writes; the rest of a page is its author's."""


@dataclass(frozen=True, slots=True)
class DrawnCell:
    """A cell with its picture, which lies beside the page."""

    contestant: Contestant
    """The cell."""
    picture: str
    """Path of the picture, relative to the page."""


def cell_picture(contestant: Contestant, page: Path) -> DrawnCell:
    """Draw a cell into ``pictures/NAME.svg`` beside the page."""
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in contestant.name)
    path = page.parent / "pictures" / f"{name}.svg"
    write_atomically(path, f"{to_svg(contestant.genome)}\n", what="picture")
    return DrawnCell(contestant, f"pictures/{name}.svg")


def write_page(
    path: Path,
    kind: type[Benchmark],
    reports: Sequence[BenchmarkReport],
    cells: Sequence[DrawnCell],
) -> None:
    """Write a page, or what stands between the two marks of one that is there.

    Raises :class:`InputFileError` for a file without the marks.
    """
    body = "\n\n".join(
        [
            BEGIN,
            *(_cell(cell) for cell in cells),
            *(_table(table) for report in reports for table in report.tables),
            END,
        ]
    )
    if not path.exists():
        write_atomically(path, f"# {kind.name}\n\n{kind.summary}. {kind.source}.\n\n{body}\n")
        return
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputFileError(
            "the page has no place for the tables",
            where=str(path),
            hint=f"put the two lines {BEGIN} and {END} where they belong, or name another file",
        )
    write_atomically(path, f"{before}{body}{after}")


def _cell(cell: DrawnCell) -> str:
    name = cell.contestant.name
    return (
        f"### {name}\n\n```\n{cell.contestant.genome.to_text().strip()}\n```\n\n"
        f'<img src="{cell.picture}" alt="Graph of {name}">'
    )


def _table(table: PrintedTable) -> str:
    """A table, its columns as wide as their widest text."""
    rows = [table.headers, *table.rows]
    widths = [max(3, *(len(row[k]) for row in rows)) for k in range(len(table.headers))]
    lines = [_line(row, widths) for row in rows]
    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    lines.insert(1, f"| {' | '.join(rule)} |")
    words = [f"**{table.title}**", *table.notes]
    title, *notes = (fill(text, 100, break_on_hyphens=False) for text in words)
    return "\n".join([title, "", *lines, *(f"\n{note}" for note in notes)])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    further = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
    return f"| {' | '.join([row[0].ljust(widths[0]), *further])} |"
