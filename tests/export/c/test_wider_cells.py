"""Cells with sizes, blocks, heads, rotations, times and masks in C: against the plain torch backend,
at sizes that are not even, with the memory that was promised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export.c.test_layers import apart, differences
from support.c_files import SANITIZED, STRICT, Loaded, built, layers, needs, replayed, taken, write

from cellsearch import Genome, compile_cell
from cellsearch.export.c.model import CModel
from cellsearch.genome.footprint import footprint
from cellsearch.genome.step_plan import StepPlan

CELLS: dict[str, tuple[str, tuple[int, ...], dict[str, int | str]]] = {
    "projection": (
        "o = sigmoid(linear(x[t], h[t-1]))\nc[t] = o * c[t-1] + tanh(linear(x[t], h[t-1]))\n"
        "h[t] = linear(o * tanh(c[t]), size=P)\nc[0] = 0.5",
        (3, 7, 2),
        {"P": 5},
    ),
    "wide output": (
        "h[t] = tanh(linear(linear(x[t], h[t-1], size=R)))\ny[t] = linear(h[t], size=3*H)",
        (1, 5, 2),
        {"R": 1},
    ),
    "blocks": (
        "u = linear(h[t-1], blocks=3, bias=False) + linear(x[t])\n"
        "w = tanh(head_norm(linear(u, size=2*H, blocks=9), 6))\n"
        "h[t] = head_norm(u, 3) + linear(w)",
        (65, 9, 1),
        {},
    ),
    "heads of states": (
        "h[t] = head_norm(h[t-1], 5) * 0.5 + head_norm(bias(), 1) + linear(x[t])\n"
        "m[t] = head_norm(m[t-1], 3) + head_norm(h[t-1], 3)",
        (2, 15, 1),
        {},
    ),
    "pairs": (
        "h[t] = sigmoid(bias()) * rotate(h[t-1], exp(bias(size=H/2))) + linear(x[t])",
        (3, 6, 2),
        {},
    ),
    "angles of all kinds": (
        "a = linear(x[t], h[t-1], size=H/2)\n"
        "h[t] = rotate(rotate(h[t-1], a) + rotate(bias(), bias(size=H/2)), 0.2) / 2\n"
        "g[t] = rotate(g[t-1], 1) + linear(h[t])\nk[t] = rotate(k[t-1], scale(dt[t])) * 0.9 + linear(x[t])",
        (63, 4, 1),
        {},
    ),
    "angles are a state": (
        "p[t] = p[t-1] + linear(x[t], size=H/2)\nh[t] = rotate(h[t-1], p[t-1]) * 0.5 + linear(p[t])",
        (3, 2, 2),
        {},
    ),
    "times": (
        "g = exp(-dt[t])\nn = linear(x[t], mask[t], h[t-1], dt[t]) * dt[t]\n"
        "h[t] = g * h[t-1] + tanh(n) / (1 + g)\nc[t] = dt[t]\nd[t] = unit(dt[t]) + c[t-1]",
        (3, 5, 3),
        {},
    ),
    "masks meet": (
        "h[t] = mask[t] * x[t] + (1 - mask[t]) * h[t-1]\nm[t] = mask[t]\n"
        "y[t] = tanh(linear(h[t], m[t-1]))",
        (7, 7, 2),
        {},
    ),
    "window": ("u = linear(x[t])\nh[t] = tanh(linear(h[t-3]) + conv(u, 4))", (3, 5, 2), {}),
}


def model_of(name: str, **options: Any) -> CModel:
    text, sizes, names = CELLS[name]
    return layers(Genome.from_text(text), *sizes, named=names or None, **options)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", CELLS)
def test_it_is_the_plain_backend_in_the_memory_that_was_promised(
    name: str, precision: Any, tmp_path: Path
) -> None:
    model = model_of(name, precision=precision, activation_bits=16)
    assert max(differences(model, tmp_path)) <= (1e-5 if precision == "float32" else 1e-3)
    assert taken(model, tmp_path) == (model.footprint.data_bytes, model.footprint.ram_bytes)


def test_a_wrong_cell_is_seen(tmp_path: Path) -> None:
    model = model_of("pairs")
    model.weights.update(  # type: ignore[attr-defined]
        {"l1.h_2.bias": model.weights["l1.h_2.bias"] + 0.01}
    )
    right = model_of("pairs")
    assert "l1.h_2.bias" in right.weights
    given: Any = {key: torch.from_numpy(value) for key, value in right.weights.items()}
    module = compile_cell(right.genome, 3, 6, 2, backend="reference")
    module.load_state_dict(given)
    loaded = Loaded(model, tmp_path)
    loaded.init()
    x = np.ones((4, 3), dtype=np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x[:, None]))[0][:, 0].numpy()
    assert apart(np.stack([loaded.step(row) for row in x]), wanted) > 1e-4


@pytest.mark.parametrize("name", ["blocks", "angles of all kinds", "times"])
def test_the_test_program_replays_it(name: str, tmp_path: Path) -> None:
    model = model_of(name, math="table", precision="int8" if name == "times" else "float32")
    gcc = needs("gcc")
    for wrong, code in ((0.0, 0), (0.05, 1)):
        sources = write(model, tmp_path, wrong=wrong)
        built([gcc, "-std=c99", *STRICT, *SANITIZED, *sources, "-o", "test"], tmp_path)
        assert replayed(tmp_path, str(tmp_path / "test"))[0] == code


def test_a_reset_is_a_call_of_init(tmp_path: Path) -> None:
    model = model_of("projection")
    module: Any = compile_cell(model.genome, 3, 7, 2, sizes=model.named, backend="reference")
    module.load_state_dict({k: torch.from_numpy(v) for k, v in model.weights.items()})
    x = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    reset = np.array([0, 0, 1, 0, 1, 1, 0], dtype=bool)
    with torch.no_grad():
        output, _ = module(torch.from_numpy(x[:, None]), reset=torch.from_numpy(reset[:, None]))
    loaded = Loaded(model, tmp_path)
    loaded.init()
    found = []
    for row, fresh in zip(x, reset, strict=True):
        if fresh:
            loaded.init()
        found.append(loaded.step(row))
    assert apart(np.stack(found), output[:, 0].numpy()) <= 1e-5


def test_what_they_take_is_counted() -> None:
    blocks = Genome.from_text("h[t] = tanh(linear(x[t], bias=False) + linear(h[t-1], blocks=4))")
    found = footprint(blocks, 2, 8, outputs=3)
    assert found.data_bytes == 4 * (2 * 8 + 8 * 8 // 4 + 8 + 3 * 8 + 3)
    assert found.macs_per_step == 2 * 8 + 8 * 8 // 4 + 3 * 8
    low = Genome.from_text(
        "h[t] = tanh(linear(linear(h[t-1], size=R, bias=False)))\ny[t] = "
        "linear(h[t], x[t], size=P, bias=False)"
    )
    found = footprint(low, 3, 8, 2, outputs=1, sizes={"R": 2, "P": "H/4"})
    first, second = 2 * 8 + 8 * 2 + 2 * (8 + 3), 2 * 8 + 8 * 2 + 2 * (8 + 2)
    assert found.macs_per_step == first + second + 2
    assert found.data_bytes == 4 * (first + second + 2 * 8 + 2 + 1)
    assert found.state_bytes == 4 * 2 * 8
    # a pair is turned where it lies, and a window of three is three states
    turned = Genome.from_text("h[t] = rotate(h[t-1], 0.5) + linear(x[t])")
    assert footprint(turned, 3, 8).ram_bytes == footprint(turned, 3, 8).state_bytes == 4 * 8
    assert footprint(turned, 3, 8).macs_per_step == 2 * 8 + 3 * 8
    delayed = Genome.from_text("h[t] = tanh(linear(x[t], h[t-3]))")
    assert footprint(delayed, 3, 8).state_bytes == 4 * 3 * 8
    assert StepPlan(turned, 3, 8).stages == 1
