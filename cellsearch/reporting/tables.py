"""Tables as text that other programs read: CSV, LaTeX, Markdown.

What stands in a table may come from a store or a file that somebody else made. So each form escapes
what it would obey: Markdown and LaTeX their marks, CSV what a spreadsheet would take for a formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from cellsearch.errors import visible

__all__ = ["FORMS", "written"]

FORMS = ("csv", "latex", "markdown")
"""The forms of :func:`written`."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "×": r"$\times$",
    "−": "$-$",
    "…": r"\dots{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#!&])")
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_FORMULA = re.compile(r"[=@]|[+-](?![\d.])")


def written(
    form: str, headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> str:
    """A table in one of :data:`FORMS`, with a line feed at its end.

    headers: empty for none. right: the columns that hold numbers.
    """
    headers = [_plain(text) for text in headers]
    rows = [[_plain(text) for text in row] for row in rows]
    count = len(headers) or max(map(len, rows), default=0)
    if form == "csv":
        return _csv(headers, rows)
    if form == "latex":
        return _latex(headers, rows, ["r" if k in right else "l" for k in range(count)])
    return _markdown(headers, rows, ["---:" if k in right else "---" for k in range(count)])


def _plain(text: str) -> str:
    return visible(str(text), newlines=True)


def _csv(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Numbers without separators of thousands; nothing for a dash, which stands for no number."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows(map(_fields, [headers, *rows] if headers else rows))
    return buffer.getvalue()


def _fields(row: Sequence[str]) -> list[str]:
    return [_field(text) for text in row]


def _field(text: str) -> str:
    if text == "–":
        return ""
    if _GROUPED.fullmatch(text):
        return text.replace(",", "")
    return f"'{text}" if _FORMULA.match(text) else text


def _latex(headers: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    """A tabular with the rules of the package booktabs."""

    def line(row: Sequence[str]) -> str:
        texts = ("".join(_LATEX.get(letter, letter) for letter in text) for text in row)
        # A row that begins with a bracket would be an option of the line before it.
        return " & ".join(f"{{}}{t}" if t[:1] in "[*" and t else t for t in texts) + r" \\"

    lines = [rf"\begin{{tabular}}{{{''.join(columns)}}}", r"\toprule"]
    lines += [line(headers), r"\midrule"] if headers else []
    lines += [*map(line, rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    """A table of GitHub's Markdown; it always has a head."""

    def line(row: Sequence[str]) -> str:
        texts = (_MARKDOWN.sub(r"\\\1", text) for text in row)
        return f"| {' | '.join(texts)} |"

    head = headers or [""] * len(columns)
    return "\n".join([line(head), f"|{'|'.join(columns)}|", *map(line, rows)]) + "\n"
