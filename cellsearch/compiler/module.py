"""``compile_cell``: a genome becomes a torch module that is called like ``torch.nn.LSTM``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from cellsearch.compiler.backends.transforms import beside_the_graph
from cellsearch.compiler.calling import (
    State,
    cast,
    pack_states,
)
from cellsearch.compiler.given import Beside
from cellsearch.compiler.options import LayerOptions, check_fixed
from cellsearch.compiler.program import Precision
from cellsearch.compiler.sequences import Packing
from cellsearch.compiler.stack import LayerStack
from cellsearch.errors import BackendError, ConfigError, checked_arguments
from cellsearch.genome.graph import Genome

_is_compiling = torch.compiler.is_dynamo_compiling
_has_autocast = torch._C._is_any_autocast_enabled

__all__ = ["CellModule", "State", "compile_cell"]


@checked_arguments
def compile_cell(
    genome: Genome,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    dropout: float = 0.0,
    bidirectional: bool = False,
    proj_size: int = 0,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype | None = None,
    *,
    variational_dropout: float = 0.0,
    sizes: Mapping[str, int | str] | None = None,
    project_input: bool = False,
    precision: Precision = "float32",
    threads: int = 1,
    backend: str = "auto",
) -> CellModule:
    """A module that runs the cell over sequences, with the calling convention of ``torch.nn.LSTM``;
    what both take stands in its order.

    * ``input_size``, ``hidden_size``: I and H.
    * ``num_layers``: layers on top of each other.
    * ``bias``, ``proj_size``: here for calls written for ``torch.nn.LSTM``; only its defaults, for
      the cell says what has a bias and what is projected (``size=``).
    * ``batch_first``: sequences are ``[B, T, I]``, not ``[T, B, I]``.
    * ``dropout``: probability, applied between layers in training mode.
    * ``variational_dropout``: probability with which a unit is dropped for a whole call, at all
      positions alike, in training mode: of the input of each layer, of the output of the last one,
      and of the previous states where a dense product reads them
      (:mod:`cellsearch.compiler.variational`).
    * ``bidirectional``: a second direction, from the last position to the first, in each layer.
    * ``sizes``: the numbers of the sizes that the cell has names for: ``{"P": 32}``, or a fraction
      of H, ``{"P": "H/2"}``.
    * ``project_input``: a layer whose cell reads x elementwise, and whose input is not as wide as
      H, gets a matrix and a bias in front (``l0_projection``).
    * ``precision``: ``"bf16"`` rounds both operands of each product with a matrix of the cell to
      bfloat16 and sums in float32, forward and backward; weights, states, gradients of biases and
      all pointwise work stay in ``dtype`` (:class:`cellsearch.compiler.program.Program`). Only
      some backends do that, and ``"auto"`` takes the first of them.
    * ``threads``: how many threads the native backend uses for a call, where there is enough to do
      for each; results are the same to the last bit for any number. Other backends compute with
      torch's threads (``torch.set_num_threads``).
    * ``backend``: ``"auto"`` takes the fastest one that can run the cell on this device with this
      dtype (:meth:`CellModule.backend_report` says which and why), a name takes that one or raises
      :class:`BackendError`.
    * ``device``, ``dtype``: of the weights; torch's defaults.

    Weights start as :meth:`cellsearch.compiler.weights.Layer.reset_parameters` says. Raises
    :class:`GenomeError` for a cell in which x meets a state without a linear between, where the
    widths differ, or whose blocks or heads do not divide a size, and :class:`ConfigError` for
    arguments that make no sense, which is a :class:`TypeError` too where the type is wrong.
    """
    check_fixed(bias=bias, proj_size=proj_size)
    options = LayerOptions(
        input_size=input_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        batch_first=batch_first,
        dropout=dropout,
        variational_dropout=variational_dropout,
        bidirectional=bidirectional,
        sizes=sizes,
        project_input=project_input,
        precision=precision,
        threads=threads,
        backend=backend,
    )
    return CellModule(genome, options, device=device, dtype=dtype)


class CellModule(LayerStack):
    """A cell over sequences: stacked, in one or two directions. Made by :func:`compile_cell`.

    Input ``[T, B, I]`` (``[B, T, I]`` with ``batch_first``), ``[T, I]`` without a batch, or a
    ``PackedSequence``; ``hx`` defaults to the initial value of each state. What else a step may be
    given has the same order of dimensions, and is packed alike where the input is packed:

    * ``dt [T, B]``, or a number: the time since the step before, for cells that read ``dt[t]``;
      1 where it is not given. All layers read it; a backward direction reads what lies between its
      steps, so that of the step that it comes from (and at the last step that of the first).
    * ``mask [T, B, I]``: 1 (true) where x was observed, 0 where it is missing, for cells that read
      ``mask[t]``; all observed where it is not given, and in all layers but the first.
    * ``reset [T, B]``, for any cell: where it is true, every state of every layer goes back to its
      initial value before the step, whatever it was, NaN included; nothing flows back either. A
      backward direction resets in the same gap, from the other side.

    Returns ``(output,
    states)``: output ``[T, B, H * directions]``, each state ``[num_layers * directions, B, H]``,
    one tensor for one state and a tuple for more, in the order of ``genome.states``; output and
    states are as wide as ``output_size`` and ``state_sizes`` say where the cell gives them a size.
    Wrong shapes and dtypes raise what ``torch.nn.LSTM`` raises (:class:`ValueError`,
    :class:`RuntimeError`).
    """

    def __prepare_scriptable__(self) -> CellModule:
        """What ``torch.jit.script`` asks for first."""
        raise BackendError(
            "torch.jit.script cannot read a compiled cell",
            hint="torch.jit.trace and torch.export take one with backend='auto'",
        )

    # -- running -----------------------------------------------------------------------------------

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        dt: Tensor | PackedSequence | float | None = None,
        mask: Tensor | PackedSequence | None = None,
        reset: Tensor | PackedSequence | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run over whole sequences; shapes as the class says."""
        beside = Beside.of(dt, mask, reset)
        if _is_compiling() or _has_autocast():
            return self._within(CellModule._sequence, (input,), hx, beside)
        return self._sequence(input, hx, beside)

    def _within(
        self,
        run: Callable[..., tuple[Any, State]],
        given: tuple[Any, ...],
        hx: State | None,
        beside: Beside,
    ) -> tuple[Any, State]:
        """Run inside ``torch.compile``, whose graph ends here, or under autocast: a cell computes
        in the dtype of its weights, and what comes out has the dtype of autocast.
        """
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            return beside_the_graph(CellModule._within, self, run, given, hx, beside)  # type: ignore[no-any-return]
        weight = self._first_weight()
        if weight is None or weight.dtype is torch.float64 or weight.is_meta:
            return run(self, *given, hx, beside)
        kind = weight.device.type
        if not torch.is_autocast_enabled(kind):
            return run(self, *given, hx, beside)
        dtype = torch.get_autocast_dtype(kind)
        with torch.autocast(kind, enabled=False):
            output, states = run(self, *cast(given, weight.dtype), cast(hx, weight.dtype), beside)
            return cast(output, dtype), cast(states, dtype)

    def _sequence(
        self, input: Tensor | PackedSequence, hx: State | None, beside: Beside
    ) -> tuple[Tensor | PackedSequence, State]:
        if isinstance(input, PackedSequence):
            packing = Packing.of(input)
            self._check_input(input.data, 2)
            states = [packing.sort(s) for s in self._states(hx, packing.sizes[0], input.data)]
            x = packing.pad()
            beside = self._beside(beside, x, x.shape, packing)
            output, final = self._run(x, states, packing, beside)
            return packing.pack(output), pack_states([packing.unsort(s) for s in final])
        if input.dim() not in (2, 3):
            raise ValueError(
                f"RNN: Expected input to be 2D or 3D, got {input.dim()}D tensor instead"
            )
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(0 if self.batch_first else 1)
        self._check_input(x, 3)
        x = x.transpose(0, 1) if self.batch_first else x
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        beside = self._beside(beside, x, x.shape, None, batched=batched)
        output, final = self._run(x, self._states(hx, x.shape[1], x, batched=batched), None, beside)
        output = output.transpose(0, 1) if self.batch_first else output
        if batched:
            return output, pack_states(final)
        return output.squeeze(0 if self.batch_first else 1), pack_states(
            [s.squeeze(1) for s in final]
        )

    @overload
    def run_tokens(
        self, tokens: Tensor, embedding: Tensor, hx: State | None = None, **beside: Any
    ) -> tuple[Tensor, State]: ...
    @overload
    def run_tokens(
        self, tokens: PackedSequence, embedding: Tensor, hx: State | None = None, **beside: Any
    ) -> tuple[PackedSequence, State]: ...
    def run_tokens(
        self,
        tokens: Tensor | PackedSequence,
        embedding: Tensor,
        hx: State | None = None,
        **beside: Any,
    ) -> tuple[Tensor | PackedSequence, State]:
        """The same as ``module(functional.embedding(tokens, embedding), hx, **beside)``, gradients
        included, faster where tokens repeat. ``beside``: ``dt``, ``mask`` and ``reset``.

        ``tokens [T, B]`` (``[B, T]`` with ``batch_first``; int64) or a ``PackedSequence`` of them,
        ``embedding [V, I]``. A native kernel multiplies the embedding with the input weights of the
        first layer once and looks the products up (:mod:`cellsearch.compiler.scheduling.tokens`);
        others take the plain way, and so does a module with forward hooks, which want to see x.
        Raises :class:`IndexError` for a token that is not in the embedding.
        """
        given = Beside(**beside)
        if _is_compiling() or _has_autocast():
            return self._within(CellModule._token_sequence, (tokens, embedding), hx, given)
        return self._token_sequence(tokens, embedding, hx, given)

    def _token_sequence(
        self, tokens: Tensor | PackedSequence, embedding: Tensor, hx: State | None, beside: Beside
    ) -> tuple[Tensor | PackedSequence, State]:
        self._check_input(embedding, 2)
        if self._forward_pre_hooks or self._forward_hooks:
            return self(_embedded(tokens, embedding), hx, **vars(beside))  # type: ignore[no-any-return]
        if isinstance(tokens, PackedSequence):
            packing = Packing.of(tokens)
            states = [packing.sort(s) for s in self._states(hx, packing.sizes[0], embedding)]
            x = packing.pad()
            beside = self._beside(beside, embedding, (*x.shape, embedding.shape[1]), packing)
            output, final = self._run(x, states, packing, beside, embedding)
            return packing.pack(output), pack_states([packing.unsort(s) for s in final])
        if tokens.dim() != 2:
            raise ValueError(f"RNN: Expected tokens to be 2D, got {tokens.dim()}D tensor instead")
        x = tokens.t() if self.batch_first else tokens
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        beside = self._beside(beside, embedding, (*x.shape, embedding.shape[1]), None)
        states = self._states(hx, x.shape[1], embedding)
        output, final = self._run(x, states, None, beside, embedding)
        return output.transpose(0, 1) if self.batch_first else output, pack_states(final)

    def step(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        dt: Tensor | float | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """One step of a stream: ``x [B, I]``, state as :meth:`forward` returns it -> output ``[B,
        H]`` and the next state. ``dt [B]``, ``mask [B, I]``, ``reset [B]`` as there.

        Only in one direction: the other one needs the whole sequence.
        """
        if self.bidirectional:
            raise ConfigError(
                "a bidirectional module cannot run step by step",
                hint="compile the cell with bidirectional=False",
            )
        if x.dim() != 2:
            raise ValueError(
                f"RNN: Expected the input of a step to be 2D, got {x.dim()}D tensor instead"
            )
        beside = Beside(dt, mask, reset)
        if _is_compiling() or _has_autocast():
            return self._within(CellModule._one_step, (x,), state, beside)
        return self._one_step(x, state, beside)

    def _one_step(self, x: Tensor, state: State | None, beside: Beside) -> tuple[Tensor, State]:
        self._check_input(x, 2)
        beside = self._beside(beside.of_step(), x, (1, *x.shape), None, batch_first=False)
        output, final = self._run(x[None], self._states(state, x.shape[0], x), None, beside)
        return output[0], pack_states(final)


def _embedded(tokens: Tensor | PackedSequence, embedding: Tensor) -> Tensor | PackedSequence:
    """What the tokens stand for."""
    if isinstance(tokens, PackedSequence):
        return tokens._replace(data=functional.embedding(tokens.data, embedding))
    return functional.embedding(tokens, embedding)
