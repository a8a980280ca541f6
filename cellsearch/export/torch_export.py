"""A layer, one step of it, or a whole trained model as a program of ``torch.export``: a ``.pt2``
file that torch runs without Python source.

The loop over time is the operator ``scan`` of torch, so the program takes any T and any B from 1
on. What is computed is what the reference backend computes, instruction by instruction.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cellsearch import __version__
from cellsearch.compiler.backends.evaluate import evaluate
from cellsearch.compiler.module import CellModule, State, compile_cell
from cellsearch.errors import BackendError, ConfigError, checked_arguments
from cellsearch.export.torch_head import Ends
from cellsearch.export.whole import WholeModel
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import check_plain
from cellsearch.genome.parts import check_inputs

__all__ = ["DESCRIPTION", "check_program", "to_torch_export"]

DESCRIPTION = "cellsearch.json"
"""The extra file in the archive that says what it is:
``torch.export.load(path, extra_files={"cellsearch.json": ""})``."""
TOLERANCE = 1e-5
"""Greatest difference to the compiled layer, in units of 1 + the size of the number."""
LENGTHS = (1, 4, 12)
BATCHES = (1, 3)


@checked_arguments
def to_torch_export(
    genome: Genome,
    weights: Mapping[str, Tensor],
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    step: bool = False,
    whole: WholeModel | None = None,
    doc: str = "",
) -> bytes:
    """A trained layer as an archive that ``torch.export.load`` reads, checked before it is
    returned: at three lengths and two batch sizes, from drawn states, against the compiled layer.

    weights: the state dict of the compiled layer.
    step: one step instead of whole sequences.
    whole: the trained model that the layer belongs to; its embedding or scaling and its readout go
        along then (:mod:`cellsearch.export.torch_head`): raw values go in and answers come out.
    doc: where the cell comes from, in a sentence.

    ``program.module()(x, states)`` takes and gives what the layer does: ``x [T, B, I]`` and the
    states ``[num_layers * directions, B, H]``, one tensor for one state and a tuple for more;
    ``(output [T, B, H * directions], states)``. A step takes ``x [B, I]`` and gives ``output [B,
    H]``. The values that states start with stand in :data:`DESCRIPTION`, beside the equations.

    Raises :class:`ConfigError` for a step of both directions, or of a model that has none, and for
    nodes that are called as parts of a torch module are;
    :class:`BackendError` where this torch cannot export the program, or computes something else.
    """
    check_inputs(genome.inputs, "an archive of torch.export")
    check_plain(genome, "an archive of torch.export")
    if step and bidirectional:
        raise ConfigError(
            "a step of both directions is not possible: the other one needs the whole sequence",
            hint="export whole sequences, or search with bidirectional = false",
        )
    owners = {spec.name.partition(".")[0] for spec in genome.parameters}
    taken = sorted(owner for owner in owners if hasattr(nn.Module(), owner))
    if taken:
        raise ConfigError(
            f"torch.export cannot write a cell whose nodes are called {', '.join(taken)}, as parts "
            "of a module are",
            hint="give these nodes other names, or export it to source",
        )
    cell = compile_cell(
        genome,
        input_size=input_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        backend="reference",
        dtype=next((tensor.dtype for tensor in weights.values()), None),
    )
    cell.load_state_dict(dict(weights))
    head = None if whole is None else Ends(whole, step=step)
    program = (_Program(cell, step=step) if head is None else _Model(cell, head, step=step)).eval()
    with warnings.catch_warnings():
        # what torch says of its own code
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        data = _exported(program, _described(genome, whole, step=step, doc=doc))
        check_program(data, program)
    return data


class _Program(nn.Module):
    """The layer, its loop over time an operator; the weights under the names of ``compile_cell``.

    Shapes as :func:`to_torch_export` says.
    """

    def __init__(self, cell: CellModule, *, step: bool) -> None:
        super().__init__()
        self.reference = [cell]  # in a list, so that its weights are not registered twice
        self.step, self.directions = step, cell.directions
        dtype = next((weight.dtype for weight in cell.parameters()), None)
        self.instructions = [
            made._replace(value=torch.tensor(made.value, dtype=dtype).item())  # or infinity
            for made in cell.program.instructions
        ]
        self.ends = (*cell.program.next_states, cell.program.output)
        for name, layer in cell.layers():
            self._modules[name] = layer
        self.rows = [layer for _, layer in cell.layers()]

    @property
    def cell(self) -> CellModule:
        """The compiled layer that has these weights."""
        return self.reference[0]

    @property
    def streams(self) -> bool:
        """Whether states go in and come out."""
        return True

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over x from the states."""
        states = (state,) if isinstance(state, Tensor) else state
        x = x.unsqueeze(0) if self.step else x
        outputs: list[Tensor] = []
        finals: list[list[Tensor]] = []
        for row, layer in enumerate(self.rows):
            backwards = row % self.directions == 1
            start = [part[row].clone() for part in states]
            *final, output = self._scan(layer.weights(), x, start, backwards=backwards)
            outputs.append(output)
            finals.append(final)
            if len(outputs) == self.directions:
                x, outputs = torch.cat(outputs, -1), []
        last = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
        return (x[0] if self.step else x), last if len(last) > 1 else last[0]

    def _scan(
        self, weights: Mapping[str, Tensor], x: Tensor, start: list[Tensor], *, backwards: bool
    ) -> list[Tensor]:
        """One layer in one direction: final states, then the output ``[T, B, H]``."""
        count = len(start)

        def one(*given: Tensor) -> list[Tensor]:
            named = dict(zip(weights, given[count + 1 :], strict=True))
            return self._one(given[count], given[:count], named)

        if self.step:
            *final, output = one(*start, x[0], *weights.values())
            return [*final, output.unsqueeze(0)]
        x = x.flip(0) if backwards else x
        # the operator that the file names; the function scan around it calls torch.compile
        *final, output = torch.ops.higher_order.scan(one, start, [x], tuple(weights.values()))
        return [*final, output.flip(0) if backwards else output]

    def _one(
        self, x: Tensor, states: Sequence[Tensor], weights: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """One step, as the reference backend computes it: next states, then the output. Copies,
        because an operator of control flow gives no tensor twice.
        """
        like = states[0]
        values = [x, *states]
        for instruction in self.instructions:
            if instruction.op == "const":  # a tensor made of a number would be a hidden input
                values.append(like.new_full((1,), instruction.value))
            else:
                operands = [values[v] for v in instruction.inputs]
                values.append(evaluate(instruction, operands, weights, like))
        return [
            values[end].expand(like.shape).clone(memory_format=torch.contiguous_format)
            for end in self.ends
        ]

    def example(self, length: int, batch: int) -> tuple[Any, ...]:
        """Drawn arguments."""
        cell = self.cell
        weight = next(self.parameters(), torch.empty(0))
        shape = (batch,) if self.step else (length, batch)
        x = torch.randn(*shape, cell.input_size, dtype=weight.dtype)
        return x, self.drawn_states(batch, weight.dtype)

    def drawn_states(self, batch: int, dtype: torch.dtype) -> State:
        """States from 0 to 1: no cell is at its poles there."""
        shape = (len(self.rows), batch, self.cell.hidden_size)
        drawn = tuple(torch.rand(shape, dtype=dtype) for _ in self.cell.genome.states)
        return drawn if len(drawn) > 1 else drawn[0]

    def expected(self, x: Tensor, state: State | None = None) -> tuple[Any, ...]:
        """What the compiled layer gives for the same arguments."""
        output, last = self.cell(x.unsqueeze(0) if self.step else x, state)
        return (output[0] if self.step else output), last


class _Model(_Program):
    """The layer with what stands before and after it."""

    def __init__(self, cell: CellModule, head: Ends, *, step: bool) -> None:
        super().__init__(cell, step=step)
        self.head = head

    @property
    def streams(self) -> bool:
        """Whether states go in and come out."""
        return self.head.streams

    def forward(self, x: Tensor, state: State | None = None) -> Any:
        """Answers for raw inputs."""
        encoded, last = self.head.read(x)
        if state is None:
            shape = (len(self.rows), encoded.shape[1], self.cell.hidden_size)
            start = tuple(encoded.new_full(shape, s.initial) for s in self.cell.genome.states)
            state = start if len(start) > 1 else start[0]
        output, state = super().forward(encoded, state)
        answer = self.head.answer(output, last)
        return (answer, state) if self.streams else answer

    def example(self, length: int, batch: int) -> tuple[Any, ...]:
        """Drawn arguments."""
        raw = self.head.example((batch,) if self.step else (length, batch))
        dtype = self.head.readout.weight.dtype
        return (raw, self.drawn_states(batch, dtype)) if self.streams else (raw,)

    def expected(self, x: Tensor, state: State | None = None) -> Any:
        """The same with the compiled layer between."""
        encoded, last = self.head.read(x)
        output, state = super().expected(encoded, state)
        answer = self.head.answer(output, last)
        return (answer, state) if self.streams else answer


def _exported(program: _Program, description: Mapping[str, Any]) -> bytes:
    """The archive. Raises :class:`BackendError` where torch refuses."""
    arguments = program.example(4, 3)
    time, batch = torch.export.Dim("T", min=1), torch.export.Dim("B", min=1)
    sizes: tuple[Any, ...] = ({0: batch} if program.step else {0: time, 1: batch},)
    if program.streams:
        state = arguments[1]
        one = {1: batch}
        sizes += (one if isinstance(state, Tensor) else tuple(one for _ in state),)
    buffer = io.BytesIO()
    try:
        program.expected(*arguments)  # makes the functions of the ops, which tracing may not
        exported = torch.export.export(program, arguments, dynamic_shapes=sizes)
        text = json.dumps(dict(description), indent=1)
        torch.export.save(exported, buffer, extra_files={DESCRIPTION: text})
    except Exception as error:  # torch's own, of many kinds
        raise BackendError(
            f"torch {torch.__version__} cannot export this cell: {type(error).__name__}: "
            f"{next(iter(str(error).splitlines()), '')[:200]}",
            hint="export it to source instead, or try a newer torch (tested: 2.12 and 2.13)",
        ) from error
    return buffer.getvalue()


def check_program(data: bytes, program: _Program) -> None:
    """Raise :class:`BackendError` unless the archive gives what the layer does, at three lengths
    and two batch sizes.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        run = torch.export.load(io.BytesIO(data)).module()
        for length in (1,) if program.step else LENGTHS:
            for batch in BATCHES:
                arguments = program.example(length, batch)
                compare(
                    run(*arguments),
                    program.expected(*arguments),
                    f"for {'' if program.step else f'T = {length}, '}B = {batch}",
                )


def compare(found: Any, expected: Any, where: str) -> None:
    """Raise :class:`BackendError` unless outputs and states are equal (within
    :data:`TOLERANCE`).
    """
    ours, theirs = (torch.utils._pytree.tree_leaves(tree) for tree in (found, expected))
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        what = f"{f'state {k}' if k else 'output'} {where}"
        if a.shape != b.shape or a.dtype != b.dtype:
            raise BackendError(
                f"{what}: {a.dtype} {list(a.shape)}, expected {b.dtype} {list(b.shape)}"
            )
        off = (a - b).abs()
        same = (off <= TOLERANCE * (1 + b.abs())) | (a == b) | (a.isnan() & b.isnan())
        if not bool(same.all()):
            worst = float(off.masked_fill(same, 0).max())
            raise BackendError(
                f"torch {torch.__version__} computes another {what}: {int((~same).sum())} of "
                f"{same.numel()} numbers differ, by up to {worst:.3g}",
                hint="nothing was written; please report the cell",
            )


def _described(genome: Genome, whole: WholeModel | None, *, step: bool, doc: str) -> dict[str, Any]:
    """What the archive says of itself."""
    described: dict[str, Any] = {
        "producer": f"cellsearch {__version__}",
        "what": f"{'one step of ' if step else ''}a {'layer' if whole is None else 'whole model'}",
        "equations": genome.to_text().splitlines(),
        "initial_states": {state.name: state.initial for state in genome.states},
        "doc": doc,
    }
    if whole is not None:
        described["interface"] = whole.interface.to_plain()
    return described
