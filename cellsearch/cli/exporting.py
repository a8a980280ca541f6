"""``cellsearch export``: a cell leaves as a file: PyTorch source, JSON, text, weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellsearch.cli.output import data_option, own_data_option, refuse_other_kind
from cellsearch.files import refuse_existing
from cellsearch.runs.locate import locate

if TYPE_CHECKING:
    from cellsearch.export.source import Precision
    from cellsearch.export.write import Form

__all__ = ["COMMANDS"]

FORMS = ("source", "model", "package", "json", "cell", "state-dict", "onnx")
PRECISIONS = ("float32", "float16", "bfloat16", "int8")


@click.command("export")
@click.argument("cell")
@click.option("--to", "form", type=click.Choice(FORMS), required=True, help="What to write.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The file; the folder of a package.",
)
@click.option(
    "--weights",
    type=click.Choice(["pt", "safetensors"]),
    default="pt",
    show_default=True,
    help="Form of the weights beside source, package and model.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Precision of the weights of source and state-dict; what it costs on validation "
    "data is printed.  [default: as trained]",
)
@click.option(
    "--class-name", default="Recurrent", show_default=True, help="Name of the class in source."
)
@click.option(
    "--step", is_flag=True, help="One step, states in and out, instead of whole sequences: of onnx."
)
@click.option(
    "--with-head",
    is_flag=True,
    help="With embedding or scaling and readout, so that raw values go in and answers come out: of "
    "onnx.",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@own_data_option
@data_option
def export(
    cell: str,
    form: Form,
    output: Path,
    weights: str,
    precision: Precision | None,
    class_name: str,
    step: bool,
    with_head: bool,
    force: bool,
    data: tuple[str, ...],
) -> None:
    """Write CELL to a file.

    CELL is a run folder (its best cell), RUN:TRIAL, a zoo name, or a .cell or .json file. `source`
    is the bare recurrent layer as a Python file that needs nothing but torch; a trained cell's
    weights go beside it. `model` is such a file with the whole trained model: raw values or text
    in, answers in the units and labels of the data out. `package`
    is a folder with that file and the native runtime: as fast as in a search, in training too,
    where there is a C compiler. `state-dict` writes the weights alone (.pt, or .safetensors by the
    file's suffix). `onnx` is the layer for other runtimes, with its weights, checked in onnxruntime
    (pip install 'cellsearch[onnx]').
    """
    if precision and form not in ("source", "state-dict"):
        raise click.UsageError(f"--precision is for source and state-dict, not for {form}")
    if form != "package":
        refuse_other_kind(output, form)
        refuse_existing(output, force=force)
    located = locate(cell, data)
    trial = located.trial
    if trial and form in ("source", "package") and not (precision or trial.has_weights):
        note = f"the weights of {located.label} were not kept; it is exported without"
        click.echo(f"note: {note}", err=True)
    # measured first: where that cannot be done, nothing is written
    measured = located.trained.accuracy(precision) if precision else ""
    options: dict[str, Any] = {"precision": precision, "step": step, "with_head": with_head}
    done = located.export(
        output, form, suffix=weights, class_name=class_name, force=force, **options
    )
    if done.card:
        click.echo(f"card: {done.card}")
    if done.weights:
        click.echo(f"weights: {done.weights}")
    if form == "package":
        built = ", and a built library for Linux on x86-64 with AVX2" if done.built else ""
        click.echo(f"runtime: C sources, compiled on first use{built}")
    click.echo(f"{form}: {output}")
    if measured:
        click.echo(measured)


COMMANDS = (export,)
