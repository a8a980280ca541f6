"""Cells whose sizes have names, on the command line: ``--size P=H/2``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

Call = Callable[..., tuple[int, str, str]]
CELL = """
c[t] = sigmoid(linear(x[t], h[t-1])) * c[t-1] + tanh(linear(x[t], h[t-1]))
h[t] = linear(tanh(c[t]), size=P)
"""


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    (tmp_path / "p.cell").write_text(CELL, "utf-8")
    return tmp_path / "p.cell"


def test_show_counts_with_them(call: Call, cell: Path) -> None:
    code, out, _ = call("show", cell, "--size", "P=H/2", "-H", 8, "-I", 3, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["state_floats"] == 8 + 4
    assert found["cell_weights"] == 2 * 8 * (3 + 4 + 1) + 4 * 8 + 4
    code, out, _ = call("show", cell, "--size", "P=4", "-H", 8, "-I", 3)
    assert "state floats" in out
    assert "12 carried" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--size P=H/2"),
        (("--size", "Q=3"), "it has P"),
        (("--size", "P"), "is not NAME=SIZE"),
        (("--size", "P=H/3"), "nearest H that do: 63, 66"),
        (("--size", "P=-1"), "the size P is '-1'"),
    ],
)
def test_what_is_wrong_with_them_is_said(
    call: Call, cell: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = call("show", cell, *arguments)
    assert code == 2
    assert said in err


def test_source_leaves_with_them(call: Call, cell: Path, tmp_path: Path) -> None:
    assert call("export", cell, "--to", "source", "-o", tmp_path / "p.py", "--size", "P=5")[0] == 0
    space: dict[str, type] = {"__name__": "exported"}
    exec((tmp_path / "p.py").read_text("utf-8"), space)
    assert space["Recurrent"](3, 8)(torch.randn(4, 2, 3))[0].shape == (4, 2, 5)


@pytest.mark.parametrize("option", [("--size", "P=H/4"), ("--set", "training.sizes.P=H/4")])
def test_it_is_trained_with_them(call: Call, cell: Path, option: tuple[str, str]) -> None:
    arguments = ("--task", "parity", "--steps", 2, "--hidden", 8, *option, "--json")
    code, out, err = call("evaluate", cell, *arguments)
    assert code == 0, err
    found = json.loads(out)
    assert found["training"]["sizes"] == {"P": "H/4"}
    assert found["model_weights"] - found["cell_weights"] == 2 * 8 + 2 * 2 + 2
