"""``compile_cell``: a genome becomes a torch module that is called like ``torch.nn.LSTM``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from cellsearch.compiler import backends
from cellsearch.compiler.backends.base import Kernel
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Program
from cellsearch.compiler.sequences import Packing, reverse
from cellsearch.compiler.simplify import simplify_program
from cellsearch.compiler.variational import drop_units, masked_states, with_masks
from cellsearch.compiler.weights import Layer
from cellsearch.errors import BackendError, ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import check_width

__all__ = ["CellModule", "State", "compile_cell"]

State = Tensor | tuple[Tensor, ...]
"""One tensor for a cell with one state, else a tuple in the order of ``genome.states``."""


def compile_cell(
    genome: Genome,
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    batch_first: bool = False,
    dropout: float = 0.0,
    variational_dropout: float = 0.0,
    bidirectional: bool = False,
    backend: str = "auto",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> CellModule:
    """A module that runs the cell over sequences, with the calling convention of ``torch.nn.LSTM``.

    ``backend``: ``"auto"`` takes the fastest one that can run the cell on this device with this
    dtype (:meth:`CellModule.backend_report` says which and why), a name takes that one or raises
    :class:`BackendError`. ``dropout``: probability, applied between layers in training mode.
    ``variational_dropout``: probability with which a unit is dropped for a whole call, at all
    positions alike, in training mode: of the input of each layer, of the output of the last one,
    and of the previous states where a dense product reads them
    (:mod:`cellsearch.compiler.variational`). Weights start as
    :meth:`cellsearch.compiler.weights.Layer.reset_parameters` says. Raises :class:`GenomeError` for
    a cell in which x meets a state without a linear between, where the widths differ, and
    :class:`ConfigError` for arguments that make no sense.
    """
    return CellModule(
        genome,
        input_size=input_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        batch_first=batch_first,
        dropout=dropout,
        variational_dropout=variational_dropout,
        bidirectional=bidirectional,
        backend=backend,
        device=device,
        dtype=dtype,
    )


@dataclass(frozen=True)
class _Choice:
    """The kernel for one device and dtype, and what became of each backend."""

    kernel: Kernel
    report: Mapping[str, str]


class CellModule(nn.Module):
    """A cell over sequences: stacked, in one or two directions. Made by :func:`compile_cell`.

    Input ``[T, B, I]`` (``[B, T, I]`` with ``batch_first``), ``[T, I]`` without a batch, or a
    ``PackedSequence``; ``hx`` defaults to the initial value of each state. Returns ``(output,
    states)``: output ``[T, B, H * directions]``, each state ``[num_layers * directions, B, H]``,
    one tensor for one state and a tuple for more, in the order of ``genome.states``. Wrong shapes
    and dtypes raise what ``torch.nn.LSTM`` raises (:class:`ValueError`, :class:`RuntimeError`).
    """

    def __init__(
        self,
        genome: Genome,
        *,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        variational_dropout: float = 0.0,
        bidirectional: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(genome, Genome):
            hint = "write cellsearch.zoo.load(name) or Genome.from_text(text)"
            raise ConfigError(f"{genome!r:.60} is not a genome", where="compile_cell", hint=hint)
        _check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        for name, share in (("dropout", dropout), ("variational_dropout", variational_dropout)):
            if isinstance(share, bool) or not 0 <= share <= 1:
                raise ConfigError(
                    f"{name} {share!r} is not a probability", hint="a number from 0 to 1"
                )
        dtype = dtype or torch.get_default_dtype()
        if not dtype.is_floating_point:
            raise ConfigError(f"a cell computes with floating-point numbers, not {dtype}")
        self.genome = genome
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.variational_dropout = float(variational_dropout)
        self.bidirectional = bidirectional
        self.backend = backend
        self._program = simplify_program(lower(genome))
        self._choices: dict[tuple[torch.device, torch.dtype, bool], _Choice] = {}
        self._fresh: tuple[tuple[torch.Size, torch.dtype, torch.device], list[Tensor]] | None = None
        width = input_size
        for layer in range(num_layers):
            check_width(genome, width, hidden_size)
            for suffix in self._suffixes:
                weights = Layer(genome, width, hidden_size, device=_device(device), dtype=dtype)
                self._modules[f"l{layer}{suffix}"] = weights
            width = hidden_size * self.directions
        self._choose(_device(device) or torch.get_default_device(), dtype)

    # -- what it is --------------------------------------------------------------------------------

    @property
    def program(self) -> Program:
        """The simplified program of one step, which backends turn into kernels."""
        return self._program

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def layers(self) -> Iterator[tuple[str, Layer]]:
        """The weights of each layer and direction under their name: ``l0``, ``l0_reverse``, ``l1``,
        ...
        """
        for layer in range(self.num_layers):
            for suffix in self._suffixes:
                weights = self._modules[f"l{layer}{suffix}"]
                assert isinstance(weights, Layer)
                yield f"l{layer}{suffix}", weights

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for _, layer in self.layers():
            layer.reset_parameters()

    def flatten_parameters(self) -> None:
        """Nothing to do; here so that the module can stand where a ``torch.nn.LSTM`` stood."""

    def extra_repr(self) -> str:
        """The arguments, as torch prints them."""
        parts = [
            f"{self.input_size}, {self.hidden_size}",
            f"states={', '.join(self.genome.state_names)}",
        ]
        for name, default in (
            ("num_layers", 1),
            ("batch_first", False),
            ("dropout", 0.0),
            ("variational_dropout", 0.0),
            ("bidirectional", False),
        ):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join((*parts, f"backend={self.backend}"))

    # -- backends ----------------------------------------------------------------------------------

    def backend_report(self) -> dict[str, str]:
        """For each backend ``"taken"``, or why it was not, for the device and dtype that the
        weights have now.
        """
        weight = next(self.parameters(), None)
        device = weight.device if weight is not None else torch.get_default_device()
        return dict(
            self._choose(
                device, weight.dtype if weight is not None else torch.get_default_dtype()
            ).report
        )

    def _choose(self, device: torch.device, dtype: torch.dtype, *, masked: bool = False) -> _Choice:
        key = (device, dtype, masked)
        choice = self._choices.get(key)
        if choice is None:
            program = with_masks(self._program) if masked else self._program
            choice = self._choices[key] = _choose(self.backend, program, device, dtype)
        return choice

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_choices": {}, "_fresh": None}  # made again where they are needed

    # -- running -----------------------------------------------------------------------------------

    def forward(
        self, input: Tensor | PackedSequence, hx: State | None = None
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run over whole sequences; shapes as the class says."""
        if isinstance(input, PackedSequence):
            packing = Packing.of(input)
            self._check_input(input.data, 2)
            states = [packing.sort(s) for s in self._states(hx, packing.sizes[0], input.data)]
            output, final = self._run(packing.pad(), states, packing)
            return packing.pack(output), self._pack_states([packing.unsort(s) for s in final])
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
        output, final = self._run(x, self._states(hx, x.shape[1], x, batched=batched), None)
        output = output.transpose(0, 1) if self.batch_first else output
        if batched:
            return output, self._pack_states(final)
        return output.squeeze(0 if self.batch_first else 1), self._pack_states(
            [s.squeeze(1) for s in final]
        )

    @overload
    def run_tokens(
        self, tokens: Tensor, embedding: Tensor, hx: State | None = None
    ) -> tuple[Tensor, State]: ...
    @overload
    def run_tokens(
        self, tokens: PackedSequence, embedding: Tensor, hx: State | None = None
    ) -> tuple[PackedSequence, State]: ...
    def run_tokens(
        self, tokens: Tensor | PackedSequence, embedding: Tensor, hx: State | None = None
    ) -> tuple[Tensor | PackedSequence, State]:
        """The same as ``module(functional.embedding(tokens, embedding), hx)``, gradients included,
        faster where tokens repeat.

        ``tokens [T, B]`` (``[B, T]`` with ``batch_first``; int64) or a ``PackedSequence`` of them,
        ``embedding [V, I]``. A native kernel multiplies the embedding with the input weights of the
        first layer once and looks the products up (:mod:`cellsearch.compiler.scheduling.tokens`);
        others take the plain way, and so does a module with forward hooks, which want to see x.
        Raises :class:`IndexError` for a token that is not in the embedding.
        """
        self._check_input(embedding, 2)
        if self._forward_pre_hooks or self._forward_hooks:
            return self(_embedded(tokens, embedding), hx)  # type: ignore[no-any-return]
        if isinstance(tokens, PackedSequence):
            packing = Packing.of(tokens)
            states = [packing.sort(s) for s in self._states(hx, packing.sizes[0], embedding)]
            output, final = self._run(packing.pad(), states, packing, embedding)
            return packing.pack(output), self._pack_states([packing.unsort(s) for s in final])
        if tokens.dim() != 2:
            raise ValueError(f"RNN: Expected tokens to be 2D, got {tokens.dim()}D tensor instead")
        x = tokens.t() if self.batch_first else tokens
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        output, final = self._run(x, self._states(hx, x.shape[1], embedding), None, embedding)
        return output.transpose(0, 1) if self.batch_first else output, self._pack_states(final)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One step of a stream: ``x [B, I]``, state as :meth:`forward` returns it -> output ``[B,
        H]`` and the next state.

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
        self._check_input(x, 2)
        output, final = self._run(x[None], self._states(state, x.shape[0], x), None)
        return output[0], self._pack_states(final)

    def _run(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        packing: Packing | None,
        embedding: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """``x [T, B, I]`` (tokens ``[T, B]`` with an ``embedding``), states ``[L * D, B, H]`` ->
        output ``[T, B, H * D]``, final states.
        """
        like = x if embedding is None else embedding
        share = self.variational_dropout if self.training else 0.0
        kernel = self._choose(like.device, like.dtype, masked=share > 0).kernel
        run_tokens: Callable[..., Any] | None = getattr(
            kernel, "run_tokens", None
        )  # of a TokenKernel
        if embedding is not None and (run_tokens is None or share):
            x, embedding = functional.embedding(x, embedding), None
        batch, masked = x.shape[1], masked_states(self._program) if share else ()
        whole = self.num_layers == self.directions == 1 and getattr(kernel, "whole_states", False)
        sizes = None if packing is None else packing.sizes
        finals: list[tuple[Tensor, ...]] = []
        outputs: list[Tensor] = []  # of the layer below, one a direction
        for k, (_, layer) in enumerate(self.layers()):
            backward = k % self.directions == 1
            if k and not backward:
                x, embedding = torch.cat(outputs, -1) if self.bidirectional else outputs[0], None
                x = functional.dropout(x, self.dropout, self.training) if self.dropout else x
            if share and not backward:
                x = x * drop_units(like, 1, batch, x.shape[2], share=share)
            given = reverse(x, packing) if backward else x
            before = [*states] if whole else [state[k] for state in states]
            before += [drop_units(like, batch, self.hidden_size, share=share) for _ in masked]
            if embedding is not None and run_tokens is not None:
                output, final = run_tokens(given, embedding, before, layer.weights(), sizes)
            else:
                output, final = kernel(given, before, layer.weights(), sizes)
            outputs = [*outputs, reverse(output, packing)] if backward else [output]
            finals.append(final[: len(states)])
        output = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
        output = (
            output * drop_units(like, 1, batch, output.shape[2], share=share) if share else output
        )
        if whole:
            return output, [*finals[0]]
        return output, [
            torch.stack(state) if len(state) > 1 else state[0][None]
            for state in zip(*finals, strict=True)
        ]

    def _pack_states(self, states: Sequence[Tensor]) -> State:
        return states[0] if len(states) == 1 else tuple(states)

    def _states(
        self, hx: State | None, batch: int, like: Tensor, *, batched: bool = True
    ) -> list[Tensor]:
        """The given states, checked, as ``[L * D, B, H]``, or the initial ones."""
        shape = (self.num_layers * self.directions, batch, self.hidden_size)
        if hx is None:
            return self._initial(torch.Size(shape), like)
        given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        names = self.genome.state_names
        if len(given) != len(names):
            raise RuntimeError(
                f"Expected hx to hold the states ({', '.join(names)}), got {len(given)} tensor(s)"
            )
        for state in given:
            if state.dim() != (3 if batched else 2):
                what = "batched 3-D" if batched else "unbatched 2-D"
                raise RuntimeError(
                    f"For {what} input, hx should also be {3 if batched else 2}-D but "
                    f"got {state.dim()}-D tensor"
                )
        states = [state if batched else state.unsqueeze(1) for state in given]
        for k, state in enumerate(states):
            if tuple(state.shape) != shape:
                what = f"hidden[{k}]" if len(states) > 1 else "hidden"
                raise RuntimeError(f"Expected {what} size {shape}, got {list(state.shape)}")
            if state.dtype != like.dtype or state.device != like.device:
                raise ValueError(
                    f"RNN hx ({state.dtype}, {state.device}) does not match input "
                    f"({like.dtype}, {like.device}). Convert hx with .to(input)"
                )
        return states

    def _initial(self, shape: torch.Size, like: Tensor) -> list[Tensor]:
        """The initial states. Those of the last call are used again where the kernel only reads
        them.
        """
        key = (shape, like.dtype, like.device)
        fresh = self._fresh
        if fresh is not None and fresh[0] == key:
            return fresh[1]
        with torch.inference_mode(mode=False):  # they may be used again in training
            largest = torch.finfo(
                like.dtype
            ).max  # a lowest value such as -1e30 stays finite in half precision
            values = [min(max(state.initial, -largest), largest) for state in self.genome.states]
            states = [
                torch.full(shape, value, dtype=like.dtype, device=like.device) for value in values
            ]
        if getattr(self._choose(like.device, like.dtype).kernel, "whole_states", False):
            self._fresh = (key, states)
        return states

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
        weight = self._first_weight()
        if weight is not None and x.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if weight is not None and x.device != weight.device:
            raise RuntimeError(
                f"Input and parameter tensors are not at the same device, found input "
                f"at {x.device} and parameters at {weight.device}"
            )
        if x.dim() != dim:
            raise RuntimeError(f"input must have {dim} dimensions, got {x.dim()}")
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {x.shape[-1]}"
            )


