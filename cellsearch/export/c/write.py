"""``export --to c``: writes ``NAME.h``, ``NAME.c`` and the test program ``NAME_test.c``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.export.c.functions import Math
from cellsearch.export.c.golden import golden, test_program
from cellsearch.export.c.header import header
from cellsearch.export.c.model import CModel
from cellsearch.export.c.names import identifier
from cellsearch.export.c.source import source
from cellsearch.export.whole import WholeModel
from cellsearch.files import refuse_existing, write_new
from cellsearch.genome.footprint import DevicePrecision, Footprint
from cellsearch.genome.graph import Genome

__all__ = ["ActivationBits", "WrittenC", "c_model", "export_c"]

ActivationBits = Literal[8, 16]


@dataclass(frozen=True)
class WrittenC:
    """What was written."""

    path: Path
    """The ``.c``."""
    header: Path
    """The ``.h``."""
    test: Path
    """The test program."""
    footprint: Footprint
    """What the model takes on a device."""

    @property
    def summary(self) -> str:
        """Flash, memory and multiply-adds in a line."""
        takes = self.footprint
        return (
            f"flash {takes.data_bytes:,} bytes of data and about {takes.code_bytes:,} of code; "
            f"RAM {takes.ram_bytes:,} bytes ({takes.state_bytes:,} of states); "
            f"{takes.macs_per_step:,} multiply-adds a step"
        )


@checked_arguments
def export_c(
    model: WholeModel | Genome,
    path: Path | str,
    *,
    weights: Mapping[str, Any] | None = None,
    sizes: Mapping[str, Any] | None = None,
    precision: DevicePrecision = "float32",
    activation_bits: ActivationBits = 8,
    math: Math = "libm",
    doc: str = "",
    force: bool = False,
) -> WrittenC:
    """Write a model as C99 that allocates nothing: ``NAME.h``, ``NAME.c``, and ``NAME_test.c``,
    whose exit code says whether the answers are those of torch.

    model: a whole trained model, raw values in and answers out; or a cell with ``weights`` (the
        state dict of its layer) and ``sizes`` (the arguments of ``compile_cell``): the layers
        alone.
    path: the ``.c``; its stem is ``NAME``, the first part of all public names.
    precision: ``"int8"``: dense weights are 8-bit integers with a scale a row, and what they
        multiply is rounded to ``activation_bits`` bits; sums are 32-bit integers. Dense products
        use integers only, all else floats.
    math: ``"libm"``, or ``"table"``: exp, tanh and the like are part of the file (errors below
        1e-6), which then needs no library.
    doc: where the model comes from, in a sentence.

    Nothing is overwritten unless ``force``. Raises :class:`ConfigError` for a bidirectional model
    (a stream has no future), for ops and numbers that C of this kind does not have, and for names
    that cannot be; :class:`EnvironmentFailure` if the place cannot be written.
    """
    path = Path(path)
    made = c_model(
        model,
        path,
        weights=weights,
        sizes=sizes,
        precision=precision,
        activation_bits=activation_bits,
        math=math,
        doc=doc,
    )
    beside, test = path.with_suffix(".h"), path.with_name(f"{path.stem}_test.c")
    texts = {beside: header(made), path: source(made), test: test_program(made, golden(made))}
    for file in texts:
        refuse_existing(file, force=force)
    for file, text in texts.items():
        write_new(file, text, force=force)
    return WrittenC(path, beside, test, made.footprint)


def c_model(
    model: WholeModel | Genome,
    path: Path,
    *,
    weights: Mapping[str, Any] | None = None,
    sizes: Mapping[str, Any] | None = None,
    precision: DevicePrecision = "float32",
    activation_bits: ActivationBits = 8,
    math: Math = "libm",
    doc: str = "",
) -> CModel:
    """What :func:`export_c` writes."""
    _check_name(path)
    if precision not in get_args(DevicePrecision):
        allowed = " or ".join(get_args(DevicePrecision))
        raise ConfigError(f"C is not written in {precision}", hint=f"use {allowed}")
    if activation_bits not in get_args(ActivationBits):
        raise ConfigError(f"activation_bits is {activation_bits!r}", hint="use 8 or 16")
    whole = model if isinstance(model, WholeModel) else None
    if isinstance(model, WholeModel):
        genome, arrays, given = model.genome, _whole_weights(model), model.sizes
    else:
        genome, given = model, dict(sizes or {})
        arrays = {name: np.asarray(weight) for name, weight in (weights or {}).items()}
    if (not arrays and genome.parameters) or "input_size" not in given:
        raise ConfigError(
            "a file of C holds weights, and the cell has none",
            hint="name a trained cell: a run folder, or RUN:TRIAL; in Python, give weights and "
            "sizes",
        )
    if given.get("bidirectional"):
        raise ConfigError(
            "a bidirectional model cannot run step by step: a stream has no future",
            hint="use --to onnx or --to model, or search with bidirectional = false",
        )
    name = identifier(path.stem)
    return CModel(
        name=name if name[0].isalpha() else f"m{name}",
        genome=genome,
        input_size=given["input_size"],
        hidden_size=given["hidden_size"],
        num_layers=given.get("num_layers", 1),
        named=dict(given.get("sizes") or {}),
        weights=arrays,
        interface=whole.interface if whole is not None else None,
        activation_bits=activation_bits if precision == "int8" else 0,
        math=math,
        doc=doc,
        file=path.stem,
    )


def _whole_weights(whole: WholeModel) -> dict[str, Any]:
    """The weights of the layers without ``cell.``, the others as they are."""
    others = {k: v for k, v in whole.weights.items() if not k.startswith("cell.")}
    return {**others, **whole.cell_weights}


def _check_name(path: Path) -> None:
    if path.suffix != ".c":
        raise ConfigError(
            f"{path.name} is not a name for a C file",
            hint=f"for example {path.stem or 'model'}.c; the header and the test go beside it",
        )
    if not re.fullmatch(r"[\w.+-]+", path.stem):
        raise ConfigError(
            f"{path.stem!r} cannot stand in an #include",
            hint="use letters, digits, _, -, + and .",
        )
