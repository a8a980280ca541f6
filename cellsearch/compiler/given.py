"""What a layer is given beside x: the time between steps, which numbers were observed, and where
states start afresh.

``dt`` and ``reset`` are about what lies between two steps, ``mask`` about a step. So a backward
direction, which enters step t from step t + 1, reads ``dt`` and ``reset`` of step t + 1; at the
last step, which it begins with, it reads the ``dt`` of the first one, and resets nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from cellsearch.compiler.calling import within
from cellsearch.compiler.program import Instruction, Program
from cellsearch.compiler.sequences import Packing, reverse
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.genome.sizes import Sizes

__all__ = ["Beside", "Sequence", "check_given", "with_resets"]

Sequence = Tensor | PackedSequence
RESET = "reset"
"""What the input of a program is called that says where states start afresh."""


@dataclass(frozen=True)
class Beside:
    """What a call gives beside x, as the caller wrote it or, after :meth:`laid_out`, as kernels
    take it: ``dt [T, B]``, ``mask [T, B, I]`` and ``reset [T, B]``, numbers of x's dtype, rows of
    packed sequences longest first.
    """

    dt: Sequence | float | None = None
    mask: Sequence | None = None
    reset: Sequence | None = None

    @classmethod
    def of(
        cls, dt: Sequence | float | None, mask: Sequence | None, reset: Sequence | None
    ) -> Beside:
        """The same, sooner where nothing is given."""
        return _NOTHING if dt is mask is reset is None else cls(dt, mask, reset)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is given."""
        return self.dt is None and self.mask is None and self.reset is None

    @property
    def wants_gradient(self) -> bool:
        """Whether a gradient is asked for, of a time or a mask."""
        return any(isinstance(v, Tensor) and v.requires_grad for v in (self.dt, self.mask))

    def of_step(self) -> Beside:
        """What is given to one step ``[B, ...]``, as a sequence of length 1."""
        step = {k: v[None] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **step)

    def of_layer(self, *, first: bool) -> Beside:
        """What a layer of a stack is given: what was observed of x concerns the ``first`` one."""
        return self if first else replace(self, mask=None)

    def laid_out(
        self,
        like: Tensor,
        shape: torch.Size,
        packing: Packing | None,
        *,
        batched: bool,
        batch_first: bool,
    ) -> Beside:
        """As kernels take it. ``like``: a tensor of x's dtype and device; ``shape``: ``(T, B, I)``
        of x as kernels take it. Raises :class:`RuntimeError` for another shape or device,
        :class:`ConfigError` where a sequence is packed and the other is not.
        """

        def tensor(name: str, value: Sequence | float | None) -> Tensor | None:
            if value is None:
                return None
            wanted = shape if name == "mask" else shape[:2]
            if isinstance(value, (int, float)):
                return like.new_full(wanted, float(value))
            if isinstance(value, PackedSequence):
                value = _unpacked(name, value, packing)
            elif packing is not None:
                raise ConfigError(
                    f"{name} is not packed, but the input is",
                    hint=f"pack it alike: pack_padded_sequence({name}, lengths)",
                )
            elif not batched:
                value = value.unsqueeze(0 if batch_first else 1)
            if packing is None and batch_first and value.dim() > 1:
                value = value.transpose(0, 1)
            if value.shape != wanted:
                raise RuntimeError(f"Expected {name} size {tuple(wanted)}, got {list(value.shape)}")
            if value.device != like.device:
                raise RuntimeError(
                    f"Input and {name} are not at the same device, found input at {like.device} "
                    f"and {name} at {value.device}"
                )
            return value.to(like.dtype)

        return Beside(*(tensor(name, getattr(self, name)) for name in ("dt", "mask", RESET)))

    def inputs(
        self,
        program: Program,
        x: Tensor,
        sizes: Sizes,
        packing: Packing | None,
        *,
        backward: bool,
    ) -> list[Tensor]:
        """The inputs of a program after x, which is ``[T, B, I]`` in the direction of the run, each
        ``[T, B, width]``: a time of 1 and a mask of ones where none is given. ``sizes``: those of
        the layer.
        """
        found = []
        for name, letter in program.inputs[1:]:
            width = sizes[letter]
            base = name.partition(":")[0]
            value = getattr(self, base)
            if value is None:
                value = x.new_full((1,), float(base != RESET)).expand(*x.shape[:2], width)
            elif base == "mask":
                value = reverse(value, packing) if backward else value
            else:
                value = _entered(value, packing, first=base != RESET) if backward else value
                value = value[..., None].expand(*x.shape[:2], width)
            found.append(value)
        return found


_NOTHING = Beside()


def _unpacked(name: str, value: PackedSequence, packing: Packing | None) -> Tensor:
    """A packed sequence as ``[T, B, ...]``."""
    if packing is None:
        raise ConfigError(f"{name} is packed, but the input is not", hint="pack both, or none")
    if value.batch_sizes.tolist() != list(packing.sizes) or not _alike(
        value.sorted_indices, packing.packed.sorted_indices
    ):
        raise ConfigError(
            f"{name} is packed in another way than the input", hint="give both the same lengths"
        )
    return packing.pad(value.data)


def _alike(a: Tensor | None, b: Tensor | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))


def _entered(value: Tensor, packing: Packing | None, *, first: bool) -> Tensor:
    """What a backward direction reads of ``[T, B]`` that is about the way into each step: of the
    step entered before it. ``first``: the first step's for the one that it begins with, else 0.
    """
    begin = value[:1] if first else torch.zeros_like(value[:1])
    mirrored = reverse(value, packing)  # of each sequence, the first step's at the end
    # cut at the end: torch.export would ask of a part of T - 1 steps whether it is one
    return torch.cat([begin, mirrored])[: value.shape[0]]


def check_given(genome: Genome, given: Beside) -> None:
    """Raise :class:`ConfigError` for something that the cell does not read."""
    for name in ("dt", "mask"):
        if getattr(given, name) is not None and name not in genome.inputs:
            raise ConfigError(
                f"{name} is given, but the cell does not read {name}[t]",
                hint="leave it out, or read it in the cell, for example linear(x[t], h[t-1], "
                f"{name}[t])",
            )


def with_resets(program: Program, states: int, dtype: torch.dtype) -> Program:
    """The program with one more input ``reset:H``, behind the others (one for each width of a
    state): where it is above 0, the first ``states`` states of a step are their initial values,
    whatever the step before has left. States behind them
    (:mod:`~cellsearch.compiler.variational`) stay.
    """
    place = len(program.inputs)
    widths = list(dict.fromkeys(program.state_widths[:states]))
    added = len(widths)
    first = program.first + added
    new: list[Instruction] = []
    clean: dict[int, int] = {}
    for k, state in enumerate(program.states[:states]):
        start = first + len(new)
        reset = place + widths.index(program.state_widths[k])
        new += [
            Instruction("const", value=within(state.initial, dtype)),
            Instruction("restart", (reset, start, place + added + k)),
        ]
        clean[place + k] = start + 1

    def moved(value: int) -> int:
        """The number of a value, a state being clean."""
        if value in clean:
            return clean[value]
        if value < place:
            return value
        return value + added + (len(new) if value >= program.first else 0)

    return replace(
        program,
        inputs=(*program.inputs, *((f"{RESET}:{width}", width) for width in widths)),
        instructions=(
            *new,
            *(i.reading(tuple(moved(v) for v in i.inputs)) for i in program.instructions),
        ),
        next_states=tuple(moved(v) for v in program.next_states),
        outputs=tuple((name, moved(v)) for name, v in program.outputs),
    )
