"""A layer, one step of it, or a whole trained model as a program of ``torch.export``: a ``.pt2``
file that torch runs without Python source.

The loop over time is the operator ``scan`` of torch, so the program takes any T and any B from 1
on. What is computed is what the reference backend computes, instruction by instruction.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cellsearch import __version__
from cellsearch.compiler.module import compile_cell
from cellsearch.errors import BackendError, ConfigError, checked_arguments
from cellsearch.export.torch_head import Ends
from cellsearch.export.torch_program import LayerProgram, ModelProgram
from cellsearch.export.whole import WholeModel
from cellsearch.genome.graph import Genome

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
    sizes: Mapping[str, int | str] | None = None,
    resets: bool = False,
) -> bytes:
    """A trained layer as an archive that ``torch.export.load`` reads, checked before it is
    returned: at three lengths and two batch sizes, from drawn states, against the compiled layer.

    weights: the state dict of the compiled layer.
    step: one step instead of whole sequences.
    whole: the trained model that the layer belongs to; its embedding or scaling and its readout go
        along then (:mod:`cellsearch.export.torch_head`): raw values go in and answers come out.
    doc: where the cell comes from, in a sentence.
    sizes: what the names of sizes of the cell stand for.
    resets: whether it takes ``reset [T, B]`` (bool): where it is true, states start afresh before
        the step.

    ``program.module()(x, states)`` takes and gives what the layer does: ``x [T, B, I]`` and the
    states ``[num_layers * directions, B, H]``, one tensor for one state and a tuple for more;
    ``(output [T, B, H * directions], states)``. A step takes ``x [B, I]`` and gives ``output [B,
    H]``. A cell that reads ``dt[t]`` or ``mask[t]`` is given ``dt=`` and ``mask=`` as the layer
    is, always. The values that states start with stand in :data:`DESCRIPTION`, beside the
    equations.

    Raises :class:`ConfigError` for a step of both directions, or of a model that has none, and for
    nodes that are called as parts of a torch module are;
    :class:`BackendError` where this torch cannot export the program, or computes something else.
    """
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
        sizes=sizes,
        backend="reference",
        dtype=next((tensor.dtype for tensor in weights.values()), None),
    )
    cell.load_state_dict(dict(weights))
    head = None if whole is None else Ends(whole, step=step)
    made = LayerProgram(cell, step=step) if head is None else ModelProgram(cell, head, step=step)
    program = made.with_resets().eval() if resets else made.eval()
    with warnings.catch_warnings():
        # what torch says of its own code
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        data = _exported(program, _described(genome, whole, step=step, doc=doc))
        check_program(data, program)
    return data


def _exported(program: LayerProgram, description: Mapping[str, Any]) -> bytes:
    """The archive. Raises :class:`BackendError` where torch refuses."""
    arguments = program.example(4, 3)
    time, batch = torch.export.Dim("T", min=1), torch.export.Dim("B", min=1)
    step: dict[int, Any] = {0: batch} if program.step else {0: time, 1: batch}
    sizes: dict[str, Any] = dict.fromkeys(arguments, step)
    if program.streams:
        state, one = arguments["state"], {1: batch}
        sizes["state"] = one if isinstance(state, Tensor) else tuple(one for _ in state)
    # states by their place, times and masks by their names, as the layer is called
    named = {name: arguments.pop(name) for name in program.beside}
    buffer = io.BytesIO()
    try:
        program.expected(**arguments, **named)  # makes functions of ops, which tracing may not
        exported = torch.export.export(
            program, tuple(arguments.values()), named, dynamic_shapes=sizes
        )
        text = json.dumps(dict(description), indent=1)
        torch.export.save(exported, buffer, extra_files={DESCRIPTION: text})
    except Exception as error:  # torch's own, of many kinds
        raise BackendError(
            f"torch {torch.__version__} cannot export this cell: {type(error).__name__}: "
            f"{next(iter(str(error).splitlines()), '')[:200]}",
            hint="export it to source instead, or try a newer torch (tested: 2.12 and 2.13)",
        ) from error
    return buffer.getvalue()


def check_program(data: bytes, program: LayerProgram) -> None:
    """Raise :class:`BackendError` unless the archive gives what the layer does, at three lengths
    and two batch sizes.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        run = torch.export.load(io.BytesIO(data)).module()
        for length in (1,) if program.step else LENGTHS:
            for batch in BATCHES:
                drawn = program.example(length, batch)
                named = {name: drawn.pop(name) for name in program.beside}
                compare(
                    run(*drawn.values(), **named),
                    program.expected(**drawn, **named),
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
