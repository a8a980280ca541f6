"""``compile_cell``: a genome becomes a torch module that is called like ``torch.nn.LSTM``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from cellsearch.compiler.backends.choice import Choice, choose
from cellsearch.compiler.backends.transforms import beside_the_graph, transform_of
from cellsearch.compiler.calling import (
    State,
    cast,
    check_input,
    check_states,
    initial_states,
    pack_states,
)
from cellsearch.compiler.given import Given, check_given, with_resets
from cellsearch.compiler.lower import lower
from cellsearch.compiler.options import LayerOptions, check_fixed
from cellsearch.compiler.program import Program
from cellsearch.compiler.projection import (
    projected,
    projection_for,
    projection_name,
    projection_of,
    read_width,
)
from cellsearch.compiler.sequences import Packing, reverse
from cellsearch.compiler.simplify import simplify_program
from cellsearch.compiler.variational import drop_units, masked_states, with_masks
from cellsearch.compiler.weights import Layer
from cellsearch.errors import BackendError, ConfigError, checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import (
    Sizes,
    check_sizes,
    output_width,
    size_names,
    state_widths,
)

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
        backend=backend,
    )
    return CellModule(genome, options, device=device, dtype=dtype)


class CellModule(nn.Module):
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

    @checked_arguments
    def __init__(
        self,
        genome: Genome,
        options: LayerOptions,
        *,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        dtype = dtype or torch.get_default_dtype()
        if not dtype.is_floating_point:
            raise ConfigError(f"a cell computes with floating-point numbers, not {dtype}")
        self.genome = genome
        self.input_size = options.input_size
        self.hidden_size = options.hidden_size
        self.num_layers = options.num_layers
        self.batch_first = options.batch_first
        self.dropout = float(options.dropout)
        self.variational_dropout = float(options.variational_dropout)
        self.bidirectional = options.bidirectional
        self.project_input = options.project_input
        self.sizes = dict(options.sizes or {})
        unknown = [name for name in self.sizes if name not in size_names(genome)]
        if unknown:
            raise ConfigError(
                f"the cell has no size {unknown[0]!r:.60}",
                where="sizes",
                hint="it has " + (", ".join(size_names(genome)) or "none with a name"),
            )
        self.backend = options.backend
        bound = options.bound(self._read_width(options, options.input_size))
        check_sizes(genome, bound)
        self.output_size = bound[output_width(genome)]
        self.state_sizes = tuple(bound[width] for width in state_widths(genome))
        self._program = simplify_program(lower(genome))
        self._choices: dict[tuple[torch.device, torch.dtype, bool, bool, str], Choice] = {}
        self._fresh: tuple[tuple[int, torch.dtype, torch.device], list[Tensor]] | None = None
        place = None if device is None else torch.device(device)
        for name, width in options.layers(self.output_size):
            read = self._read_width(options, width)
            check_sizes(genome, options.bound(read))
            self._modules[name] = Layer(genome, options.bound(read), device=place, dtype=dtype)
            made = projection_for(width, read, device=place, dtype=dtype)
            if made is not None:
                self._modules[projection_name(name)] = made
        self._layers = tuple(name for name, _ in options.layers())
        self._choose(place or torch.get_default_device(), dtype)

    def _read_width(self, options: LayerOptions, width: int) -> int:
        """How wide the x is that the cell reads in a layer with an input of this width."""
        return read_width(self.genome, options.bound(width), project=options.project_input)

    # -- what it is --------------------------------------------------------------------------------

    @property
    def program(self) -> Program:
        """The simplified program of one step, which backends turn into kernels."""
        return self._program

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def layers(self) -> Iterator[tuple[str, Layer]]:
        """The weights of each layer and direction under their name: ``l0``, ``l0_reverse``, ``l1``,
        ...
        """
        for name in self._layers:
            weights = self._modules[name]
            assert isinstance(weights, Layer)
            yield name, weights

    @property
    def reads(self) -> tuple[str, ...]:
        """What it can be given beside x: what the cell reads, and ``reset``."""
        return (*self.genome.inputs[1:], "reset")

    @property
    def bias(self) -> bool:
        """Whether the cell has biases."""
        return any(spec.name.endswith(".bias") for spec in self.genome.parameters)

    @property
    def proj_size(self) -> int:
        """How wide the output is where it is not as wide as H, else 0."""
        return self.output_size if self.output_size != self.hidden_size else 0

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights of each layer and direction."""
        return [[*layer.weights().values()] for _, layer in self.layers()]

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for name, layer in self.layers():
            layer.reset_parameters()
            projection = projection_of(self, name)
            if projection is not None:
                projection.reset_parameters()

    def flatten_parameters(self) -> None:
        """Nothing to do; here so that the module can stand where a ``torch.nn.LSTM`` stood."""

    def extra_repr(self) -> str:
        """The arguments, as torch prints them."""
        parts = [
            f"{self.input_size}, {self.hidden_size}",
            f"states={', '.join(self.genome.state_names)}",
        ]
        for field in fields(LayerOptions)[2:-1]:
            value = getattr(self, field.name)
            parts += [f"{field.name}={value}"] if value != field.default else []
        return ", ".join((*parts, f"backend={self.backend}"))

    # -- backends ----------------------------------------------------------------------------------

    def backend_report(self) -> dict[str, str]:
        """For each backend ``"taken"``, or why it was not, for the device and dtype that the
        weights have now.
        """
        weight = next(self.parameters(), None)
        if weight is None:
            choice = self._choose(torch.get_default_device(), torch.get_default_dtype())
        else:
            choice = self._choose(weight.device, weight.dtype)
        return dict(choice.report)

    def _choose(
        self,
        device: torch.device,
        dtype: torch.dtype,
        *,
        masked: bool = False,
        resets: bool = False,
        backend: str = "",
    ) -> Choice:
        """``backend``: another one than the module's."""
        key = (device, dtype, masked, resets, backend)
        choice = self._choices.get(key)
        if choice is None:
            program = with_masks(self._program) if masked else self._program
            program = with_resets(program, len(self.genome.states), dtype) if resets else program
            choice = self._choices[key] = choose(backend or self.backend, program, device, dtype)
        return choice

    def _chosen(
        self, like: Tensor, states: Sequence[Tensor], beside: Given, *, masked: bool
    ) -> Choice:
        """The kernel for this call: under a transform ``"auto"`` takes the reference, and aten
        where it has to give gradients that the first one does not give.
        """
        resets = beside.reset is not None
        choice = self._choose(like.device, like.dtype, masked=masked, resets=resets)
        if choice.kernel.plain_torch:
            return choice
        if self.backend == "auto" and not choice.kernel.more_gradients and beside.wants_gradient:
            other = "reference" if self._program.beyond_hidden else "aten"
            choice = self._choose(
                like.device, like.dtype, masked=masked, resets=resets, backend=other
            )
        what = transform_of((like, *states))
        if not what or choice.kernel.plain_torch:
            return choice
        if self.backend != "auto":
            raise BackendError(
                f"the backend {self.backend} cannot run under {what}",
                hint='compile the cell with backend="auto" or backend="reference"',
            )
        return self._choose(
            like.device, like.dtype, masked=masked, resets=resets, backend="reference"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_choices": {}, "_fresh": None}  # made again where they are needed

    def __setstate__(self, state: dict[str, Any]) -> None:
        plain = {  # what a module of before cells had sizes did not say
            "sizes": {},
            "project_input": False,
            "output_size": state["hidden_size"],
            "state_sizes": (state["hidden_size"],) * len(state["genome"].states),
        }
        super().__setstate__({**plain, **state})  # type: ignore[no-untyped-call]

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
        beside = Given(dt, mask, reset)
        if _is_compiling() or _has_autocast():
            return self._within(CellModule._sequence, (input,), hx, beside)
        return self._sequence(input, hx, beside)

    def _within(
        self,
        run: Callable[..., tuple[Any, State]],
        given: tuple[Any, ...],
        hx: State | None,
        beside: Given,
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
        self, input: Tensor | PackedSequence, hx: State | None, beside: Given
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
        given = Given(**beside)
        if _is_compiling() or _has_autocast():
            return self._within(CellModule._token_sequence, (tokens, embedding), hx, given)
        return self._token_sequence(tokens, embedding, hx, given)

    def _token_sequence(
        self, tokens: Tensor | PackedSequence, embedding: Tensor, hx: State | None, beside: Given
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
        beside = Given(dt, mask, reset)
        if _is_compiling() or _has_autocast():
            return self._within(CellModule._one_step, (x,), state, beside)
        return self._one_step(x, state, beside)

    def _one_step(self, x: Tensor, state: State | None, beside: Given) -> tuple[Tensor, State]:
        self._check_input(x, 2)
        beside = self._beside(beside.of_step(), x, (1, *x.shape), None, batch_first=False)
        output, final = self._run(x[None], self._states(state, x.shape[0], x), None, beside)
        return output[0], pack_states(final)

    def _run(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        packing: Packing | None,
        beside: Given,
        embedding: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """``x [T, B, I]`` (tokens ``[T, B]`` with an ``embedding``), states ``[L * D, B, H]`` ->
        output ``[T, B, H * D]``, final states.
        """
        like = x if embedding is None else embedding
        share = self.variational_dropout if self.training else 0.0
        choice = self._chosen(like, states, beside, masked=share > 0)
        kernel, more = choice.kernel, len(choice.program.inputs) > 1
        if embedding is not None and (share or more or not kernel.takes_tokens):
            x, embedding = functional.embedding(x, embedding), None
        batch, masks = x.shape[1], masked_states(self._program) if share else ()
        whole = self.num_layers == self.directions == 1 and kernel.whole_states
        sizes = None if packing is None else packing.sizes
        finals: list[tuple[Tensor, ...]] = []
        outputs: list[Tensor] = []  # of the layer below, one a direction
        for k, (name, layer) in enumerate(self.layers()):
            backward = k % self.directions == 1
            if not backward:
                if k:
                    x, embedding = self._side_by_side(outputs), None
                    x = functional.dropout(x, self.dropout, self.training) if self.dropout else x
                x = x * drop_units(like, 1, batch, x.shape[2], share=share) if share else x
            given = reverse(x, packing) if backward else x
            rows = embedding  # of the first layer's tokens
            if embedding is None:
                given = projected(self, name, given)
            else:
                rows = projected(self, name, embedding)
            before = [*states] if whole else [state[k] for state in states]
            for m in masks:
                before.append(drop_units(like, batch, self.state_sizes[m], share=share))
            if more:
                inputs = beside.of_layer(first=not k // self.directions).inputs(
                    choice.program,
                    given,
                    Sizes(given.shape[2], self.hidden_size, self.sizes),
                    packing,
                    backward=backward,
                )
                output, final = kernel(given, before, layer.weights(), sizes, inputs)
            elif rows is None:
                output, final = kernel(given, before, layer.weights(), sizes)
            else:
                output, final = kernel.run_tokens(given, rows, before, layer.weights(), sizes)
            outputs = [*outputs, reverse(output, packing)] if backward else [output]
            finals.append(final[: len(states)])
        output = self._side_by_side(outputs)
        if share:
            output = output * drop_units(like, 1, batch, output.shape[2], share=share)
        if whole:
            return output, [*finals[0]]
        return output, [
            torch.stack(state) if len(state) > 1 else state[0][None]
            for state in zip(*finals, strict=True)
        ]

    def _side_by_side(self, outputs: list[Tensor]) -> Tensor:
        """The outputs of both directions as one."""
        return torch.cat(outputs, -1) if self.bidirectional else outputs[0]

    def _states(
        self, hx: State | None, batch: int, like: Tensor, *, batched: bool = True
    ) -> list[Tensor]:
        """The given states, checked, as ``[L * D, B, size]``, or the initial ones. Those of the
        last call are used again where the kernel only reads them.
        """
        rows = len(self._layers)
        shapes = [torch.Size((rows, batch, size)) for size in self.state_sizes]
        if hx is not None:
            return check_states(hx, self.genome.state_names, shapes, like, batched=batched)
        key = (batch, like.dtype, like.device)
        fresh = self._fresh
        plain = not transform_of((like,))  # what a transform makes is of no use after it
        if plain and fresh is not None and fresh[0] == key:
            return fresh[1]
        states = initial_states(self.genome, shapes, like)
        if plain and self._choose(like.device, like.dtype).kernel.whole_states:
            self._fresh = (key, states)
        return states

    def _beside(
        self,
        beside: Given,
        like: Tensor,
        shape: tuple[int, ...],
        packing: Packing | None,
        *,
        batched: bool = True,
        batch_first: bool | None = None,
    ) -> Given:
        """What is given beside x ``[T, B, I]``, which is ``shape``, as kernels take it."""
        if beside.is_empty:
            return beside
        check_given(self.genome, beside)
        first = self.batch_first if batch_first is None else batch_first
        return beside.laid_out(like, torch.Size(shape), packing, batched=batched, batch_first=first)

    def _first_weight(self) -> Tensor | None:
        """Any weight, to see dtype and device; asking ``parameters()`` takes longer than all other
        checks together.
        """
        for _, layer in self.layers():
            for owner in layer._modules.values():
                for weight in () if owner is None else owner._parameters.values():
                    if weight is not None:
                        return weight
        return next(self.parameters(), None)

    def _check_input(self, x: Tensor, dim: int) -> None:
        check_input(x, dim, self.input_size, self._first_weight())


def _embedded(tokens: Tensor | PackedSequence, embedding: Tensor) -> Tensor | PackedSequence:
    """What the tokens stand for."""
    if isinstance(tokens, PackedSequence):
        return tokens._replace(data=functional.embedding(tokens.data, embedding))
    return functional.embedding(tokens, embedding)
