"""Cells with delays, windows, rotations, sizes, blocks, times and masks in every form of export:
what the compiled layer computes.
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
from cellsearch.export.source import to_source
from cellsearch.genome.parameters import requires_square, size_names

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
    agrees(genome, 5, 3, sizes=(SIZE, SIZE), resets=True)
    many = {} if requires_square(genome) else {"num_layers": 2}
    agrees(genome, 4, 2, sizes=(SIZE, SIZE), bidirectional=True, **many)


def as_torch_export(genome: Genome, _: Path) -> None:
    layer = layer_of(genome)
    check_all(layer, loaded(exported(layer)), (1, 5))
    if len(genome.inputs) == 1 and not genome.sized:
        return
    torch.manual_seed(1)
    options = {"num_layers": 1 if requires_square(genome) else 2, "bidirectional": True}
    both = compile_cell(genome, SIZE, SIZE, sizes=named(genome), backend="reference", **options)
    check_all(both, loaded(exported(both, resets=True)), (3,), resets=True)


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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [*TIMED, *SIZED, *PLAIN])
def test_each_form_is_right(form: str, name: str, tmp_path: Path) -> None:
    FORMS[form](zoo.load(name), tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", ROTATED)
def test_rotations_in_each_form(text: str, tmp_path: Path) -> None:
    genome = Genome.from_text(text)
    for form in FORMS:
        FORMS[form](genome, tmp_path)
    source = to_source(genome)
    assert "_rotate(" in source
    assert np.max([len(line) for line in source.splitlines() if "_rotate" in line]) <= 110
