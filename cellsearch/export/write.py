"""A cell as files, complete or not there: a table of forms, each with what writes it."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, from_numpy

from cellsearch.errors import ConfigError, EnvironmentFailure, checked_arguments
from cellsearch.export.c.functions import Math
from cellsearch.export.c.write import ActivationBits, export_c
from cellsearch.export.card import Facts, card_path, model_card
from cellsearch.export.model import to_model_source
from cellsearch.export.package import to_package
from cellsearch.export.source import Precision, to_source
from cellsearch.export.torch_export import to_torch_export
from cellsearch.export.weights import in_precision, packed
from cellsearch.export.whole import WholeModel
from cellsearch.files import refuse_existing, write_new
from cellsearch.genome.footprint import DevicePrecision
from cellsearch.genome.graph import Genome

__all__ = ["FORMS", "WHOLE", "Exported", "Form", "Request", "export_cell"]

Form = Literal[
    "source", "package", "json", "cell", "state-dict", "model", "onnx", "torch-export", "c"
]
FORMS: tuple[Form, ...] = get_args(Form)
WHOLE: tuple[Form, ...] = ("model", "c")
"""The forms that hold the whole trained model."""
FOLDERS: tuple[Form, ...] = ("package",)
"""The forms that are folders."""
OF_FORMS: dict[str, tuple[Form, ...]] = {
    "a precision": ("source", "state-dict", "c"),
    "a single step": ("onnx", "torch-export"),
    "a reset": ("source", "model", "package", "onnx", "torch-export"),
    "a head": ("onnx", "torch-export", *WHOLE),
    "an input projection": ("source", "package", "state-dict"),
}
"""What only some forms can have."""
_SAID: dict[Form, str] = {
    "source": "The bare recurrent layer as Python that imports torch only, called like "
    "torch.nn.LSTM; the weights, where it was trained, lie beside it.",
    "package": "The bare recurrent layer as a Python package with the native runtime.",
    "json": "The cell, without weights, in the exact form that cellsearch reads.",
    "state-dict": "The weights of the bare recurrent layer, under the names of compile_cell.",
    "model": "The whole trained model as Python that imports torch only: raw values or text in, "
    "answers in the units and labels of the data out. `load().predict(data)`; the weights lie "
    "beside it.",
    "torch-export": "A program with its weights that torch.export.load reads; cellsearch.json in "
    "it holds equations, first states and, with a head, what goes in and comes out.",
    "onnx": "A model with its weights for ONNX runtimes; its metadata hold equations, first states "
    "and, with a head, what goes in and comes out.",
    "c": "The model in C99 that allocates nothing: a header and a source file, for any device with "
    "a C compiler, and a test program that says by its exit code whether the answers are right.",
}
"""What the card says of each form; a ``.cell`` file says it itself."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    """The file; the folder of a package."""
    weights: Path | None = None
    """The file of weights beside the source, or in the package."""
    built: bool = False
    """Whether a package holds a built library."""
    card: Path | None = None
    """The model card."""
    takes: str = ""
    """Flash, memory and multiply-adds of C, in a line."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be written: all that a form may need."""

    genome: Genome
    path: Path
    doc: str
    """Where the cell comes from, in a sentence."""
    weights: Mapping[str, Tensor]
    """The state dict of the layer; empty for an untrained cell."""
    sizes: Mapping[str, Any]
    """The arguments of ``compile_cell`` that the weights fit."""
    suffix: str
    """Of the file of weights."""
    class_name: str
    """Of the layer."""
    precision: Precision | None
    """Of the weights; ``None``: as trained."""
    force: bool
    """Whether files are overwritten."""
    step: bool
    """Whether it is one step instead of whole sequences."""
    whole: WholeModel | None
    """The whole trained model, for the forms that hold it."""
    resets: bool = False
    """Whether it is told where states start afresh."""
    activation_bits: ActivationBits = 8
    """Of what 8-bit weights multiply, in C."""
    math: Math = "libm"
    """Where functions come from, in C."""

    @property
    def described(self) -> dict[str, Any]:
        """What source and package are told."""
        return {"class_name": self.class_name, "doc": self.doc, **self.sizes}


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
    step: bool = False,
    whole: WholeModel | None = None,
    facts: Facts | None = None,
    activation_bits: ActivationBits = 8,
    math: Math = "libm",
    resets: bool = False,
) -> Exported:
    """Write a cell, and beside a trained one or one of a run a card that says what it is. Nothing
    is overwritten unless ``force``.

    form: ``"source"``, a Python file with the bare layer that needs nothing but torch, with the
        weights beside it; ``"package"``, a folder with that file and the native runtime;
        ``"json"``, ``"cell"``; ``"state-dict"``, the weights alone, as safetensors if the file is
        called so; ``"model"``, a Python file with the whole trained model; ``"onnx"``, the layer
        with its weights for other runtimes (:mod:`cellsearch.export.onnx.write`);
        ``"torch-export"``, the same for torch without Python source
        (:mod:`cellsearch.export.torch_export`); ``"c"``, C99 with
        the whole trained model, or the layers alone where ``weights`` and ``sizes`` are given
        (:func:`cellsearch.export.c.export_c`, also on ``activation_bits`` and ``math``).
    doc: where the cell comes from, in a sentence.
    weights: the state dict of its layer, if it is to leave with one.
    sizes: the arguments of ``compile_cell`` that the weights fit.
    suffix: of the file of weights of source, package and model, ``"pt"`` or ``"safetensors"``.
    class_name: of the layer in source, package and model.
    precision: of the weights of source and state-dict (default: as trained), and of C (default:
        float32).
    step: one step instead of whole sequences, for ``"onnx"`` and ``"torch-export"``.
    whole: the whole trained model, which ``"model"`` needs; ``"onnx"`` and ``"torch-export"`` then
        begin with raw values and end with answers.
    facts: what its run knows of it, for the card.
    resets: whether source, model, package, ``"onnx"`` and ``"torch-export"`` have a further input
        that says where states start afresh; source, model and package of a cell that reads
        ``dt[t]`` or ``mask[t]`` always have it, and C can always start afresh.

    Raises :class:`ConfigError` for what is there already or cannot be written like this,
    :class:`EnvironmentFailure` if the place cannot be written.
    """
    if form not in FORMS:
        raise ConfigError(f"{form!r} is not a form of export", hint=f"allowed: {', '.join(FORMS)}")
    for what, forms in OF_FORMS.items():
        asked = {"a precision": precision, "a single step": step, "a head": whole}
        projects = (sizes or {}).get("project_input")
        given = {**asked, "a reset": resets, "an input projection": projects}[what]
        if given and form not in forms:
            raise ConfigError(f"{what} is for {' and '.join(forms)}, not for {form}")
    if form in WHOLE and whole is None and (form == "model" or not weights):
        raise ConfigError(
            f"a {form} is a trained model, and this is a cell without one",
            hint="name a trained cell: a run folder (its best cell), or RUN:TRIAL",
        )
    request = Request(
        genome=genome,
        path=path,
        doc=doc,
        weights=weights or {},
        sizes=sizes or {},
        suffix=suffix,
        class_name=class_name,
        precision=precision,
        force=force,
        step=step,
        whole=whole,
        activation_bits=activation_bits,
        math=math,
        resets=resets,
    )
    card = path / "README.md" if form in FOLDERS else card_path(path)
    if form not in FOLDERS:
        refuse_existing(path, force=force)
    # What is known of an untrained cell stands in the file itself.
    described = form in _SAID and bool(weights or whole or facts)
    if described:
        refuse_existing(card, force=force)
    done = _WRITERS[form](request)
    if not described:
        return done
    text = model_card(
        path.name,
        genome,
        form=_SAID[form],
        sizes=whole.sizes if whole is not None else request.sizes,
        weights=whole.weights if whole is not None else request.weights,
        interface=whole.interface if whole is not None else None,
        facts=facts,
        doc=doc,
        more={"On a device": (f"- {done.takes}.",)} if done.takes else None,
    )
    write_new(card, text, force=force)
    return replace(done, card=card)


