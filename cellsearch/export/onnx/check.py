"""Whether a model does in onnxruntime what the layer does by the reference backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from cellsearch.compiler.module import compile_cell
from cellsearch.errors import BackendError
from cellsearch.export.onnx.head import Head
from cellsearch.export.onnx.layer import OnnxLayer

__all__ = ["TOLERANCE", "check_model", "compare", "session"]

LENGTHS = (1, 4, 12)
BATCHES = (1, 3)
TOLERANCE = 1e-5
"""Greatest difference, in units of 1 + the size of the number."""
BLOWN_UP = 100
"""How many times the reference's own error in a sequence is allowed as well."""


def session(model: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """The model, ready to run on the CPU. Raises :class:`BackendError` for one that cannot run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised; what is printed beside them says no more
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, which derive from nothing else
        raise BackendError(
            f"onnxruntime {onnxruntime.__version__} cannot run the model: "
            f"{str(error).splitlines()[0][:200]}",
            hint="not every operator is there for float64; float32 weights have more",
        ) from error


def check_model(model: ModelProto, layer: OnnxLayer, head: Head | None, *, step: bool) -> None:
    """Raise :class:`BackendError` unless all outputs and final states are those of the layer, at
    three lengths and two batch sizes, from drawn states.
    """
    run = session(model.SerializeToString())
    names = [output.name for output in run.get_outputs()]
    rng = np.random.default_rng(0)
    for length in (1,) if step else LENGTHS:
        for batch in BATCHES:
            given, expected, exact = _example(layer, head, rng, length, batch, step=step)
            results = zip(names, run.run(names, given), expected, exact, strict=True)
            for name, found, one, other in results:
                compare(found, one, other, f"{name} for T = {length}, B = {batch}")


def compare(found: NDArray[Any], expected: NDArray[Any], exact: NDArray[Any], what: str) -> None:
    """Raise :class:`BackendError` unless two results ``[..., B, n]`` are equal.

    exact: the same computed in float64. Some cells blow rounding errors up from step to step; how
        much, the difference to the expected result says, and so far it is allowed here too.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise BackendError(
            f"{what}: {found.dtype} {list(found.shape)}, expected {expected.dtype} "
            f"{list(expected.shape)}"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        own = np.abs(expected - exact)
        off = np.abs(found - expected)
        allowed = TOLERANCE * (1 + np.abs(expected))
    own = np.where(np.isnan(own) & np.isnan(expected) & np.isnan(exact), 0, own)
    own = np.where(np.isnan(own), np.inf, own)
    axes = tuple(k for k in range(own.ndim) if k != own.ndim - 2)
    allowed = allowed + BLOWN_UP * own.max(axes, keepdims=True)
    same = (off <= allowed) | (found == expected) | (np.isnan(found) & np.isnan(expected))
    same |= ~np.isfinite(allowed)
    if not same.all():
        worst = np.abs(np.where(same, 0, off)).max()
        raise BackendError(
            f"onnxruntime {onnxruntime.__version__} computes another {what}: "
            f"{(~same).sum()} of {same.size} numbers differ, by up to {worst:.3g}",
            hint="nothing was written; please report the cell",
        )


def _example(
    layer: OnnxLayer,
    head: Head | None,
    rng: np.random.Generator,
    length: int,
    batch: int,
    *,
    step: bool,
) -> tuple[dict[str, NDArray[Any]], list[NDArray[Any]], list[NDArray[Any]]]:
    """Inputs by name; the outputs of the reference in the order of the model, and in float64."""
    shape = (batch,) if step else (length, batch)
    if head is None:
        raw = x = rng.normal(size=(*shape, layer.input_size)).astype(layer.dtype)
    else:
        raw = head.example(rng, shape)
        x = head.encoded(raw)
    names = layer.genome.state_names
    states = [
        np.abs(rng.normal(size=(len(layer.parts()), batch, layer.hidden_size))).astype(layer.dtype)
        for _ in names
    ]
    given = {"x": raw}
    streams = head is None or head.streams
    if streams:
        given |= {f"{name}_0": state for name, state in zip(names, states, strict=True)}
    results = []
    for dtype in (layer.dtype, np.dtype(np.float64)):
        output, finals = _reference(
            layer, x[None] if step else x, states if streams else None, dtype
        )
        output = output[0] if step else output
        answer = output if head is None else head.decoded(output, raw)
        results.append([answer, *(finals if streams else [])])
    return given, results[0], results[1]


def _reference(
    layer: OnnxLayer, x: NDArray[Any], states: list[NDArray[Any]] | None, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Output and final states of the reference backend in a dtype."""
    weights = {name: torch.from_numpy(array.astype(dtype)) for name, array in layer.weights.items()}
    module = compile_cell(
        layer.genome,
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        num_layers=layer.num_layers,
        bidirectional=layer.bidirectional,
        backend="reference",
        dtype=torch.float64 if dtype == np.float64 else torch.float32,
    )
    module.load_state_dict(weights)
    given = None
    if states is not None:
        tensors = [torch.from_numpy(state.astype(dtype)) for state in states]
        given = tensors[0] if len(tensors) == 1 else tuple(tensors)
    with torch.no_grad():
        output, final = module(torch.from_numpy(x.astype(dtype)), given)
    finals = final if isinstance(final, tuple) else (final,)
    return output.numpy(), [state.numpy() for state in finals]
