"""The layers of a compiled cell: weights, the kernel that runs them, a run over one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellsearch.compiler.backends.choice import Choice, choose
from cellsearch.compiler.backends.transforms import transform_of
from cellsearch.compiler.calling import State, check_input, check_states, initial_states
from cellsearch.compiler.given import Beside, check_given, with_resets
from cellsearch.compiler.lower import lower
from cellsearch.compiler.options import LayerOptions
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

__all__ = ["LayerStack"]


class LayerStack(nn.Module):
    """Layers of one cell on top of each other, in one or two directions, which run over what is
    laid out for kernels. How it is called is :class:`cellsearch.compiler.module.CellModule`'s.
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
        self.threads = options.threads
        self.sizes = dict(options.sizes or {})
        unknown = [name for name in self.sizes if name not in size_names(genome)]
        if unknown:
            raise ConfigError(
                f"the cell has no size {unknown[0]!r:.60}",
                where="sizes",
                hint="it has " + (", ".join(size_names(genome)) or "none with a name"),
            )
        self.precision = options.precision
        self.backend = options.backend
        bound = options.bound(self._read_width(options, options.input_size))
        check_sizes(genome, bound)
        self.output_size = bound[output_width(genome)]
        self.state_sizes = tuple(bound[width] for width in state_widths(genome))
        self._program = simplify_program(lower(genome, options.precision))
        self._choices: dict[tuple[torch.device, torch.dtype, bool, bool, str, int], Choice] = {}
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
        """The weights of each layer and direction, those of its input projection last."""
        found = []
        for name, layer in self.layers():
            projection = projection_of(self, name)
            front = [] if projection is None else projection.parameters()
            found.append([*layer.weights().values(), *front])
        return found

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
        key = (device, dtype, masked, resets, backend, self.threads)
        choice = self._choices.get(key)
        if choice is None:
            program = with_masks(self._program) if masked else self._program
            program = with_resets(program, len(self.genome.states), dtype) if resets else program
            choice = choose(backend or self.backend, program, device, dtype)
            choice.kernel.threads = self.threads
            self._choices[key] = choice
        return choice

    def _chosen(
        self, like: Tensor, states: Sequence[Tensor], beside: Beside, *, masked: bool
    ) -> Choice:
        """The kernel for this call: under a transform ``"auto"`` takes the reference, and aten
        (the reference in bf16) where it has to give gradients that the first one does not give.
        """
        resets = beside.reset is not None
        choice = self._choose(like.device, like.dtype, masked=masked, resets=resets)
        if choice.kernel.plain_torch:
            return choice
        wanted = not beside.is_empty and beside.wants_gradient
        if wanted and self.backend == "auto" and not choice.kernel.more_gradients:
            other = "aten" if self.precision == "float32" else "reference"
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
        plain = {  # what a module of before cells had sizes, or a precision, did not say
            "precision": "float32",
            "sizes": {},
            "project_input": False,
            "threads": 1,
            "output_size": state["hidden_size"],
            "state_sizes": (state["hidden_size"],) * len(state["genome"].states),
        }
        super().__setstate__({**plain, **state})  # type: ignore[no-untyped-call]

    # -- running -----------------------------------------------------------------------------------

    def _run(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        packing: Packing | None,
        beside: Beside,
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
        key = (batch, like.dtype, like.device)
        fresh = self._fresh
        plain = hx is None and not transform_of((like,))  # what it makes is of no use after it
        if plain and fresh is not None and fresh[0] == key:
            return fresh[1]
        rows = len(self._layers)
        shapes = [torch.Size((rows, batch, size)) for size in self.state_sizes]
        if hx is not None:
            return check_states(hx, self.genome.state_names, shapes, like, batched=batched)
        states = initial_states(self.genome, shapes, like)
        if plain and self._choose(like.device, like.dtype).kernel.whole_states:
            self._fresh = (key, states)
        return states

    def _beside(
        self,
        beside: Beside,
        like: Tensor,
        shape: tuple[int, ...],
        packing: Packing | None,
        *,
        batched: bool = True,
        batch_first: bool | None = None,
    ) -> Beside:
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
        for name in self._layers:
            for owner in self._modules[name]._modules.values():  # type: ignore[union-attr]
                for weight in () if owner is None else owner._parameters.values():
                    if weight is not None:
                        return weight
        return next(self.parameters(), None)

    def _check_input(self, x: Tensor, dim: int) -> None:
        check_input(x, dim, self.input_size, self._first_weight())
