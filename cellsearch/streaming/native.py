"""One position of one layer in the native runtime: one call into C on memory that was laid out
before the stream began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock

import torch
from torch import Tensor

from cellsearch.compiler.backends.native.build import library
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.backends.native.plan import Bound, make_plan
from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.commands import Lifetime
from cellsearch.errors import BackendError

__all__ = ["NativeLayer"]

DIRECT_ROWS = 12
"""Up to so many streams the weights are used as they lie: the runtime would pack them anew at every
position.
"""


class NativeLayer:
    """A layer as a function of one position: ``x [B, I]``, states ``[B, H]``, other inputs of the
    program ``[B, width]`` (float32) -> output ``[B, H]``, next states.

    The weights are copied. Plans are made once for each B. Calls from several threads take turns.
    """

    def __init__(
        self, program: Program, weights: Mapping[str, Tensor], input_size: int, hidden_size: int
    ) -> None:
        self._kernel = NativeKernel(program, library())
        self._own = {
            name: weights[name].detach().to(torch.float32, copy=True).contiguous()
            for name in self._kernel.names
        }
        self._sizes = (input_size, hidden_size)
        self._plans: dict[int, _Rows] = {}
        self._lock = Lock()
        self.weight_bytes = sum(
            weight.numel() * weight.element_size() for weight in self._own.values()
        )

    def __call__(
        self, x: Tensor, states: Sequence[Tensor], more: Sequence[Tensor] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One position. Raises :class:`ValueError` for tensors of another shape or type: the
        runtime reads them as they lie.
        """
        with self._lock:
            rows = x.shape[0]
            plan = self._plans.get(rows)
            if plan is None:
                plan = self._plans[rows] = _Rows(self._kernel, self._own, *self._sizes, rows)
            return plan([x, *states, *more])


class _Rows:
    """The layer for one number of rows."""

    def __init__(
        self,
        kernel: NativeKernel,
        weights: Mapping[str, Tensor],
        input_size: int,
        hidden_size: int,
        rows: int,
    ) -> None:
        sized = kernel.at(input_size, hidden_size)
        layout = sized.schedule("inference")
        plan = make_plan(
            sized.code("inference"),
            kernel.library,
            1,
            rows,
            reverse=False,
            packed=False,
            direct=rows <= DIRECT_ROWS,
        )
        program, widths = kernel.program, {"I": input_size, "H": hidden_size, "1": 1}
        self._shapes = (
            (rows, input_size),
            *[(rows, hidden_size)] * len(program.states),
            *[(rows, widths[width]) for _, width in program.inputs[1:]],
        )
        self._kept = (torch.empty(plan.memory.scratch), weights)  # their memory is used by address
        names = ["input x", *(f"initial {state.name}" for state in program.states)]
        names += [f"input {name}" for name, _ in program.inputs[1:]]
        given = {name: number for number, name in enumerate(names)}
        owned = {f"parameter {name}": weight.data_ptr() for name, weight in weights.items()}
        scratch = self._kept[0]
        self._bound = Bound(
            plan, scratch.data_ptr(), [owned.get(name, 0) for name in plan.memory.external]
        )
        slots = dict(zip(plan.memory.external, self._bound.slots, strict=True))
        self._moved = tuple((given[name], slot) for name, slot in slots.items() if name in given)
        fresh = [name for name in plan.memory.external if name not in given and name not in owned]
        self._fresh = tuple((plan.memory.floats[name], slots[name]) for name in fresh)
        self._shape, self._strides = (rows, hidden_size), (hidden_size, 1)
        size = rows * hidden_size
        output = next(iter(layout.outputs.values()))
        homes = [
            (output.buffer, output.shift * size),
            *((home.buffer, size) for home in layout.final),
        ]
        # Of each result: the fresh tensor it lies in and where, or the place in the scratch memory
        # that it is copied from.
        self._results: list[tuple[int, int, Tensor | None]] = []
        for buffer, start in homes:
            if buffer in fresh:
                self._results.append((fresh.index(buffer), start, None))
            elif layout.buffers[buffer].lifetime is Lifetime.RING:
                begin = plan.memory.offsets[buffer] + start
                self._results.append((-1, 0, scratch[begin : begin + size].view(self._shape)))
            else:
                raise BackendError(
                    f"the native runtime does not hand out {buffer}",
                    hint='use backend="torch" and report this',
                )
        self._first = [homes.index(home) for home in homes]

    def __call__(self, given: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``given``: x, states, other inputs."""
        bound = self._bound
        addresses = bound.addresses
        for k, shape in enumerate(self._shapes):
            tensor = given[k]
            if tensor.shape != shape or tensor.dtype is not torch.float32 or not tensor.is_cpu:
                raise ValueError(
                    f"a step of {shape[0]} streams takes float32 {list(shape)} on the CPU, "
                    f"not {tensor.dtype} {list(tensor.shape)} on {tensor.device}"
                )
            if not tensor.is_contiguous():
                given[k] = tensor.contiguous()
        for number, slot in self._moved:
            addresses[slot] = given[number].data_ptr()
        fresh = []
        for floats, slot in self._fresh:
            tensor = torch.empty(floats)
            addresses[slot] = tensor.data_ptr()
            fresh.append(tensor)
        code = bound()
        if code:
            raise BackendError(
                f"the native runtime refused a step with code {code}",
                hint='use backend="torch" and report this',
            )
        results: list[Tensor] = []
        for first, (number, start, view) in zip(self._first, self._results, strict=True):
            if first < len(results):
                results.append(results[first])  # the output is one of the states
            elif view is not None:
                results.append(view.clone())
            else:
                results.append(fresh[number].as_strided(self._shape, self._strides, start))
        return results[0], tuple(results[1:])
