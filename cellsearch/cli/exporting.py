"""``cellsearch export``: a cell leaves as a file: PyTorch source, JSON, text, weights."""

from __future__ import annotations

import io
import keyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellsearch.cli.output import data_option, refuse_existing, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from cellsearch.export.source import Precision
    from cellsearch.runs.locate import Located

__all__ = ["COMMANDS"]

FORMS = ("source", "package", "json", "cell", "state-dict")
PRECISIONS = ("float32", "float16", "bfloat16", "int8")


@click.command("export", short_help="Write a cell as PyTorch, fast package, JSON, text or weights.")
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
    help="Form of the weights beside source.",
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
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@data_option
def export(
    cell: str,
    form: str,
    output: Path,
    weights: str,
    precision: Precision | None,
    class_name: str,
    force: bool,
) -> None:
    """Write CELL to a file.

    CELL is a run folder (its best cell), RUN:TRIAL, a zoo name, or a .cell or .json file. `source`
    is a Python file that needs nothing but torch; a trained cell's weights go beside it. `package`
    is a folder with that file and the native runtime: as fast as in a search, in training too,
    where there is a C compiler. `state-dict` writes the weights alone (.pt, or .safetensors by the
    file's suffix).
    """
    from cellsearch.runs.locate import locate

    if precision and form not in ("source", "state-dict"):
        raise click.UsageError(f"--precision is for source and state-dict, not for {form}")
    if form != "package":
        refuse_existing(output, force=force)
    located = locate(cell)
    if form == "json":
        write_atomically(output, located.genome.to_json(), force=force)
    elif form == "cell":
        write_atomically(output, located.genome.to_text(located.provenance), force=force)
    elif form == "state-dict":
        write_atomically(
            output,
            packed(reduced(located, located.trained.weights(), precision), output.suffix),
            force=force,
        )
    elif form == "package":
        write_package(located, output, weights, class_name, force=force)
    else:
        write_source(located, output, weights, class_name, precision, force=force)
    click.echo(f"{form}: {output}")
    if precision:
        click.echo(located.trained.accuracy(precision))


def write_source(
    located: Located,
    output: Path,
    suffix: str,
    class_name: str,
    precision: Precision | None,
    *,
    force: bool,
) -> None:
    """The Python file, and the weights beside it if the cell was trained."""
    from cellsearch.export.source import to_source

    beside = output.with_suffix(f".{suffix}")
    tensors = located.trained.weights() if precision else kept_weights(located)
    if tensors:
        refuse_existing(beside, force=force)
    source = to_source(
        located.genome,
        class_name=class_name,
        doc=located.provenance,
        weights=beside.name if tensors else "",
        precision=precision or "float32",
        **sizes(located, tensors),
    )
    if tensors:
        write_atomically(
            beside, packed(reduced(located, tensors, precision), beside.suffix), force=force
        )
        click.echo(f"weights: {beside}")
    write_atomically(output, source, force=force)


def write_package(
    located: Located, folder: Path, suffix: str, class_name: str, *, force: bool
) -> None:
    """The folder of a package, with the weights in it if the cell was trained. What it needs to be
    imported is written last.
    """
    from cellsearch.errors import ConfigError
    from cellsearch.export.package import to_package

    if not folder.name.isidentifier() or keyword.iskeyword(folder.name):
        raise ConfigError(
            f"{folder.name!r} cannot be imported: it is no name in Python",
            hint="for example -o best_cell",
        )
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not force):
        raise ConfigError(
            f"{folder} exists", hint="choose another name, or overwrite its files with --force"
        )
    tensors = kept_weights(located)
    name = f"weights.{suffix}" if tensors else ""
    contents = to_package(
        located.genome,
        class_name=class_name,
        doc=located.provenance,
        weights=name,
        **sizes(located, tensors),
    )
    if tensors:
        write_atomically(folder / name, packed(tensors, f".{suffix}"), force=force)
    for path, data in contents.items():
        write_atomically(folder / path, data, force=force)
    if tensors:
        click.echo(f"weights: {folder / name}")
    built = any(path.endswith(".so") for path in contents)
    click.echo(
        "runtime: C sources, compiled on first use"
        + (", and a built library for Linux on x86-64 with AVX2" if built else "")
    )


def kept_weights(located: Located) -> dict[str, Tensor]:
    """The weights of a trained cell, none for another; says so where a run has not kept them."""
    if located.trial is None:
        return {}
    if located.trial.has_weights:
        return located.trial.weights()
    click.echo(
        f"note: the weights of {located.label} were not kept; it is exported without", err=True
    )
    return {}


def sizes(located: Located, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments with which the cell was trained; empty for one that was not."""
    return located.trial.sizes(tensors) if located.trial is not None and tensors else {}


def reduced(
    located: Located, tensors: dict[str, Tensor], precision: Precision | None
) -> dict[str, Tensor]:
    """The weights in the precision that was asked for."""
    from cellsearch.export.weights import in_precision

    return in_precision(located.genome, tensors, precision) if precision else tensors


def packed(tensors: dict[str, Tensor], suffix: str) -> bytes:
    """A state dict as bytes: safetensors, or what ``torch.load(..., weights_only=True)`` reads."""
    if suffix == ".safetensors":
        from safetensors.torch import save

        data: bytes = save(tensors)
        return data
    import torch

    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


COMMANDS = (export,)
