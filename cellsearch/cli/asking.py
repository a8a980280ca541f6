"""``cellsearch ask`` and ``cellsearch tell``: cells that are proposed from outside."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cellsearch.cli.output import emit_json, json_option
from cellsearch.errors import InputFileError, amount, command
from cellsearch.runs import open_run
from cellsearch.runs.asking import as_text, briefing
from cellsearch.runs.locate import MAX_FILE, read_text
from cellsearch.runs.telling import ToldAnswer, read_cells, tell

__all__ = ["COMMANDS"]

RUN = click.argument("run", type=click.Path(path_type=Path))


@click.command("ask")
@RUN
@click.option(
    "--best", type=click.IntRange(min=0), default=8, show_default=True, help="So many best cells."
)
@click.option(
    "--failed",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="So many that failed or were refused.",
)
@json_option
def ask(run: Path, best: int, failed: int, as_json: bool) -> None:
    """Say all that one needs to propose a cell for RUN: the task, what a cell may be and how it is
    written, the best cells and their scores, what failed and why. For a person, a script or a
    language model; works while the run is being searched.
    """
    brief = briefing(open_run(run), best=best, failed=failed)
    if as_json:
        emit_json(brief)
    else:
        click.echo(as_text(brief))


@click.command("tell")
@RUN
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--reason", default="", help="Why, in words; of cells that do not say so themselves.")
@click.option(
    "--parent",
    "parents",
    type=click.IntRange(min=0),
    multiple=True,
    help="The number of a trial that the cells came from.",
)
@json_option
def tell_cells(
    run: Path, files: tuple[str, ...], reason: str, parents: tuple[int, ...], as_json: bool
) -> int:
    """Propose the cells in FILE... for RUN; - is standard input.

    A FILE holds one .cell text, or several with lines of --- between them, or JSON: [{"cell": ...,
    "reason": ..., "parents": [...]}, ...]. Comments before the first statement of a cell are its
    reason. Each cell is checked by itself: a wrong one is refused, with file and line, the others
    wait for the search that is at work in RUN, or the next one. Exit code 3 if any was refused.
    """
    data = open_run(run)
    cells = []
    for file in files:
        text, source = (_standard_input(), "-") if file == "-" else (read_text(Path(file)), file)
        cells += read_cells(text, source, reason=reason, parents=parents)
    answers = tell(data, cells)
    refused = [answer for answer in answers if answer.status == "refused"]
    if as_json:
        counts = {
            status: sum(answer.status == status for answer in answers)
            for status in ("accepted", "known", "refused")
        }
        emit_json({"run": str(run), **counts, "cells": [one.to_document() for one in answers]})
        return InputFileError.exit_code if refused else 0
    for answer in answers:
        if answer.error is None:
            click.echo(f"{answer.where}: {answer.status}: {answer.said}")
    _say_next(run, answers)
    if len(answers) == 1 and refused:
        raise refused[0].error or InputFileError("refused", where=refused[0].where)
    for answer in refused:
        click.echo(f"refused: {answer.error}", err=True)
        if answer.error is not None and answer.error.hint:
            click.echo(f"hint: {answer.error.hint}", err=True)
    return InputFileError.exit_code if refused else 0


def _standard_input() -> str:
    data = sys.stdin.buffer.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise InputFileError(f"larger than {MAX_FILE} bytes", where="-")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputFileError(f"not UTF-8 text (byte {error.start})", where="-") from None


def _say_next(run: Path, answers: tuple[ToldAnswer, ...]) -> None:
    """Who trains what was accepted."""
    accepted = sum(answer.status == "accepted" for answer in answers)
    if not accepted:
        return
    data = open_run(run)
    left = data.counts["asked_for"] - data.trials.counted
    line = f"{amount(accepted, 'cell')} accepted"
    if left <= 0:
        line += f"; the {amount(data.counts['asked_for'], 'trial')} of the run are used up: "
        line += "search on with more --trials"
    elif data.writer:
        line += f"; the search at work ({data.writer}) takes them up"
    else:
        search = command("search", run / "experiment.toml", "--run", run)
        line += f"; nobody searches in the run now: {search}"
    click.echo(line)


COMMANDS = (ask, tell_cells)
