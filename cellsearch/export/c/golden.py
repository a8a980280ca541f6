"""What a model in C must answer, computed in torch, and a test program in C that compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.export.c.integers import IntegerCell, in_integers
from cellsearch.export.c.model import CModel
from cellsearch.export.c.names import literal, number_table

__all__ = ["Golden", "golden", "test_program"]

STEPS = 8
_NOTHING: Mapping[str, NDArray[np.float32]] = MappingProxyType({})
TOLERANCE = {0: 1e-5, 8: 2e-2, 16: 1e-3}
"""Of an answer relative to its size where that is above 1, by bits of what products read. A value
halfway between two integers becomes either of them, by the last bit of a sum."""


@dataclass(frozen=True)
class Golden:
    """Steps of a stream, or one window, and the answers."""

    x: NDArray[Any]
    """[T, inputs], raw values of float32, or tokens [T, 1]."""
    y: NDArray[np.float64]
    """[T, outputs]; of a window [1, outputs]."""
    beside: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """What each step is given beside x: ``dt [T]``, ``mask [T, I]``."""


def golden(model: CModel, *, seed: int = 0, steps: int = STEPS) -> Golden:
    """Inputs drawn around what the model was trained on, and what the plain torch backend makes of
    them: in float64, or with the integers of the model.
    """
    rng = np.random.default_rng(seed)
    around = model.around
    beside = {}
    if "dt" in model.beside:
        unit = (model.interface.time_unit if model.interface is not None else None) or 1.0
        beside["dt"] = (unit * (0.2 + rng.random(steps))).astype(np.float32)
    if "mask" in model.beside:
        beside["mask"] = (rng.random((steps, model.inputs)) > 0.3).astype(np.float32)
    if around.symbols:
        tokens = rng.integers(0, around.symbols, (steps, 1))
        return Golden(tokens, answers(model, tokens, beside), beside)
    x = rng.standard_normal((steps, model.inputs))
    if around.missing:
        x[rng.random(x.shape) > 0.7] = np.nan
    if model.interface is not None:
        inputs = model.interface.inputs
        x = x * np.array(inputs.scale) + np.array(inputs.mean)  # type: ignore[union-attr]
    single = x.astype(np.float32)
    return Golden(single, answers(model, single, beside), beside)


def answers(
    model: CModel, x: NDArray[Any], beside: Mapping[str, NDArray[np.float32]] = _NOTHING
) -> NDArray[np.float64]:
    """The answers ``[T, outputs]`` to the steps ``x [T, inputs]`` of a stream, and what they are
    given beside; of a window that is read relative to its last values ``[1, outputs]``.
    """
    dtype = torch.float32 if model.activation_bits else torch.float64
    weights = {
        name: torch.from_numpy(np.array(array)).to(dtype) for name, array in model.weights.items()
    }
    with torch.no_grad():
        read = _read(model, torch.from_numpy(x), weights, dtype)
        more = {k: torch.from_numpy(v).to(dtype)[:, None] for k, v in beside.items()}
        if model.interface is not None and "dt" in more:
            more["dt"] = more["dt"] / (model.interface.time_unit or 1.0)
        if model.around.missing and "mask" in model.genome.inputs:
            more["mask"] = torch.from_numpy(~np.isnan(x)).to(dtype)[:, None]
        output, _ = _layers(model, weights, dtype)(read[:, None], **more)
        found = output[:, 0]
        if model.around.outputs:
            if model.around.mean:
                found = found.cumsum(0) / torch.arange(1, len(found) + 1)[:, None]
            if not model.steps:
                found = found[-1:]
            found = _linear(model, weights, "readout", found)
            found = _meant(model, found.double(), torch.from_numpy(x))
    return np.asarray(found.double().numpy())


def _layers(model: CModel, weights: dict[str, Tensor], dtype: torch.dtype) -> CellModule:
    sizes = (model.input_size, model.hidden_size, model.num_layers)
    layers = compile_cell(model.genome, *sizes, sizes=model.named, backend="reference", dtype=dtype)
    layers.load_state_dict({k: weights[k] for k in layers.state_dict()})
    return IntegerCell(layers, model.activation_bits) if model.activation_bits else layers


def _read(model: CModel, x: Tensor, weights: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
    """What the first layer reads, ``[T, I]``."""
    if model.around.symbols:
        table = weights["embedding.weight"]
        return (in_integers(table) if model.activation_bits else table)[x[:, 0]]
    if model.interface is None:
        return x.to(dtype)
    inputs: Any = model.interface.inputs
    raw = x.double()
    read = (raw - torch.tensor(inputs.mean).double()) / torch.tensor(inputs.scale).double()
    read = read - read[-1:] if inputs.relative else read
    read = read.nan_to_num(nan=0.0) if inputs.missing else read
    read = read.to(dtype)
    projected = "projection.weight" in weights
    return _linear(model, weights, "projection", read) if projected else read


def _linear(model: CModel, weights: dict[str, Tensor], name: str, a: Tensor) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if model.activation_bits:
        a, weight = in_integers(a, model.activation_bits), in_integers(weight)
    return nn.functional.linear(a, weight, bias)


def _meant(model: CModel, found: Tensor, x: Tensor) -> Tensor:
    """The answer in the user's terms."""
    if model.around.function == "softmax":
        return found.softmax(-1)
    if model.around.function == "sigmoid":
        return found.sigmoid()
    answer = model.interface.answer if model.interface else None
    assert answer is not None
    if not answer.scale:
        return found
    found = found * torch.tensor(answer.scale).double()
    if model.around.relative:
        return found + x[-1, : len(answer.names)].double().repeat(answer.horizon)
    return found + torch.tensor(answer.mean).double()


