"""Checks of an untrained cell before it costs any training: does it explode, does it forget at
once, does it react to its input?

The cell is built small (I = H = 32, or the next H that its sizes allow; double precision) with
weights as training starts from, and reads random input. One pass takes 10 to 30 ms on one core, the
check of growth one pass more. What is measured is a property of the cell, not of the task:

* ``gradient``: the norm of d sum(y_T) / d s_0 over all examples, y_T being the output after T
  positions, s_0 the states at the start (Bengio et al. 1994; Pascanu, Mikolov & Bengio 2013). Too
  large a norm explodes. A small one after 100 positions proves nothing: that of an LSTM is 1e-20
  with fresh weights, that of an IndRNN with relu exactly 0. So the lower bound is off by default;
  instead the gradient over 4 positions must not vanish altogether, as that of a cell without any
  memory does.
* ``growth``: the largest number among states and outputs with weights ``growth_scale`` times as
  large. Cells that are linear in their states grow exponentially then (a relu RNN reaches 1e30 in
  100 positions) and can still be trained; cells that multiply states with one another grow faster
  than any exponential, leave the range of numbers, and diverge in training.
* ``output``: the standard deviation of each unit of the output over examples with different inputs;
  the largest counts.

Zero-cost measures of this kind tell junk from the rest and nothing more (Abdelfattah et al. 2021;
White et al. 2021): so they reject, they do not rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.errors import TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import own_sizes, size_step
from cellsearch.job import MEMORY, Job, Prefilter

__all__ = ["Verdict", "check_cell", "check_job"]

SIZE = 32
BATCH = 4
VANISHED = 1e-30
"""A gradient below this over :data:`MEMORY` positions counts as 0."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks say of a cell."""

    reason: str
    """Why it is rejected, with the figure that was measured; ``""``: it passes."""
    figures: dict[str, float]
    """All that were measured, by the name of the check."""


def check_cell(
    genome: Genome,
    wanted: Prefilter,
    seed: int = 0,
    sizes: Mapping[str, int | str] | None = None,
) -> Verdict:
    """Measure what is wanted on a cell with weights and input drawn from ``seed``; stops at the
    first check that fails.

    sizes: of the names that the cell has.

    Leaves torch's random generator as it was.
    """
    step = size_step(genome, sizes)
    size = -(-SIZE // step) * step
    figures: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cell = compile_cell(
            genome,
            input_size=size,
            hidden_size=size,
            dtype=torch.float64,
            sizes=own_sizes(genome, sizes),
        )
        x = torch.randn(wanted.positions, BATCH, size, dtype=torch.float64)
    if wanted.growth:
        figures["growth"] = _growth(cell, x, wanted.growth_scale)
        if not figures["growth"] <= wanted.growth_max:
            larger = f"with weights {wanted.growth_scale:g} times as large "
            return Verdict(
                f"growth: {larger}a number reaches {figures['growth']:.3g} in {len(x)} positions",
                figures,
            )
    if wanted.output:
        figures["output"] = _spread(cell, x)
        if not figures["output"] > wanted.output_min:
            return Verdict(
                f"output: its deviation over different inputs is {figures['output']:.3g}", figures
            )
    if wanted.gradient:
        figures["gradient"] = _gradient(cell, x)
        if not wanted.gradient_min <= figures["gradient"] <= wanted.gradient_max:
            return Verdict(
                f"gradient: its norm over {len(x)} positions is {figures['gradient']:.3g}", figures
            )
        figures["memory"] = _gradient(cell, x[:MEMORY])
        if not figures["memory"] > VANISHED:
            return Verdict(
                f"gradient: its norm over {MEMORY} positions is "
                f"{figures['memory']:.3g}, so nothing is remembered",
                figures,
            )
    return Verdict("", figures)


def check_job(job: Job, genome: Genome) -> None:
    """Raise :class:`TrainingError` of kind ``"prefilter"`` if the job's ``genome`` fails a check; a
    training that is resumed has passed them.
    """
    if job.prefilter.any and not job.resume:
        verdict = check_cell(genome, job.prefilter, sizes=job.training.sizes)
        if verdict.reason:
            raise TrainingError(f"rejected before training; {verdict.reason}", kind="prefilter")


def _growth(cell: CellModule, x: Tensor, scale: float) -> float:
    """The largest number among the outputs of all positions and the last states; infinity when one
    is not finite.

    The weights are scaled and set back.
    """
    before = [weight.detach().clone() for weight in cell.parameters()]
    with torch.no_grad():
        for weight in cell.parameters():
            weight.mul_(scale)
        output, states = cell(x)
        for weight, value in zip(cell.parameters(), before, strict=True):
            weight.copy_(value)
    largest = max(float(part.abs().max()) for part in [output, *_parts(states)])
    return largest if math.isfinite(largest) else math.inf


def _spread(cell: CellModule, x: Tensor) -> float:
    """The largest standard deviation of a unit over the examples, at the last position or the one
    in the middle.
    """
    with torch.no_grad():
        output, _ = cell(x)
    deviation = output[[len(x) // 2, -1]].std(1).max()
    return float(deviation)


def _gradient(cell: CellModule, x: Tensor) -> float:
    """The norm of d sum(y_T) / d s_0, 0 where the output does not depend on the states."""
    start = [
        torch.full((1, BATCH, size), state.initial, dtype=x.dtype, requires_grad=True)
        for state, size in zip(cell.genome.states, cell.state_sizes, strict=True)
    ]
    output, _ = cell(x, start[0] if len(start) == 1 else tuple(start))
    gradients = torch.autograd.grad(output[-1].sum(), start, allow_unused=True)
    return math.sqrt(sum(float(part.square().sum()) for part in gradients if part is not None))


def _parts(states: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (states,) if isinstance(states, Tensor) else states
