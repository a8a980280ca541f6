"""``cellsearch export``: a cell leaves as a file: PyTorch source, JSON, text, weights."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cellsearch.cli.output import data_option, own_data_option, refuse_other_kind, size_option
from cellsearch.errors import EnvironmentFailure, amount, quoted
from cellsearch.files import refuse_existing
from cellsearch.runs import open_run
from cellsearch.runs.locate import locate
from cellsearch.tracking.optuna import write_study

if TYPE_CHECKING:
    from cellsearch.export.c.functions import Math
    from cellsearch.export.source import Precision
    from cellsearch.export.write import Form

__all__ = ["COMMANDS"]

FORMS = (
    "source",
    "model",
    "package",
    "json",
    "cell",
    "state-dict",
    "onnx",
    "torch-export",
    "c",
    "optuna",
)
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
    help="Precision of the weights of source, state-dict and c (float32 or int8); what it costs on "
    "validation data is printed. In source, less than float32 saves memory, not time.  "
    "[default: as trained]",
)
@click.option(
    "--activations",
    type=click.Choice(["8", "16"]),
    default="8",
    show_default=True,
    help="Bits of what the integers of c multiply.",
)
@click.option(
    "--math",
    type=click.Choice(["libm", "table"]),
    default="libm",
    show_default=True,
    help="Where exp and tanh of c come from: the C library, or tables in the file.",
)
@click.option("--bare", is_flag=True, help="Only the layers, without what is around them: of c.")
@click.option(
    "--class-name", default="Recurrent", show_default=True, help="Name of the class in source."
)
@click.option(
    "--step",
    is_flag=True,
    help="One step, states in and out, instead of whole sequences: of onnx and torch-export.",
)
@click.option(
    "--with-head",
    is_flag=True,
    help="With embedding or scaling and readout, so that raw values go in and answers come out: of "
    "onnx and torch-export.",
)
@click.option(
    "--with-reset",
    is_flag=True,
    help="A further input says where states start afresh: of source, model, package, onnx and "
    "torch-export.",
)
@size_option
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@own_data_option
@data_option
def export(
    cell: str,
    form: Form | Literal["optuna"],
    output: Path,
    weights: str,
    precision: Precision | None,
    class_name: str,
    step: bool,
    with_head: bool,
    with_reset: bool,
    sizes: dict[str, int | str],
    activations: str,
    math: Math,
    bare: bool,
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
    (pip install 'cellsearch[onnx]'). `torch-export` is a .pt2 file that torch loads without
    Python source, weights included, for any length and batch size. `c` is the whole trained model
    in C99 for small devices, with a test program. `optuna` is the whole run CELL as a study in an
    SQLite file, for optuna-dashboard (pip install 'cellsearch[optuna]').
    Source of a cell that is not trained, and whose sizes have names, needs them: `--size P=H/2`.
    """
    if form == "optuna":
        _study(Path(cell), output, force=force)
        return
    if precision and form not in ("source", "state-dict", "c"):
        raise click.UsageError(f"--precision is for source and state-dict, or c, not for {form}")
    if form != "c" and (bare or math != "libm" or activations != "8"):
        raise click.UsageError(f"--activations, --math and --bare are for c, not for {form}")
    if form != "package":
        refuse_other_kind(output, form)
        refuse_existing(output, force=force)
    located = locate(cell, data)
    trial = located.trial
    if trial and form in ("source", "package") and not (precision or trial.has_weights):
        note = f"the weights of {located.label} were not kept; it is exported without"
        click.echo(f"note: {note}", err=True)
    # measured first: where that cannot be done, nothing is written
    options: dict[str, Any] = {"precision": precision, "step": step, "with_head": with_head}
    options |= {"resets": True} if with_reset else {}
    options |= {"named": sizes} if sizes else {}
    if form == "c":
        options |= {"bare": bare, "math": math, "activation_bits": int(activations)}
    measured = ""
    if precision and (form, precision) != ("c", "float32"):
        measured = located.trained.accuracy(precision, options.get("activation_bits"))
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
    if done.takes:
        click.echo(done.takes)
    if measured:
        click.echo(measured)


def _study(run: Path, output: Path, *, force: bool) -> None:
    """Write a run as a study of Optuna."""
    if find_spec("optuna") is None:
        raise EnvironmentFailure(
            "optuna is not installed", where="--to optuna", hint="pip install 'cellsearch[optuna]'"
        )
    optuna_log = logging.getLogger("optuna")
    optuna_log.setLevel(logging.WARNING)
    count = write_study(open_run(run), output, force=force)
    click.echo(f"optuna: {output}, {amount(count, 'trial')}")
    click.echo(f"look at it: optuna-dashboard {quoted(f'sqlite:///{output}')}")


COMMANDS = (export,)