def test_program(model: CModel, expected: Golden) -> str:
    """A program that replays the golden steps and says by its exit code whether all are right."""
    name, tokens = model.name, bool(model.around.symbols)
    rows = len(expected.y)
    kind = "size_t" if tokens else "float"
    given = [
        str(v) if tokens else "NAN" if v != v else literal(v, "a golden input")
        for v in expected.x.ravel().tolist()
    ]
    beside = {
        given: [literal(v, f"a golden {given}") for v in values.ravel().tolist()]
        for given, values in expected.beside.items()
    }
    wanted = [literal(v, "a golden answer") for v in expected.y.ravel().tolist()]
    columns = expected.x.shape[1]
    if model.steps:
        x = "golden_x[t]" if tokens else f"golden_x + t * {columns}"
        at = {"dt": "golden_dt[t]", "mask": f"golden_mask + t * {columns}"}
        run = f"{name}_step({', '.join(['&state', x, *(at[k] for k in beside), 'y'])})"
    else:
        every = [f"golden_{name}" for name in ("x", *beside)]
        run = f"{name}_predict(&state, {', '.join(every)}, {len(expected.x)}, y)"
    refused = [f"        if ({run} != 0) {{", "            return 2;", "        }"]
    lines = [
        f"/* Replays golden steps through {name}.c: exit code 0 if every answer is right. */",
        f'#include "{model.file}.h"',
        "",
        *(["#include <math.h>"] if "NAN" in given else []),
        "#include <stdio.h>",
        "",
        f"static const {kind} golden_x[{len(given)}] = {{",
        *number_table(given),
        "};",
        *(
            line
            for k, values in beside.items()
            for line in (
                f"static const float golden_{k}[{len(values)}] = {{",
                *number_table(values),
                "};",
            )
        ),
        f"static const float golden_y[{len(wanted)}] = {{",
        *number_table(wanted),
        "};",
        "",
        "int main(void)",
        "{",
        f"    static {name}_state state;",
        f"    static float y[{model.outputs}];",
        "    float worst = 0.0f;",
        f"    {name}_init(&state);",
        f"    for (size_t t = 0; t < {rows}; t++) {{",
        *(refused if tokens else [f"        {run};"]),
        f"        for (size_t j = 0; j < {model.outputs}; j++) {{",
        f"            const float wanted = golden_y[t * {model.outputs} + j];",
        "            const float size = wanted < 0.0f ? -wanted : wanted;",
        "            const float apart = y[j] < wanted ? wanted - y[j] : y[j] - wanted;",
        "            const float error = size > 1.0f ? apart / size : apart;",
        "            worst = error <= worst ? worst : error; /* also what is not a number */",
        "        }",
        "    }",
        f"    const int right = worst <= {literal(TOLERANCE[model.activation_bits], '')};",
        '    printf("%s: largest error %g, state %lu bytes\\n", right ? "right" : "WRONG", '
        "(double)worst,",
        "        (unsigned long)sizeof(state));",
        "    return right ? 0 : 1;",
        "}",
    ]
    return "\n".join(lines) + "\n"
