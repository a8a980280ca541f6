"""``cellsearch predict``: answers of a trained model for new data, from files or from a stream."""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cellsearch.cli.output import data_option, own_data_option
from cellsearch.errors import ConfigError, amount
from cellsearch.files import refuse_existing, write_new
from cellsearch.runs.locate import load_model

__all__ = ["COMMANDS"]

SUFFIXES = (".csv", ".json", ".npz", ".txt")
"""What answers can be written as."""


@click.command("predict")
@click.argument("run")
@click.argument("new_data", metavar="DATA", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file: .csv, .json, .npz or .txt.  [default: CSV on the screen]",
)
@click.option(
    "--probabilities", is_flag=True, help="Also those of the classes, bits or next symbols."
)
@click.option(
    "--group", default="", metavar="COLUMN", help="Rows of a table with one value are one sequence."
)
@click.option(
    "--times",
    default="",
    metavar="COLUMN",
    help="When each row was, in the unit of the training's times (moments count seconds), for a "
    "cell that reads the time between rows.",
)
@click.option(
    "--resets",
    default="",
    metavar="COLUMN",
    help="Rows at which the model starts afresh: where it is not 0.",
)
@click.option(
    "--rolling",
    is_flag=True,
    help="An answer at every row that ends a window, not at the last.",
)
@click.option(
    "--window",
    type=click.IntRange(min=1),
    help="Read so many rows at once, the last ones.  [default: as in training, or all]",
)
@click.option("--separator", default="", help="Between the cells of a table.  [default: found out]")
@click.option("--decimal", default="", help="Decimal mark of a table.  [default: found out]")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@own_data_option
@data_option
def predict(
    run: str,
    new_data: Path,
    output: Path | None,
    probabilities: bool,
    group: str,
    times: str,
    resets: str,
    rolling: bool,
    window: int | None,
    separator: str,
    decimal: str,
    force: bool,
    data: tuple[str, ...],
) -> None:
    """Answer for new DATA with the model of RUN, in the units and labels that it was trained on.

    RUN is a run folder (its best cell) or RUN:TRIAL. DATA is raw: a table (CSV, Parquet) with the
    columns of the training in any order, an .npz file with x [T, I] or [N, T, I] (lengths [N] where
    they differ, and times and resets in the form of x), a text, or - for a stream on stdin, which
    is answered row by row where the model
    can. A model that answers once a sequence gives one row a sequence (a table is one, but for
    --group; a text one a line), the others one a position; a forecast of several steps one a step.
    --data says where the data of the training lie, for runs of version 0.1.
    """
    if output is not None:
        if output.suffix.lower() not in SUFFIXES:
            raise ConfigError(
                f"{output}: the suffix says as what answers are written",
                hint=f"allowed: {', '.join(SUFFIXES)}",
            )
        refuse_existing(output, force=force)
    model = load_model(run, data=data)
    from cellsearch.runs.answers import answers, said, stream_answers  # loads torch
    from cellsearch.tasks.tables.read import Written

    written = Written(separator, decimal)
    if str(new_data) == "-" and output is None and model.can_stream:
        whole = {"--group": group, "--resets": resets, "--rolling": rolling, "--window": window}
        asked = [option for option, value in whole.items() if value]
        if asked:
            raise ConfigError(
                "a stream has no groups, and is answered at every row",
                where=asked[0],
                hint="leave it out",
            )
        _print(
            stream_answers(
                model, sys.stdin, probabilities=probabilities, times=times, written=written
            )
        )
        return
    with _file(new_data) as path:
        rows = answers(
            model,
            path,
            probabilities=probabilities,
            group=group,
            times=times,
            resets=resets,
            rolling=rolling,
            window=window or 0,
            written=written,
        )
    if output is None:
        click.echo(said(model.interface, rows, ".csv").decode(), nl=False)
        return
    write_new(output, said(model.interface, rows, output.suffix.lower()), force=force)
    click.echo(f"answers: {output} ({amount(len(rows), 'row')})")


@contextmanager
def _file(path: Path) -> Iterator[Path]:
    """The file itself; for - what comes on stdin, in a file."""
    if str(path) != "-":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="cellsearch-") as folder:
        copy = Path(folder) / "stdin"
        copy.write_bytes(sys.stdin.buffer.read())
        yield copy


def _print(rows: Iterator[dict[str, Any]]) -> None:
    """Rows as CSV; each leaves at once."""
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
        sys.stdout.flush()


COMMANDS = (predict,)
