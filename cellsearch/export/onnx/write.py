"""A layer, one step of it, or a whole trained model as the bytes of an ONNX file that was run."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, ValueInfoProto, helper
from torch import Tensor

from cellsearch import __version__
from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.export.onnx.check import check_model
from cellsearch.export.onnx.graph import Graph, Size
from cellsearch.export.onnx.head import Head
from cellsearch.export.onnx.layer import OnnxLayer
from cellsearch.export.whole import WholeModel
from cellsearch.genome.graph import Genome

__all__ = ["IR_VERSION", "OPSET", "to_onnx"]

OPSET = 18
"""Of the operators: all that is needed is there, and onnxruntime 1.14 and later run it."""
IR_VERSION = 8
"""Of the file, as opset 18 came with it."""
LARGEST = 2**31 - 2**20
"""Bytes: a protocol buffer ends at 2 GiB."""


@checked_arguments
def to_onnx(
    genome: Genome,
    weights: Mapping[str, Tensor],
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    step: bool = False,
    whole: WholeModel | None = None,
    doc: str = "",
    sizes: Mapping[str, int | str] | None = None,
    resets: bool = False,
) -> bytes:
    """A trained layer as an ONNX model, opset 18, checked in onnxruntime before it is returned.

    weights: the state dict of the compiled layer, float32 or float64.
    step: one step as a plain graph instead of whole sequences.
    whole: the trained model that the layer belongs to; its embedding or scaling and its readout go
        along then, so that raw values go in and answers come out.
    doc: where the cell comes from, in a sentence.
    sizes: what the names of sizes of the cell stand for.
    resets: whether it has a further input ``reset [T, B]`` (bool): where it is true, states start
        afresh before the step.

    Inputs of a layer are ``x [T, B, I]`` and a state ``NAME_0 [L * D, B, H]`` for each state of the
    cell (``h_0``, ``c_0``), outputs ``output [T, B, H * D]`` and the final states ``NAME_n``; T and
    B may be anything. A step reads ``x [B, I]`` and gives ``output [B, H]``. The first states that
    a cell wants are in the metadata under ``initial_states``, the equations under ``equations``.
    A cell that reads ``dt[t]`` has the input ``dt [T, B]``, one that reads ``mask[t]`` ``mask [T,
    B, I]``, numbers of the dtype of the cell. States and output are as wide as the cell says.
    For a whole model see :mod:`cellsearch.export.onnx.head`.

    Raises :class:`ConfigError` for what has no such form, :class:`GenomeError` for an op that ONNX
    cannot express, :class:`BackendError` where onnxruntime cannot run the model or gives other
    numbers.
    """
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}
    options = (input_size, hidden_size, num_layers, bidirectional, arrays)
    layer = OnnxLayer(genome, *options, named=dict(sizes or {}), resets=resets)
    if layer.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ConfigError(
            f"weights of {layer.dtype} are not written as ONNX", hint="use float32 or float64"
        )
    if step and bidirectional:
        raise ConfigError(
            "a step of both directions is not possible: the other one needs the whole sequence",
            hint="export whole sequences, or search with bidirectional = false",
        )
    size = sum(array.nbytes for array in (whole.weights if whole else arrays).values())
    if size > LARGEST:
        raise ConfigError(
            f"the weights take {size / 2**30:.1f} GiB, and a file of ONNX ends at 2 GiB",
            hint="export to source or state-dict",
        )
    head = None if whole is None else Head(whole, step=step)
    model = _model(layer, head, step=step, doc=doc)
    onnx.checker.check_model(model, full_check=True)
    check_model(model, layer, head, step=step)
    return bytes(model.SerializeToString())


def _model(layer: OnnxLayer, head: Head | None, *, step: bool, doc: str) -> ModelProto:
    graph = Graph(layer.dtype)
    names, rows = layer.genome.state_names, len(layer.parts())
    shapes: list[list[Size]] = [[rows, "B", size] for size in layer.state_sizes]
    before: list[Size] = ["B"] if step else ["T", "B"]
    given: list[ValueInfoProto] = []
    if head is None:
        given.append(graph.given("x", graph.dtype, [*before, layer.input_size]))
        x = "x"
    else:
        given.append(head.given(graph))
        x = head.read(graph)
    more, beside = _beside(graph, layer, head, before)
    given += more
    if head is None or head.streams:
        given += [
            graph.given(f"{name}_0", graph.dtype, shape)
            for name, shape in zip(names, shapes, strict=True)
        ]
        states = [f"{name}_0" for name in names]
    else:
        states = _initial(graph, layer)
    output, finals = layer.write(graph, x, states, beside, step=step)
    if head is None:
        width = layer.output_size * layer.directions
        results = [graph.promised("output", output, graph.dtype, [*before, width])]
    else:
        results = [head.answer(graph, output)]
    if head is None or head.streams:
        results += [
            graph.promised(f"{name}_n", final, graph.dtype, shape)
            for name, final, shape in zip(names, finals, shapes, strict=True)
        ]
    model = helper.make_model(
        graph.made("step" if step else "layer", given, results),
        producer_name="cellsearch",
        producer_version=__version__,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        doc_string=doc,
    )
    helper.set_model_props(model, _described(layer, head))
    return model


def _beside(
    graph: Graph, layer: OnnxLayer, head: Head | None, before: list[Size]
) -> tuple[list[ValueInfoProto], dict[str, str]]:
    """The further inputs, and what they are in the layers: ``dt`` and ``reset [..., 1]`` and
    ``mask`` in the dtype of the cell.
    """
    given, found = [], {}
    last = graph.integers(-1)
    for name in layer.beside:
        if name == "mask" and head is not None:
            found[name] = head.mask(graph, layer.input_size)
            continue
        if name == "mask":
            given.append(graph.given(name, graph.dtype, [*before, layer.input_size]))
            found[name] = name
        elif name == "reset":
            given.append(graph.given(name, np.dtype(np.bool_), before))
            kind = helper.np_dtype_to_tensor_dtype(graph.dtype)
            found[name] = graph.add("Unsqueeze", graph.add("Cast", name, to=kind), last)
        elif head is None:
            given.append(graph.given(name, graph.dtype, before))
            found[name] = graph.add("Unsqueeze", name, last)
        else:
            made, found[name] = head.time(graph, last)
            given += made
    return given, found


def _initial(graph: Graph, layer: OnnxLayer) -> list[str]:
    """The first states ``[L * D, B, size]`` for as many sequences as ``x`` has."""
    rows, batch = graph.integers(len(layer.parts())), graph.add("Shape", "x", start=1, end=2)
    shapes = {
        size: graph.add("Concat", rows, batch, graph.integers(size), axis=0, name="states")
        for size in dict.fromkeys(layer.state_sizes)
    }
    return [
        graph.add("Expand", graph.number(state.initial), shapes[size], name=f"{state.name}_0")
        for state, size in zip(layer.genome.states, layer.state_sizes, strict=True)
    ]


def _described(layer: OnnxLayer, head: Head | None) -> dict[str, str]:
    """What the file says of itself."""
    states = layer.genome.states
    described = {
        "equations": layer.genome.to_text(),
        "initial_states": json.dumps({state.name: state.initial for state in states}),
    }
    if head is not None:
        described["interface"] = json.dumps(head.whole.interface.to_plain())
    return described
