"""Cells with delays, windows, rotations, sizes, blocks, times and masks in every form of export:
what the compiled layer computes, or a refusal that says why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export.c.test_layers import differences
from export.test_onnx import agrees
from export.test_package import compare, write
from export.test_torch_export import check_all, exported, loaded
from support.c_files import layers
from support.cells import beside

from cellsearch import Genome, compile_cell, zoo
from cellsearch.errors import CellsearchError
from cellsearch.export.onnx import to_onnx
from cellsearch.export.source import to_source
from cellsearch.genome.parameters import size_names

TIMED = ["gru_d", "gru_dh", "cfc", "ltc", "time_lstm"]
SIZED = [
    "lru",
    "rotrnn",
    "hgrn_complex",
    "lstmp",
    "fastgrnn_low_rank",
    "slstm_heads",
    "gru_dreamer",
]
PLAIN = ["qrnn_fo2", "dilated_rnn", "horn", "mingru_conv"]
SIZE = 8
ROTATED = [
    "h[t] = tanh(linear(x[t]) + rotate(h[t-1], 0.3))",
    "h[t] = rotate(linear(x[t]), -2) * 0.5 + rotate(h[t-1], scale(0.5)) * 0.5",
    "h[t] = rotate(rotate(2 * h[t-1], 0.5) + rotate(bias(), 1), 0.1) / 4 + linear(x[t])",
]


def layer_of(genome: Genome) -> Any:
    torch.manual_seed(0)
    return compile_cell(genome, SIZE, SIZE, sizes=named(genome), backend="reference")


def named(genome: Genome) -> dict[str, int | str]:
    """Numbers for the names of sizes."""
    return dict.fromkeys(size_names(genome), "H/2")


def as_source(genome: Genome, _: Path) -> None:
    layer = layer_of(genome)
    source = to_source(genome, input_size=SIZE, hidden_size=SIZE)
    space: dict[str, Any] = {"__name__": "exported"}
    exec(compile(source, "exported.py", "exec"), space)
    copy = space["Recurrent"]()
    copy.load_state_dict(layer.state_dict())
    x = torch.randn(5, 3, SIZE)
    given = beside(genome, x)
    torch.testing.assert_close(copy(x, **given), layer(x, **given))


def as_onnx(genome: Genome, _: Path) -> None:
    to_onnx(genome, layer_of(genome).state_dict(), input_size=SIZE, hidden_size=SIZE)
    agrees(genome, 5, 3, sizes=(SIZE, SIZE))
    agrees(genome, 4, 2, sizes=(SIZE, SIZE), bidirectional=True)


def as_torch_export(genome: Genome, _: Path) -> None:
    layer = layer_of(genome)
    check_all(layer, loaded(exported(layer)), (1, 5))


def as_c(genome: Genome, folder: Path) -> None:
    assert max(differences(layers(genome, SIZE, SIZE, named=named(genome)), folder)) <= 1e-5


def as_package(genome: Genome, folder: Path) -> None:
    write(folder, "made", genome)
    # float32; the gradient of one angle for all units is a sum whose terms cancel
    assert compare(folder, {"made": {"input_size": SIZE, "hidden_size": SIZE}})["made"] < 1e-4


FORMS: dict[str, Callable[[Genome, Path], None]] = {
    "source": as_source,
    "onnx": as_onnx,
    "torch-export": as_torch_export,
    "c": as_c,
    "package": as_package,
}


def refusal(form: str, name: str) -> str:
    """What the form says of the cell; empty where it can write it."""
    if form == "c":
        return ""
    if name in TIMED and form != "source":
        return "the cell reads dt"
    if name in SIZED and form in ("onnx", "torch-export"):
        return "cannot take a cell with (size|blocks)="
    if name in ("lstmp", "slstm_heads", "gru_dreamer") and form == "package":
        return "the native runtime cannot run this cell"
    return ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [*TIMED, *SIZED, *PLAIN])
def test_each_form_is_right_or_says_why_not(form: str, name: str, tmp_path: Path) -> None:
    said, genome = refusal(form, name), zoo.load(name)
    if not said:
        FORMS[form](genome, tmp_path)
        return
    with pytest.raises(CellsearchError, match=said) as found:
        FORMS[form](genome, tmp_path)
    assert found.value.hint


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", ROTATED)
def test_rotations_in_each_form(text: str, tmp_path: Path) -> None:
    genome = Genome.from_text(text)
    for form in FORMS:
        FORMS[form](genome, tmp_path)
    source = to_source(genome)
    assert "_rotate(" in source
    assert np.max([len(line) for line in source.splitlines() if "_rotate" in line]) <= 110
