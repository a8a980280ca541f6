"""Whether a model does in onnxruntime what the layer does by the reference backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from cellsearch.compiler.module import compile_cell
from cellsearch.errors import BackendError
from cellsearch.export.onnx.head import Head
from cellsearch.export.onnx.layer import OnnxLayer
from cellsearch.export.torch_head import Ends

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
    own, exact = _Reference(layer, head, layer.dtype), _Reference(layer, head, np.dtype("f8"))
    rng = np.random.default_rng(0)
    for length in (1,) if step else LENGTHS:
        for batch in BATCHES:
            raw, states = own.drawn(rng, length, batch)
            beside = own.drawn_beside(rng, raw)
            x, last = own.read(raw)
            given = {"x": raw[0] if step else raw}
            given |= {name: value[0] if step else value for name, value in beside.items()}
            if head is None or head.streams:
                pairs = zip(layer.genome.state_names, states, strict=True)
                given |= {f"{name}_0": state for name, state in pairs}
            else:
                states = []
            more = own.read_beside(raw, beside)
            expected = own.results(x, last, states, more, step=step)
            results = zip(
                names,
                run.run(names, given),
                expected,
                exact.results(x, last, states, more, step=step),
                strict=True,
            )
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
        # infinities of one sign are equal, and NaN is NaN
        alike = (expected == exact) | (np.isnan(expected) & np.isnan(exact))
        own = np.where(alike, 0, np.abs(expected - exact))
        off = np.abs(found - expected)
        allowed = np.where(np.isfinite(expected), TOLERANCE * (1 + np.abs(expected)), 0)
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


class _Reference:
    """What a model computes, by the reference backend in a dtype."""

    def __init__(self, layer: OnnxLayer, head: Head | None, dtype: np.dtype[Any]) -> None:
        self.layer = layer
        self.dtype = torch.float64 if dtype == np.float64 else torch.float32
        self.module = compile_cell(
            layer.genome,
            input_size=layer.input_size,
            hidden_size=layer.hidden_size,
            num_layers=layer.num_layers,
            bidirectional=layer.bidirectional,
            sizes=layer.named,
            backend="reference",
            dtype=self.dtype,
        )
        self.module.load_state_dict(
            {name: torch.from_numpy(np.array(array)) for name, array in layer.weights.items()}
        )
        # A step is a sequence of one position here, so its ends are those of sequences.
        self.ends = None if head is None else Ends(head.whole, step=False)
        if self.ends is not None and self.dtype is torch.float64:
            self.ends.double()  # its scales are so already, whatever the weights are

    def drawn(
        self, rng: np.random.Generator, length: int, batch: int
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Inputs ``[T, B]`` or ``[T, B, I]`` as the model reads them, and a value of each state."""
        layer, shape = self.layer, (length, batch)
        rows = (len(layer.parts()), batch)
        states = [
            np.abs(rng.normal(size=(*rows, size))).astype(layer.dtype) for size in layer.state_sizes
        ]
        if self.ends is None:
            return rng.normal(size=(*shape, layer.input_size)).astype(layer.dtype), states
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            return self.ends.example(shape).numpy(), states

    def read(self, raw: NDArray[Any]) -> tuple[Tensor, Tensor | None]:
        """What the layer reads, and what was subtracted of relative inputs."""
        x = torch.from_numpy(raw)
        with torch.no_grad():
            return (x, None) if self.ends is None else self.ends.read(x)

    def drawn_beside(self, rng: np.random.Generator, raw: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What else the model is given: ``dt [T, B]``, ``mask`` like x, ``reset [T, B]``; of a
        whole model some raw values become NaN in place where they may be missing.
        """
        layer, shape = self.layer, raw.shape[:2]
        found: dict[str, NDArray[Any]] = {}
        unit = None if self.ends is None else self.ends.interface.time_unit
        if "dt" in layer.beside and (self.ends is None or unit is not None):
            dtype = layer.dtype if self.ends is None else np.dtype(np.float64)
            found["dt"] = ((unit or 1.0) * (0.2 + rng.random(shape))).astype(dtype)
        if self.ends is not None and self.ends.missing:
            raw[rng.random(raw.shape) > 0.8] = np.nan
        if "mask" in layer.beside and self.ends is None:
            found["mask"] = (rng.random(raw.shape) > 0.3).astype(layer.dtype)
        if layer.resets:
            found["reset"] = rng.random(shape) > 0.7
        return found

    def read_beside(
        self, raw: NDArray[Any], beside: Mapping[str, NDArray[Any]]
    ) -> dict[str, Tensor]:
        """The same as the compiled layer is given it."""
        more = {name: torch.from_numpy(value) for name, value in beside.items()}
        if self.ends is None:
            return more
        return {**more, **self.ends.beside(torch.from_numpy(raw), more.get("dt"))}

    def results(
        self,
        x: Tensor,
        last: Tensor | None,
        states: list[NDArray[Any]],
        more: Mapping[str, Tensor],
        *,
        step: bool,
    ) -> list[NDArray[Any]]:
        """Output or answer, then the final states where states are given."""
        given = [torch.from_numpy(state).to(self.dtype) for state in states]
        start = None if not given else given[0] if len(given) == 1 else tuple(given)
        with torch.no_grad():
            given_beside = {k: v for k, v in more.items() if k in self.module.reads}
            output, final = self.module(x.to(self.dtype), start, **given_beside)
            if self.ends is not None:
                output = self.ends.answer(output, last)
        every = self.ends is None or self.ends.interface.readout == "every"
        finals = final if isinstance(final, tuple) else (final,)
        return [
            (output[0] if step and every else output).numpy(),
            *(state.numpy() for state in finals if given),
        ]
