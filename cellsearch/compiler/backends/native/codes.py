"""The schedules and bytecode of a cell for one input size and hidden size: what running it and
predicting its cost have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from cellsearch.compiler.backends.native.blocks import dense_form
from cellsearch.compiler.backends.native.build import Library
from cellsearch.compiler.backends.native.bytecode import Bytecode, encode
from cellsearch.compiler.backends.native.instructions import missing_instruction
from cellsearch.compiler.gradient import Gradient, gradient
from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.commands import Buffer, Home, Lifetime, ProgramSchedule
from cellsearch.compiler.scheduling.recompute import recompute
from cellsearch.compiler.scheduling.schedule import schedule
from cellsearch.compiler.scheduling.tokens import Folding, fold_backward, fold_forward
from cellsearch.compiler.simplify import drop_dead
from cellsearch.errors import BackendError
from cellsearch.genome.sizes import Sizes, Width

__all__ = ["WITH_TOKENS", "Codes", "native_gradient"]

WITH_TOKENS = " (tokens)"
"""The end of the name of a schedule that reads a table of tokens."""


def native_gradient(program: Program) -> Gradient:
    """The gradient of the :func:`dense_form` of a program, as the native backend runs it.

    Raises :class:`BackendError` for a program that the runtime has no instruction for.
    """
    program = dense_form(program)
    missing = missing_instruction(program)
    if missing:
        raise BackendError(f"the native backend cannot run this cell: {missing}")
    return recompute(gradient(program))


class Codes:
    """The schedules and bytecode for one input size and hidden size, each made when it is first
    asked for.
    """

    def __init__(
        self,
        gradient: Gradient,
        library: Library,
        sizes: Sizes,
        stored: Mapping[str, tuple[Width, ...]],
    ) -> None:
        """``stored``: the shapes of the weights as they lie, ``[n, o, i]`` for n blocks."""
        self.program = gradient.forward
        self.stored = stored
        self.gradient = gradient
        self.library = library
        self.sizes = sizes
        self.input_size, self.hidden_size = sizes["I"], sizes["H"]
        self.square = self.input_size == self.hidden_size
        self.schedules: dict[str, ProgramSchedule] = {}
        self.codes: dict[str, Bytecode] = {}

    @cached_property
    def folding(self) -> Folding | None:
        """The columns of a token table; ``None`` if x is not only multiplied by weights."""
        if self.program.beyond_hidden or any(len(shape) == 3 for shape in self.stored.values()):
            return None  # the columns of a table are H wide, and multiplied as matrices
        folded = fold_forward(self.schedule("training"))
        return None if folded is None else folded[1]

    def schedule(self, kind: str) -> ProgramSchedule:
        """``inference``, ``training``, ``backward`` or ``backward without x``, each also with
        ``(tokens)``.
        """
        if kind not in self.schedules:
            self.schedules[kind] = self._schedule(kind)
        return self.schedules[kind]

    def _schedule(self, kind: str) -> ProgramSchedule:
        if kind.endswith(WITH_TOKENS):
            if kind.startswith("backward"):
                return fold_backward(self.schedule("backward without x"), self.folding or ())
            folded = fold_forward(self.schedule(kind.removesuffix(WITH_TOKENS)))
            assert folded is not None
            return folded[0]
        if kind in ("inference", "training"):
            keep = self.gradient.saved if kind == "training" else ()
            return schedule(self.program, keep=keep, square=self.square)
        program = self.gradient.program
        if kind != "backward":
            program = drop_dead(replace(program, outputs=program.outputs[1:]))
        given = {k: self.forward_home(v) for k, v in enumerate(self.gradient.saved)}
        weights = self.program.parameter_shapes
        return schedule(program, given=given, square=self.square, weights=weights)

    def forward_home(self, value: int) -> tuple[Buffer, Home]:
        """Where the backward pass finds a saved value."""
        plan = self.schedule("training")
        home = plan.kept[value]
        buffer = plan.buffers[home.buffer]
        name = f"forward {buffer.name}"
        return buffer._replace(name=name, role="saved", lifetime=Lifetime.TIME), home._replace(
            buffer=name
        )

    def code(self, kind: str) -> Bytecode:
        """The bytecode of a schedule."""
        if kind not in self.codes:
            self.codes[kind] = encode(
                self.schedule(kind),
                self.library,
                self.stored,
                self.sizes,
                (self.folding or ()) if kind.endswith(WITH_TOKENS) else (),
                bf16=self.program.precision == "bf16",
            )
        return self.codes[kind]
