"""The native kernel: forward and backward of a whole sequence as one autograd function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cellsearch.compiler.backends.base import Kernel
from cellsearch.compiler.backends.native.build import Library
from cellsearch.compiler.backends.native.calls import CHANGED, CREATES_GRAPH
from cellsearch.compiler.backends.native.codes import native_gradient
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.backends.native.sized import Kept, Sized, Tokens
from cellsearch.compiler.backends.native.structures import Numbers
from cellsearch.compiler.backends.rounding import rounded
from cellsearch.compiler.backends.transforms import check_gradients
from cellsearch.compiler.program import Program, base_places
from cellsearch.errors import BackendError
from cellsearch.genome.sizes import Sizes

if TYPE_CHECKING:  # a copy of the runtime in an exported package has none
    from cellsearch.compiler.backends.native.node import NodeLibrary, Segments

__all__ = ["NativeKernel"]

_Sizes = tuple[int, int, tuple[tuple[str, int], ...]]
"""I, H and the numbers of the cell's own sizes."""


class NativeKernel(Kernel):
    """Runs a program with the native runtime; see
    :class:`cellsearch.compiler.backends.base.Kernel`.

    Token inputs are folded into a table (:mod:`cellsearch.compiler.scheduling.tokens`) where that
    is cheaper.
    """

    plain_torch = False
    whole_states = True
    takes_tokens = True
    more_gradients = False

    def __init__(self, program: Program, library: Library, node: NodeLibrary | None = None) -> None:
        """``node``: what runs segments instead of Python, where it can."""
        self.program = program
        self.library = library
        self.gradient = native_gradient(program)
        self.names = tuple(name for name, _ in program.parameters)
        self.pool = Pool()
        self.sized: dict[_Sizes, Sized] = {}
        self.segments: dict[_Sizes, Segments] = {}
        self.places = base_places(program) if program.beyond_hidden else None
        self.node = node

    def __call__(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
        more: Sequence[Tensor] = (),
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See :class:`cellsearch.compiler.backends.base.Kernel`; float32 on the CPU."""
        tensors = [*states, *[parameters[name] for name in self.names], *more]
        if more and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in more):
            raise BackendError(
                "the native backend has no gradients with respect to dt and mask",
                hint='compile the cell with backend="auto", "aten" or "reference"',
            )
        sizes = self.sizes_of(x.shape[2], states, parameters)
        return self._run(sizes, x, tensors, batch_sizes, None)

    def _run(
        self,
        sizes: _Sizes,
        x: Tensor,
        tensors: list[Tensor],
        batch_sizes: Sequence[int] | None,
        source: Tokens | None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """By the node where it takes the call, else by the function in Python."""
        training = torch.is_grad_enabled() and (
            x.requires_grad or any(tensor.requires_grad for tensor in tensors)
        )
        results: Sequence[Tensor] = ()
        sized, segments = self.at(*sizes), self.segments.get(sizes)
        if segments is not None and batch_sizes is None:
            results = segments.run(x, tensors, source, training=training)
        if not results:
            active = (
                None if batch_sizes is None else np.ascontiguousarray(batch_sizes, dtype=np.int64)
            )
            if training:
                results = _Segment.apply(sized, x, active, source, *tensors)  # type: ignore[no-untyped-call]
            else:
                results = sized.forward(x, tensors, active, source, training=False)[0]
        return results[0], tuple(results[1:])

    def run_tokens(
        self,
        tokens: Tensor,
        embedding: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See :class:`cellsearch.compiler.backends.base.Kernel`."""
        sizes = self.sizes_of(embedding.shape[1], states, parameters)
        sized = self.at(*sizes)
        if not sized.folding or embedding.shape[0] > tokens.numel():
            return super().run_tokens(tokens, embedding, states, parameters, batch_sizes)
        if int(tokens.min()) < 0 or int(tokens.max()) >= embedding.shape[0]:
            raise IndexError(f"a token is not in the embedding of {embedding.shape[0]} rows")
        weights = torch.cat([parameters[name] for name, _ in sized.folding])
        biases = torch.cat(
            [
                parameters[bias].detach() if bias else weights.new_zeros(len(parameters[name]))
                for name, bias in sized.folding
            ]
        )
        if self.program.precision == "bf16":
            embedding, weights = rounded(embedding), rounded(weights)
        table = torch.addmm(biases, embedding, weights.t())
        tensors = [*states, *[parameters[name] for name in self.names]]
        source = Tokens(tokens.contiguous(), table.shape[0], table.numel())
        return self._run(sizes, table, tensors, batch_sizes, source)

    def sizes_of(
        self, input_size: int, states: Sequence[Tensor], parameters: Mapping[str, Tensor]
    ) -> _Sizes:
        """I, H and the numbers of the cell's own sizes, as states and weights show them."""
        if self.places is None:
            return input_size, states[0].shape[-1], ()
        found = {
            base: place.number(states, parameters)
            for base, place in self.places.items()
            if base != "I"
        }
        return input_size, found.pop("H", 1), tuple(sorted(found.items()))

    def at(
        self, input_size: int, hidden_size: int, named: tuple[tuple[str, int], ...] = ()
    ) -> Sized:
        """The kernel for these sizes, made when it is first asked for."""
        key = (input_size, hidden_size, named)
        sized = self.sized.get(key)
        if sized is None:
            sized = self.sized[key] = Sized(
                self.gradient,
                self.library,
                self.pool,
                Sizes(input_size, hidden_size, dict(named)),
                self.program.parameter_shapes,
                self.threads,
            )
            if self.node is not None:
                self.segments[key] = self.node.segments(sized)
        return sized


class _Segment(torch.autograd.Function):
    """One layer in one direction over one segment."""

    @staticmethod
    def forward(
        ctx: Any,
        sized: Sized,
        x: Tensor,
        batch_sizes: Numbers | None,
        source: Tokens | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        results, kept = sized.forward(x, tensors, batch_sizes, source, training=True)
        # Versions, so that it is noticed when a tensor is changed before the backward pass. Saving
        # all of them would do the same at several times the cost; the output is saved, because a
        # reference to it from here would keep itself alive.
        inputs = (x, *tensors)
        ctx.state = sized, kept, inputs, [tensor._version for tensor in inputs]
        ctx.save_for_backward(results[0])
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        if torch.is_grad_enabled():
            raise RuntimeError(CREATES_GRAPH)
        sized: Sized
        kept: Kept
        check_gradients("native", outer)
        sized, kept, inputs, versions = ctx.state
        if [tensor._version for tensor in inputs] != versions:
            raise RuntimeError(CHANGED)
        wanted = ctx.needs_input_grad
        d_x, states, weights = sized.backward(outer, kept, wanted[1], wanted[4 : 4 + sized.states])
        if not torch._C._autograd._get_current_graph_task_keep_graph():  # else it may run again
            ctx.state = ()
            sized.release(kept)
        more = (None for _ in sized.more_widths)
        return (None, d_x, None, None, *states, *weights, *more)