def _source(request: Request) -> Exported:
    path, precision = request.path, request.precision
    tensors = request.weights
    if precision:
        tensors = in_precision(request.genome, tensors, precision)
    beside = path.with_suffix(f".{request.suffix}") if tensors else None
    name = beside.name if beside else ""
    source = to_source(
        request.genome,
        weights=name,
        precision=precision or "float32",
        resets=request.resets,
        **request.described,
    )
    if beside:
        write_new(beside, packed(tensors, beside.suffix), force=request.force)
    write_new(path, source, force=request.force)
    return Exported(path, beside)


def _model(request: Request) -> Exported:
    path, whole = request.path, request.whole
    assert whole is not None
    beside = path.with_suffix(f".{request.suffix}")
    if beside == path:
        raise ConfigError(
            f"{path.name} is a name for the weights, which are written beside the model",
            hint=f"for example {path.stem}.py",
        )
    source = to_model_source(
        whole,
        weights=beside.name,
        class_name=request.class_name,
        doc=request.doc,
        resets=request.resets,
    )
    tensors = {name: from_numpy(array) for name, array in whole.weights.items()}
    write_new(beside, packed(tensors, beside.suffix), force=request.force)
    write_new(path, source, force=request.force)
    return Exported(path, beside)


def _runnable(request: Request, what: str, make: Callable[..., bytes]) -> Exported:
    """A file with weights that something else than Python runs: ``make`` gives its bytes."""
    if not request.sizes:
        raise ConfigError(
            f"a {what} holds weights, and the cell has none",
            hint="name a trained cell: a run folder, or RUN:TRIAL; in Python, give weights and "
            "sizes",
        )
    data = make(
        request.genome,
        request.weights,
        step=request.step,
        whole=request.whole,
        doc=request.doc,
        resets=request.resets,
        **request.sizes,
    )
    write_new(request.path, data, force=request.force)
    return Exported(request.path)