def _choose(backend: str, program: Program, device: torch.device, dtype: torch.dtype) -> _Choice:
    if backend != "auto":
        chosen = backends.get(backend)
        support = chosen.supports(program, device, dtype)
        if not support.ok:
            raise BackendError(
                f"the backend {backend} cannot run this cell on {device} in {dtype}: "
                f"{support.reason}",
                hint='backend="auto" takes one that can',
            )
        report = {
            name: "taken" if name == backend else f"not asked for (backend={backend!r})"
            for name in backends.names()
        }
        return _Choice(chosen.build(program), report)
    report = {}
    taken = ""
    for name in backends.names():
        if taken:
            report[name] = f"not needed, {taken} comes first"
            continue
        support = backends.get(name).supports(program, device, dtype)
        report[name] = "taken" if support.ok else support.reason
        taken = name if support.ok else ""
    return _Choice(backends.get(taken).build(program), report)


def _embedded(tokens: Tensor | PackedSequence, embedding: Tensor) -> Tensor | PackedSequence:
    """What the tokens stand for."""
    if isinstance(tokens, PackedSequence):
        return tokens._replace(data=functional.embedding(tokens.data, embedding))
    return functional.embedding(tokens, embedding)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"{name} is {size!r}", hint="a whole number from 1 on")


def _device(device: torch.device | str | None) -> torch.device | None:
    return torch.device(device) if device is not None else None
