"""What commands print: one JSON document, tables, numbers; and the options that many have."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import click
from rich.cells import cell_len
from rich.table import Table

from cellsearch.errors import ConfigError, visible
from cellsearch.genome.sizes import check_named
from cellsearch.plain import plain as plain_data
from cellsearch.reporting.page import number
from cellsearch.reporting.screen import Screen, plain
from cellsearch.reporting.tables import FORMS, written

__all__ = [
    "AMOUNT",
    "data_option",
    "emit_json",
    "figure_option",
    "json_option",
    "number",
    "own_data_option",
    "print_table",
    "refuse_other_kind",
    "table_option",
    "table_options",
    "written_form",
]

_FORM = "cellsearch.form"
"""Under this name the context of a command knows how its tables are to be written."""
_STREAM = "cellsearch.stream"
"""And where they go."""
_BEFORE = "cellsearch.written"
"""And that one was written."""
NARROW = 24  # characters of a column whose text is broken into lines
F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """The option ``--json`` that every reading command has."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
    )(command)


def table_options(json_help: str) -> Callable[[F], F]:
    """The options ``--format`` and ``--json``, with another help text for the latter."""

    def choose(context: click.Context, parameter: click.Parameter, value: str) -> None:
        context.meta[_FORM] = value
        if value in FORMS:
            context.meta[_STREAM] = sys.stdout
            context.with_resource(redirect_stdout(sys.stderr))

    def as_json(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
        form = context.meta.get(_FORM)
        if value and form in FORMS:
            raise click.UsageError(f"--json and --format {form} are two forms: choose one")
        return value or form == "json"

    form = click.option(
        "--format",
        type=click.Choice(["table", *FORMS, "json"]),
        default="table",
        show_default=True,
        is_eager=True,
        expose_value=False,
        callback=choose,
        help="How tables are written; what is no table then goes to standard error.",
    )
    flag = click.option("--json", "as_json", is_flag=True, callback=as_json, help=json_help)
    return lambda command: flag(form(command))


def table_option(command: F) -> F:
    """The options ``--format`` and ``--json`` of commands that print tables. Of a form that another
    program reads, the tables are all that stands on standard output.
    """
    return table_options("Print one JSON document and nothing else.")(command)


def written_form() -> str:
    """In which form of :data:`FORMS` the command that runs is to write its tables; ``""`` for one
    that people read.
    """
    context = click.get_current_context(silent=True)
    form = context.meta.get(_FORM, "") if context is not None else ""
    return form if form in FORMS else ""


def data_option(command: F) -> F:
    """The options ``--data-dir`` and ``--offline`` of commands that read data, for
    ``CELLSEARCH_DATA`` and ``CELLSEARCH_OFFLINE``.
    """

    def choose(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            os.environ["CELLSEARCH_DATA"] = value

    def forbid(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            os.environ["CELLSEARCH_OFFLINE"] = "1"

    command = click.option(
        "--offline",
        is_flag=True,
        expose_value=False,
        callback=forbid,
        help="Download nothing (or set CELLSEARCH_OFFLINE=1).",
    )(command)
    return click.option(
        "--data-dir",
        type=click.Path(),
        metavar="DIR",
        expose_value=False,
        callback=choose,
        help="Where data sets lie that are not shipped (or set CELLSEARCH_DATA).",
    )(command)


def size_option(command: F) -> F:
    """The option ``--size`` of commands about a cell whose sizes may have names; its value is what
    these stand for.
    """

    def read(
        context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
    ) -> dict[str, int | str]:
        found: dict[str, int | str] = {}
        for text in given:
            name, equals, size = (part.strip() for part in text.partition("="))
            if not (name and equals and size):
                raise click.BadParameter(f"{text!r} is not NAME=SIZE, such as P=32 or P=H/2")
            found[name] = int(size) if size.isdecimal() else size
        check_named(found)
        return found

    return click.option(
        "--size",
        "sizes",
        multiple=True,
        metavar="NAME=SIZE",
        callback=read,
        help="What a name of a size of the cell stands for: a number, or a fraction of H, such as "
        "P=32 or P=H/2; may be said several times.",
    )(command)


def own_data_option(command: F) -> F:
    """The option ``--data`` of commands that read data which may be the user's own."""
    return click.option(
        "--data",
        multiple=True,
        metavar="PATH",
        help="Where your own data lie: a text, a file of arrays; OPTION=PATH where there are "
        "several.",
    )(command)


def figure_option(what: str) -> Callable[[F], F]:
    """The option ``--figure`` of commands that draw: a file for a paper, which ``--force``
    overwrites.

    what: is drawn.
    """

    def refuse(
        context: click.Context, parameter: click.Parameter, path: Path | None
    ) -> Path | None:
        if path is not None:
            refuse_other_kind(path, "figure")
        return path

    return click.option(
        "--figure",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=refuse,
        help=f"Write {what} into an .svg or .pdf file as well, in the size of a paper.",
    )


class Amount(click.ParamType[int]):
    """A number of bytes or operations: ``20000``, ``20k`` and ``20kB`` (20,000), ``20KiB``."""

    name = "amount"
    _SCALES: ClassVar = {"": 1, "k": 10**3, "m": 10**6, "ki": 1 << 10, "mi": 1 << 20}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; a mistake ends the command with what is allowed."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([kKmM]i?)?[bB]?", value.replace(",", ""))
        if not found:
            self.fail(f"{value!r} is not an amount: write 20000, 20k or 20KiB", param, ctx)
        return round(float(found[1]) * self._SCALES[(found[2] or "").lower()])


AMOUNT = Amount()


_SUFFIXES: dict[str, tuple[str, ...]] = {
    "svg": (".svg",),
    "figure": (".svg", ".pdf"),
    "dot": (".dot", ".gv"),
    "mermaid": (".mmd", ".mermaid", ".md"),
    "latex": (".tex",),
    "program": (".txt",),
    "html": (".html", ".htm"),
    "source": (".py",),
    "model": (".py",),
    "json": (".json",),
    "cell": (".cell",),
    "state-dict": (".pt", ".safetensors"),
    "onnx": (".onnx",),
    "torch-export": (".pt2",),
    "c": (".c",),
    "": (".pdf", ".png", ".jpg", ".jpeg", ".gif", ".eps", ".ps", ".webp"),
}
"""What the names of files end in, by what is in them; at last pictures that nothing here draws."""


def refuse_other_kind(path: Path, form: str) -> None:
    """Raise :class:`ConfigError` for a file that is named as if something else were in it."""
    own, suffix = _SUFFIXES.get(form, ()), path.suffix.lower()
    if own and suffix not in own and any(suffix in others for others in _SUFFIXES.values()):
        hint = f"name it {path.with_suffix(own[0])}"
        if form == "svg" and suffix in _SUFFIXES[""]:
            hint += f"; --figure {path.with_suffix('.pdf')} writes PDF"
        raise ConfigError(
            f"{path}: {form} would be written into a file that is named {suffix}", hint=hint
        )


def emit_json(document: object) -> None:
    """Print one JSON document; numbers that JSON does not know (NaN, infinity) become null. It
    holds escapes of JSON for what cannot be printed as it is, so a reader gets the same text.
    """
    data = plain_data(document)
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    if visible(text) != text or not _encodes(text, sys.stdout.encoding):
        text = json.dumps(data, indent=2, allow_nan=False)
    click.echo(text)


def _encodes(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write_table(text: str) -> None:
    """Write a table for another program, apart from the one before."""
    meta = click.get_current_context().meta
    click.echo(f"\n{text}" if _BEFORE in meta else text, file=meta[_STREAM], nl=False)
    meta[_BEFORE] = True


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    wrap: int | None = None,
) -> None:
    """A plain table, columns padded with spaces, or what ``--format`` says. ``headers``: empty for
    none; ``right``: columns aligned right; ``wrap``: the column that takes what width is left, the
    others are never cut.
    """
    if form := written_form():
        _write_table(written(form, headers, rows, right))
        return
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        show_header=bool(headers),
        padding=(0, 2, 0, 0),
    )
    for position in range(len(rows[0]) if rows else len(headers)):
        justify: Literal["left", "right"] = "right" if position in right else "left"
        table.add_column(
            headers[position] if headers else "",
            justify=justify,
            no_wrap=position != wrap,
            overflow="fold",
        )
    rows = [[visible(cell, newlines=True) for cell in row] for row in rows]
    for row in rows:
        table.add_row(*map(plain, row))
    console = Screen()
    if (
        not console.is_terminal
    ):  # a pipe or a file: nothing is cut to the width of a window that is not there
        console.width = 240
    # Where the window is too narrow it breaks the lines itself: half a number is a wrong number.
    widths = [
        max(map(cell_len, column))
        for column in zip(*([headers] if headers else []), *rows, strict=True)
    ]
    console.width = max(
        console.width,
        sum((min(width, NARROW) if k == wrap else width) + 2 for k, width in enumerate(widths)),
    )
    with console.capture() as captured:
        console.print(table)
    console.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    console.file.flush()
