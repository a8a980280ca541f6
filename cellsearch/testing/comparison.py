"""The comparison of a cell in two backends: equal weights and numbers, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.compiler.program import Precision
from cellsearch.genome.graph import Genome

__all__ = ["Case", "build", "compare", "differences", "gradient_of", "run_module", "size_of"]

_FLOOR = (
    1e-4  # gradients below this share of the largest one are compared with it, not with themselves
)
_TINY = 1e-30  # numbers that single precision rounds to zero


@dataclass(frozen=True)
class Case:
    """What to run: sizes, layers, and the lengths of the sequences (``None``: all alike)."""

    steps: int = 5
    batch: int = 3
    input_size: int = 7
    hidden_size: int = 7
    num_layers: int = 1
    bidirectional: bool = False
    lengths: tuple[int, ...] | None = None
    given_states: bool = True
    seed: int = 0
    resets: bool = False
    """Whether some steps begin with the initial states."""
    more_gradients: bool = True
    """Whether gradients with respect to times and masks are compared too."""
    precision: Precision = "float32"
    """Of the operands of products."""


def build(
    genome: Genome, case: Case, backend: str, dtype: torch.dtype, device: str = "cpu"
) -> CellModule:
    """A module with weights that depend on the seed of the case only."""
    module = compile_cell(
        genome,
        input_size=case.input_size,
        hidden_size=case.hidden_size,
        num_layers=case.num_layers,
        bidirectional=case.bidirectional,
        precision=case.precision,
        backend=backend,
        device=device,
        dtype=dtype,
    )
    generator = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for parameter in module.parameters():
            bound = case.hidden_size**-0.5 if parameter.dim() else 1.0
            drawn = (
                torch.rand(parameter.shape, generator=generator, dtype=torch.float64) * 2 - 1
            ) * bound
            parameter.copy_(drawn)
    return module


def run_module(
    module: CellModule, case: Case, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Run forwards and backwards; everything that can be compared, by name, as float64 on the CPU.

    ``dtype``: of the input of a cell without weights; other modules are given the dtype of their
    weights.
    """
    weight = next(module.parameters(), torch.empty(0, dtype=dtype))
    generator = torch.Generator().manual_seed(case.seed + 1)

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        return drawn.to(weight.device, weight.dtype).requires_grad_()

    directions = 2 if case.bidirectional else 1
    x = draw(case.steps, case.batch, case.input_size)
    states = [draw(case.num_layers * directions, case.batch, size) for size in module.state_sizes]
    given: Tensor | PackedSequence = (
        x
        if case.lengths is None
        else pack_padded_sequence(x, torch.tensor(case.lengths), enforce_sorted=False)
    )
    hx = None if not case.given_states else states[0] if len(states) == 1 else tuple(states)
    beside = _beside(module.genome, case, x, draw)
    packed = {
        name: value
        if case.lengths is None
        else pack_padded_sequence(value, torch.tensor(case.lengths), enforce_sorted=False)
        for name, value in beside.items()
    }
    module.zero_grad()
    output, final = module(given, hx, **packed)
    output = output.data if isinstance(output, PackedSequence) else output
    finals = (final,) if isinstance(final, Tensor) else final
    loss = _loss(output, finals, generator)
    if loss.requires_grad:  # nothing to differentiate where a cell puts out numbers only
        loss.backward()  # type: ignore[no-untyped-call]
    found = {
        "output": output,
        **{f"state {k}": state for k, state in enumerate(finals)},
        "gradient of x": gradient_of(x),
    }
    found.update(
        {
            f"gradient of {name}": gradient_of(value)
            for name, value in beside.items()
            if value.requires_grad
        }
    )
    found.update(
        {f"gradient of initial state {k}": gradient_of(state) for k, state in enumerate(states)}
    )
    found.update(
        {
            f"gradient of {name}": gradient_of(parameter)
            for name, parameter in module.named_parameters()
        }
    )
    return {name: value.detach().to("cpu", torch.float64) for name, value in found.items()}


def _beside(
    genome: Genome, case: Case, x: Tensor, draw: Callable[..., Tensor]
) -> dict[str, Tensor]:
    """What the cell reads beside x, and where states start afresh."""
    found = {}
    if "dt" in genome.inputs:
        found["dt"] = draw(*x.shape[:2]).detach().abs().requires_grad_(case.more_gradients)
    if "mask" in genome.inputs:
        found["mask"] = (draw(*x.shape).detach() > 0).to(x.dtype)
        found["mask"].requires_grad_(case.more_gradients)
    if case.resets:
        found["reset"] = draw(*x.shape[:2]).detach() > 0.5
    return found


def _loss(output: Tensor, finals: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """A number in which every output and final state has a weight of its own, so that no two can be
    swapped unseen.
    """
    total = output.new_zeros(())
    for value in (output, *finals):
        weights = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(
            value.device, value.dtype
        )
        total = total + (value * weights).sum()
    return total


def gradient_of(value: Tensor) -> Tensor:
    """Its gradient, zeros where nothing has arrived."""
    return torch.zeros_like(value) if value.grad is None else value.grad


def differences(
    got: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float
) -> list[str]:
    """What differs, in words; empty if nothing does.

    The error of a value is the largest absolute difference divided by the largest absolute number
    expected there, for gradients at least 1e-4 of the largest gradient of all. NaN and infinity
    must stand in the same places.
    """
    found = [f"{name} is missing" for name in expected if name not in got] + [
        f"{name} is not expected" for name in got if name not in expected
    ]
    sizes = [size_of(value) for name, value in expected.items() if name.startswith("gradient")]
    floor = _FLOOR * max(sizes, default=0.0)
    for name in expected:
        if name not in got:
            continue
        a, b = got[name], expected[name]
        if a.shape != b.shape:
            found.append(f"{name} has shape {list(a.shape)}, not {list(b.shape)}")
            continue
        if (
            not torch.equal(a.isnan(), b.isnan())
            or not torch.equal(a[a.isinf()], b[b.isinf()])
            or not torch.equal(a.isinf(), b.isinf())
        ):
            found.append(f"{name} has NaN or infinity where it should not, or lacks them")
            continue
        scale = max(size_of(b), floor if name.startswith("gradient") else 0.0)
        error = size_of(a - b)
        if error > tolerance * scale + _TINY:
            found.append(
                f"{name} differs by {error:.3g} at size {scale:.3g}, allowed {tolerance:g} of it"
            )
    return found


def compare(
    got: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, what: str = ""
) -> None:
    """Raise :class:`AssertionError` that lists every difference, see :func:`differences`."""
    found = differences(got, expected, tolerance)
    if found:
        raise AssertionError(
            "\n  ".join([f"{what}: {len(found)} of {len(expected)} values differ", *found])
        )


def size_of(value: Tensor) -> float:
    """Largest absolute finite number."""
    finite = value[value.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
