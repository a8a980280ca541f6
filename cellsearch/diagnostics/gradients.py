"""How gradients travel back through time: their norm over the distance, the memory length, and the
Jacobian of one step.

The state s_t of a cell is all that it carries from position t to the next: h_t, c_t, ... of every
layer, side by side (S numbers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellsearch.compiler.module import CellModule, State
from cellsearch.errors import ConfigError, checked_arguments

__all__ = ["Spectrum", "gradient_norms", "memory_length", "spectrum", "step_jacobians"]


_AT_ONCE = 32
"""Vector-Jacobian products that are computed together: more need more memory."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The Jacobian of one step, averaged over typical states: singular values and moduli of
    eigenvalues, largest first.

    ``radius``: mean of the largest modulus of an eigenvalue. Above 1 a gradient may grow without
    bound, below 1 it dies out.
    """

    singular_values: tuple[float, ...]
    moduli: tuple[float, ...]

    @property
    def radius(self) -> float:
        """The spectral radius, averaged over states."""
        return self.moduli[0]


@checked_arguments
def gradient_norms(cell: CellModule, x: Tensor, *, probes: int = 0, seed: int = 0) -> Tensor:
    """Norm of d h_T / d s_t for every distance T - t: ``[T - 1, B]``, distance 1 first. ``x [T, B,
    I]``, from the initial state.

    h_T is the output of the top layer at the last position. The norm is ``||J||_F / sqrt(H)``, J
    being the H x S Jacobian: the root mean square of the norms of the gradients that arrive from
    each of the H outputs, so h_t = a h_{t-1} + x gives a**k. ``probes = 0``: exact, by H
    vector-Jacobian products; else Hutchinson's estimate (Hutchinson 1989) from so many random
    vectors of +1 and -1, whose error falls as 1 / sqrt(probes). Source: Bengio et al. 1994;
    Pascanu, Mikolov & Bengio 2013, eq. 5, where J is the product of the Jacobians of the steps
    between. Raises :class:`ConfigError` for fewer than 2 positions.
    """
    if len(x) < 2:
        raise ConfigError(
            f"a gradient over time needs 2 positions, not {len(x)}", hint="use longer sequences"
        )
    inputs: list[Tensor] = []
    output, state = cell.step(x[0])
    for x_t in x[1:]:
        # Each state is a tensor of its own in the graph, so its gradient is the one with respect to
        # s_t, all parts independent.
        parts = [
            part if part.requires_grad else part.detach().requires_grad_() for part in _parts(state)
        ]
        inputs += parts
        output, state = cell.step(x_t, _packed(parts))
    width, batch = output.shape[1], output.shape[0]
    generator = torch.Generator().manual_seed(seed)
    squares = x.new_zeros(len(x) - 1, batch)
    count = probes or width
    for first in range(0, count, _AT_ONCE):
        chosen = range(first, min(first + _AT_ONCE, count))
        if probes:
            vectors = (
                torch.randint(0, 2, (len(chosen), *output.shape), generator=generator).to(x) * 2 - 1
            )
        else:
            # Examples do not touch one another, so one product serves them all.
            vectors = (
                torch.eye(width, dtype=x.dtype)[list(chosen)].unsqueeze(1).expand(-1, batch, -1)
            )
        gradients = torch.autograd.grad(
            output,
            inputs,
            vectors,
            retain_graph=True,
            is_grads_batched=True,
            materialize_grads=True,
        )
        # Each gradient is [vectors, L, B, H]; the parts of one state stand together.
        squares += (
            torch.stack([part.square().sum((0, 1, 3)) for part in gradients])
            .view(len(x) - 1, -1, batch)
            .sum(1)
        )
    return (squares / (width * (probes or 1))).sqrt().flip(0)


def memory_length(norms: Sequence[float]) -> float | None:
    """Effective memory length, in positions: how much farther than distance 1 the gradient reaches
    before it has fallen to 1/e.

    ``norms``: mean norms at the distances 1, 2, ... The length is the last distance at which the
    norm is 1/e of that at distance 1 (log-linear between two distances), minus 1; ``None`` if it
    has not fallen so far at the end. A norm C exp(-k / tau) gives tau, whatever C is: C depends on
    how the output reads the state, tau on what the cell keeps.
    """
    threshold = norms[0] / math.e
    if norms[-1] >= threshold:
        return None
    last = max(k for k, norm in enumerate(norms) if norm >= threshold)
    above, below = norms[last], norms[last + 1]
    # Where the norm vanishes altogether there is no line to follow in the logarithm.
    share = math.log(above / threshold) / math.log(above / below) if below > 0 else 0.0
    return last + share


def step_jacobians(cell: CellModule, x: Tensor, state: State) -> Tensor:
    """D s_{t+1} / d s_t of each example, ``[B, S, S]`` (row: new state), exact, by S
    vector-Jacobian products.

    ``x [B, I]``, ``state`` as :meth:`CellModule.step` takes it. S = states * layers * H, in this
    order.
    """
    given = [part.detach().requires_grad_() for part in _parts(state)]
    _, new = cell.step(x, _packed(given))
    flat = _flat(_parts(new))
    batch, size = flat.shape
    if not flat.requires_grad:  # nothing of the new state depends on the old one
        return x.new_zeros(batch, size, size)
    rows = []
    for chosen in torch.split(torch.eye(size, dtype=x.dtype), _AT_ONCE):
        vectors = chosen.unsqueeze(1).expand(-1, batch, -1)
        gradients = torch.autograd.grad(
            flat, given, vectors, retain_graph=True, is_grads_batched=True, materialize_grads=True
        )
        rows.append(torch.cat([part.transpose(1, 2).flatten(2) for part in gradients], 2))
    return torch.cat(rows).transpose(0, 1)


@checked_arguments
def spectrum(cell: CellModule, x: Tensor, *, positions: int = 8, examples: int = 4) -> Spectrum:
    """Spectrum of the Jacobian of one step, averaged over states that the cell visits on ``x [T, B,
    I]``.

    The states are those before ``positions`` positions spread over the last three quarters of the
    sequence, of the first ``examples`` examples. Source: Pascanu, Mikolov & Bengio 2013, section
    2.1: gradients explode only if the largest singular value exceeds 1, and vanish for certain if
    it stays below 1.
    """
    x = x[:, :examples]
    chosen = set(torch.linspace(len(x) // 4, len(x) - 1, positions).long().tolist())
    jacobians = []
    state: State | None = None
    for t, x_t in enumerate(x):
        if t in chosen and state is not None:
            jacobians.append(step_jacobians(cell, x_t, state))
        with torch.no_grad():
            _, state = cell.step(x_t, state)
    if not jacobians:
        raise ConfigError(
            f"a spectrum needs 2 positions, not {len(x)}", hint="use longer sequences"
        )
    found = torch.cat(jacobians)
    singular = torch.linalg.svdvals(found).mean(0)
    moduli = torch.linalg.eigvals(found).abs().sort(descending=True).values.mean(0)
    return Spectrum(tuple(singular.tolist()), tuple(moduli.tolist()))


def _parts(state: State) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else list(state)


def _packed(parts: Sequence[Tensor]) -> State:
    return parts[0] if len(parts) == 1 else tuple(parts)


def _flat(parts: Sequence[Tensor]) -> Tensor:
    """States ``[L, B, H]`` side by side: ``[B, S]``."""
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