def _onnx(request: Request) -> Exported:
    try:
        from cellsearch.export.onnx import to_onnx  # loads libraries that are an extra
    except ModuleNotFoundError as error:
        raise EnvironmentFailure(
            f"{error.name} is not installed, which writes and checks files of ONNX",
            hint="pip install 'cellsearch[onnx]'",
        ) from error
    return _runnable(request, "file of ONNX", to_onnx)


def _torch_export(request: Request) -> Exported:
    return _runnable(request, "program of torch.export", to_torch_export)


def _c(request: Request) -> Exported:
    if request.precision not in (None, *get_args(DevicePrecision)):
        raise ConfigError(
            f"C is not written in {request.precision}",
            hint=f"use {' or '.join(get_args(DevicePrecision))}",
        )
    done = export_c(
        request.genome if request.whole is None else request.whole,
        request.path,
        weights=request.weights,
        sizes=request.sizes,
        precision="int8" if request.precision == "int8" else "float32",
        activation_bits=request.activation_bits,
        math=request.math,
        doc=request.doc,
        force=request.force,
    )
    return Exported(done.path, takes=done.summary)


def _state_dict(request: Request) -> Exported:
    tensors = request.weights
    if request.precision:
        tensors = in_precision(request.genome, tensors, request.precision)
    write_new(request.path, packed(tensors, request.path.suffix), force=request.force)
    return Exported(request.path)


def _json(request: Request) -> Exported:
    write_new(request.path, request.genome.to_json(), force=request.force)
    return Exported(request.path)


def _cell(request: Request) -> Exported:
    write_new(request.path, request.genome.to_text(request.doc), force=request.force)
    return Exported(request.path)


def _package(request: Request) -> Exported:
    """The folder of a package. What it needs to be imported is written last."""
    folder, weights, force = request.path, request.weights, request.force
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
    beside = folder / f"weights.{request.suffix}" if weights else None
    contents = to_package(
        request.genome,
        weights=beside.name if beside else "",
        resets=request.resets,
        **request.described,
    )
    if beside:
        write_new(beside, packed(weights, beside.suffix), force=force)
    for path, data in contents.items():
        write_new(folder / path, data, force=force)
    return Exported(folder, beside, built=any(path.endswith(".so") for path in contents))


_WRITERS: dict[Form, Callable[[Request], Exported]] = {
    "source": _source,
    "package": _package,
    "json": _json,
    "cell": _cell,
    "state-dict": _state_dict,
    "model": _model,
    "onnx": _onnx,
    "c": _c,
    "torch-export": _torch_export,
}
