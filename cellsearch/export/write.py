"""A cell as files: source, package, JSON, text, or weights alone, complete or not there."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.export.package import to_package
from cellsearch.export.source import Precision, to_source
from cellsearch.export.weights import in_precision, packed
from cellsearch.files import refuse_existing, write_new
from cellsearch.genome.graph import Genome

__all__ = ["FORMS", "Exported", "Form", "export_cell"]

Form = Literal["source", "package", "json", "cell", "state-dict"]
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    """The file; the folder of a package."""
    weights: Path | None = None
    """The file of weights beside the source, or in the package."""
    built: bool = False
    """Whether a package holds a built library."""


@checked_arguments
def export_cell(
    genome: Genome,
    path: Path,
    form: Form,
    *,
    doc: str = "",
    weights: Mapping[str, Tensor] | None = None,
    sizes: Mapping[str, Any] | None = None,
    suffix: str = "pt",
    class_name: str = "Recurrent",
    precision: Precision | None = None,
    force: bool = False,
) -> Exported:
    """Write a cell. Nothing is overwritten unless ``force``.

    form: ``"source"``, a Python file that needs nothing but torch, with the weights beside it;
        ``"package"``, a folder with that file and the native runtime; ``"json"``, ``"cell"``;
        ``"state-dict"``, the weights alone, as safetensors if the file is called so.
    doc: where the cell comes from, in a sentence.
    weights: the state dict of its layer, if it is to leave with one.
    sizes: the arguments of ``compile_cell`` that the weights fit.
    suffix: of the file of weights of source and package, ``"pt"`` or ``"safetensors"``.
    class_name: of the layer in source and package.
    precision: of the weights of source and state-dict (default: as trained).

    Raises :class:`ConfigError` for what is there already or cannot be written like this,
    :class:`EnvironmentFailure` if the place cannot be written.
    """
    if form not in FORMS:
        raise ConfigError(f"{form!r} is not a form of export", hint=f"allowed: {', '.join(FORMS)}")
    if precision and form not in ("source", "state-dict"):
        raise ConfigError(f"a precision is for source and state-dict, not for {form}")
    described: dict[str, Any] = {"class_name": class_name, "doc": doc, **(sizes or {})}
    if form == "package":
        return _package(genome, path, weights or {}, described, suffix, force=force)
    refuse_existing(path, force=force)
    tensors = in_precision(genome, weights or {}, precision) if precision else dict(weights or {})
    if form == "source":
        return _source(genome, path, tensors, described, suffix, precision, force=force)
    if form == "state-dict":
        write_new(path, packed(tensors, path.suffix), force=force)
    else:
        text = genome.to_json() if form == "json" else genome.to_text(doc)
        write_new(path, text, force=force)
    return Exported(path)


def _source(
    genome: Genome,
    path: Path,
    weights: Mapping[str, Tensor],
    described: Mapping[str, Any],
    suffix: str,
    precision: Precision | None,
    *,
    force: bool,
) -> Exported:
    beside = path.with_suffix(f".{suffix}") if weights else None
    name = beside.name if beside else ""
    source = to_source(genome, weights=name, precision=precision or "float32", **described)
    if beside:
        write_new(beside, packed(weights, beside.suffix), force=force)
    write_new(path, source, force=force)
    return Exported(path, beside)


def _package(
    genome: Genome,
    folder: Path,
    weights: Mapping[str, Tensor],
    described: Mapping[str, Any],
    suffix: str,
    *,
    force: bool,
) -> Exported:
    """The folder of a package. What it needs to be imported is written last."""
    if not folder.name.isidentifier() or keyword.iskeyword(folder.name):
        raise ConfigError(
            f"{folder.name!r} cannot be imported: it is not a name in Python",
            hint="for example best_cell",
        )
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not force):
        raise ConfigError(
            f"{folder} exists",
            hint="choose another name, or overwrite its files with --force (in Python, force=True)",
        )
    beside = folder / f"weights.{suffix}" if weights else None
    contents = to_package(genome, weights=beside.name if beside else "", **described)
    if beside:
        write_new(beside, packed(weights, beside.suffix), force=force)
    for path, data in contents.items():
        write_new(folder / path, data, force=force)
    return Exported(folder, beside, built=any(path.endswith(".so") for path in contents))
