"""The command ``import``: a cell in the notation of another project. It is apart from ``show``
because settings are read by what reads experiments, which loads every part of the program.
"""

from __future__ import annotations

from pathlib import Path

import click

from cellsearch.cli.output import emit_json, json_option, refuse_other_kind
from cellsearch.experiment.overrides import parse_setting
from cellsearch.files import refuse_existing, write_new
from cellsearch.runs.facts import cell_facts
from cellsearch.runs.locate import read_text
from cellsearch.space import LayerSizes
from cellsearch.zoo import importers

__all__ = ["COMMANDS"]


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from", "source", required=True, help="The notation: nas-bench-nlp, darts, enas, ..."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the notation, e.g. opcodes=enas_lm.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write a .cell file; standard output if left out.",
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@json_option
def import_cell(
    file: Path,
    source: str,
    settings: tuple[str, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Read a cell in another project's notation from FILE and print it as a .cell text."""
    if output is not None:
        refuse_other_kind(output, "cell")
        refuse_existing(output, force=force)
    options = dict(parse_setting(setting) for setting in settings)
    genome = importers.import_cell(read_text(file), format=source, **options)
    text = genome.to_text(f"Imported from {file.name} ({source}).")
    if output is not None:
        write_new(output, text, force=force)
    if as_json:
        emit_json(
            {
                "name": file.stem,
                "output": str(output) if output else None,
                **cell_facts(genome, LayerSizes(64, 64)),
            }
        )
    else:
        click.echo(f"cell: {output}" if output is not None else text, nl=output is not None)


COMMANDS = (import_cell,)
