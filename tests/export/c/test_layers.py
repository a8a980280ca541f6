"""Layers in C against the plain torch backend: outputs and final states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.c_files import Loaded, layers
from support.cells import cells_of_x

from cellsearch import Genome, compile_cell, ops, zoo
from cellsearch.export.c.integers import IntegerCell
from cellsearch.export.c.model import CModel
from cellsearch.genome.parameters import requires_square

CELLS = {  # of all classes, states and shapes of a step
    "lstm": (1, 1, 1),
    "gru": (3, 63, 2),
    "gru_cho": (65, 3, 2),
    "lstm_ln": (3, 5, 2),
    "lstm_fgr": (5, 3, 3),
    "slstm": (1, 63, 1),
    "sru": (5, 5, 2),
    "mingru": (63, 65, 1),
    "enas_lm": (3, 65, 1),
    "cornn": (2, 3, 2),
    "indrnn_relu": (3, 1, 3),
}
# Delayed, exchanged, constant and shared next states; an output that is an old state, and one that
# later loops read.
ODD = {
    "delay": "h[t] = tanh(linear(x[t], b[t-1]))\na[t] = h[t-1]\nb[t] = a[t-1]",
    "exchange": "a[t] = b[t-1]\nb[t] = a[t-1]\na[0] = 0.5\nb[0] = -2\n"
    "y[t] = linear(a[t-1], x[t]) * b[t-1]",
    "twice": "n = tanh(linear(x[t], h[t-1]))\nh[t] = n\nc[t] = n\nd[t] = n * d[t-1] + c[t-1]",
    "old": "h[t] = sigmoid(linear(x[t], h[t-1]))\ny[t] = h[t-1]",
    "number": "n = 0.25\nh[t] = n\nc[t] = tanh(linear(n, x[t], h[t-1], c[t-1]))\ny[t] = c[t]",
    "output": "y[t] = tanh(linear(x[t], h[t-1]))\nh[t] = tanh(linear(y[t])) + layer_norm(y[t])",
    "norms": "n = layer_norm(layer_norm(linear(x[t], h[t-1])) + layer_norm(h[t-1]))\n"
    "h[t] = n + layer_norm(0.5) + layer_norm(bias())",
    "units": "n = unit(unit(linear(x[t], h[t-1])) + layer_norm(h[t-1]) + unit(h[t-1]))\n"
    "h[t] = n + unit(0.5) + unit(-bias()) + unit(0)",
    "input": "p = x[t] * x[t] - 0.5\nh[t] = tanh(linear(layer_norm(p), tanh(p), h[t-1]))",
    "square": "h[t] = x[t]\nc[t] = tanh(h[t-1] - x[t]) * c[t-1] + scale(x[t])\nc[0] = 1\n"
    "y[t] = c[t] + diag(2)",
    "project": "m = tanh(linear(x[t], h[t-1]))\nc[t] = c[t-1] * 0.5 + m\nh[t] = linear(c[t])",
    "blind": "h[t] = tanh(linear(h[t-1]))",
}


def differences(model: CModel, folder: Path, seed: int = 0) -> tuple[float, float]:
    """The largest differences of outputs, and of final states, from given initial states."""
    rng = np.random.default_rng(seed)
    module: Any = compile_cell(
        model.genome,
        model.input_size,
        model.hidden_size,
        model.num_layers,
        sizes=model.named,
        backend="reference",
    )
    module.load_state_dict({k: torch.from_numpy(v) for k, v in model.weights.items()})
    if model.activation_bits:
        module = IntegerCell(module, model.activation_bits)
    x = rng.standard_normal((steps := 6, model.input_size)).astype(np.float32)
    loaded = Loaded(model, folder)
    loaded.init()
    before: list[list[Any]] = []
    for row in loaded.states:
        before.append([])
        for state, array in zip(model.genome.states, row, strict=True):
            assert (array == np.float32(state.initial)).all()
            array[:] = 0.5 + rng.random(array.shape)
            before[-1].append(array.copy())
    given = tuple(torch.from_numpy(np.stack(rows))[:, None] for rows in zip(*before, strict=True))
    every = {"dt": rng.random(steps) + 0.2, "mask": rng.random(x.shape) > 0.3}
    beside = {name: every[name].astype(np.float32) for name in model.beside}
    with torch.no_grad():
        output, final = module(
            torch.from_numpy(x[:, None]),
            given if len(given) > 1 else given[0],
            **{name: torch.from_numpy(values[:, None]) for name, values in beside.items()},
        )
    final = final if isinstance(final, tuple) else (final,)
    found = []
    for t, row in enumerate(x):
        now = {k: float(v[t]) if k == "dt" else v[t] for k, v in beside.items()}
        found.append(loaded.step(row, **now))
    apart_by = [apart(np.stack(found), output[:, 0].numpy())]
    for k, wanted in enumerate(final):
        apart_by += [
            apart(row[k], one.numpy()) for row, one in zip(loaded.states, wanted[:, 0], strict=True)
        ]
    return apart_by[0], max(apart_by[1:])


def apart(found: Any, wanted: Any) -> float:
    """The largest difference, relative to values above 1; infinite where numbers are missing."""
    size = np.maximum(1, np.abs(wanted))
    difference = np.abs(found.astype(np.float64) - wanted) / size
    return float(np.where(np.isfinite(difference), difference, np.inf).max())


@pytest.mark.parametrize("name", CELLS)
def test_cells_equal_the_plain_backend(name: str, tmp_path: Path) -> None:
    model = layers(zoo.load(name), *CELLS[name])
    assert max(differences(model, tmp_path)) <= 1e-5


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", ODD)
def test_odd_cells_equal_the_plain_backend(name: str, precision: Any, tmp_path: Path) -> None:
    sizes = (4, 4, 2) if requires_square(Genome.from_text(ODD[name])) else (3, 4, 2)
    model = layers(Genome.from_text(ODD[name]), *sizes, precision=precision, activation_bits=16)
    bound = 1e-5 if precision == "float32" else 1e-3
    assert max(differences(model, tmp_path)) <= bound


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["lstm", "gru_cho", "lstm_ln"])
def test_integers_are_those_of_the_layer_in_python(name: str, bits: Any, tmp_path: Path) -> None:
    model = layers(zoo.load(name), 5, 17, 2, precision="int8", activation_bits=bits)
    # a value halfway between two integers may become either
    assert max(differences(model, tmp_path)) <= {8: 2e-2, 16: 1e-3}[bits]


def test_products_of_many_integers_stay_within_32_bits(tmp_path: Path) -> None:
    genome = Genome.from_text("h[t] = linear(x[t], bias=False) + 0 * h[t-1]")
    for columns, bits in ((600, 16), (600, 8)):
        weights = {"l0.h.weight_x": np.full((2, columns), 0.5, dtype=np.float32)}
        model = layers(genome, columns, 2, precision="int8", activation_bits=bits)
        model.weights.update(weights)  # type: ignore[attr-defined]
        folder = tmp_path / f"{bits}"
        folder.mkdir()
        loaded = Loaded(model, folder)
        loaded.init()
        assert apart(loaded.step(np.full(columns, 3, np.float32)), 1.5 * columns) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_the_zoo_equals_the_plain_backend(part: int, tmp_path: Path) -> None:
    wrong = {}
    for name in cells_of_x()[part::3]:
        genome = zoo.load(name)
        for options in ({}, {"math": "table"}, {"precision": "int8", "activation_bits": 16}):
            sizes = (7, 7, 1) if requires_square(genome) else (3, 7, 2)
            folder = tmp_path / f"{name}{len(options)}"
            folder.mkdir()
            found = max(differences(layers(genome, *sizes, **options), folder))
            if found > (1e-3 if len(options) == 2 else 1e-5):
                wrong[name, *options] = found
    assert not wrong


@pytest.mark.parametrize("math", ["libm", "table"])
def test_every_op_is_that_of_torch(math: Any, tmp_path: Path) -> None:
    """One cell of all ops, at values from tiny to large."""
    one = [op for op in ops.OPS.values() if op.unary and op.name not in ("exp", "sqrt")]
    lines = ["n = linear(x[t], bias=False)"]
    lines += [f"o{k} = {op.name}(n)" for k, op in enumerate(one)]
    lines += [
        "p = exp(min(n, 5)) + sqrt(abs(n))",
        "q = max(n, p) / (2 + abs(p)) - blend(0.3, n, p)",
    ]
    states = [f"s{k}[t] = o{k} + 0 * s{k}[t-1]" for k in range(len(one))]
    genome = Genome.from_text("\n".join([*lines, *states, "h[t] = p * q + 0 * h[t-1]"]))
    model = layers(genome, 1, 8, math=math)
    x = np.array([0, 1e-6, -1e-6, 0.3, -0.3, 1, -1, 4, -4, 9, -9, 30, -30, 200, -200])
    model.weights.update(  # type: ignore[attr-defined]
        {"l0.n.weight_x": np.linspace(0.8, 1.2, 8, dtype=np.float32)[:, None]}
    )
    loaded = Loaded(model, tmp_path)
    loaded.init()
    for value in x:
        loaded.step(np.array([value], dtype=np.float32))
        n = torch.from_numpy(
            np.float32(value) * np.linspace(0.8, 1.2, 8, dtype=np.float32)
        ).double()
        for k, op in enumerate(one):
            wanted = eval(op.torch.format("n"), {"torch": torch, "n": n}).numpy()
            assert apart(loaded.states[0][genome.state_names.index(f"s{k}")], wanted) <= 1e-5, (
                op.name,
                value,
            )
