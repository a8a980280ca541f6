"""Hard-concrete connection gates: the L0 relaxation, by which training closes gates altogether
instead of making them small.

A gate z in [0, 1] is a stretched and clipped binary concrete variable (Louizos, Welling & Kingma
2018, arXiv 1712.01312, eq. 10-12)::

    u ~ U(0, 1)      s = sigmoid((log u - log(1 - u) + log_alpha) / beta)
    z = clip(s (zeta - gamma) + gamma, 0, 1)

and the expected number of open gates, which the penalty multiplies, is the sum of
``sigmoid(log_alpha - beta log(-gamma / zeta))``. A ``scale`` weight of the cell then has the value
``size * z``, where ``size`` and ``log_alpha`` are trained in its place. At validation, and at the
end, z is not drawn: ``clip(sigmoid(log_alpha) (zeta - gamma) + gamma, 0, 1)`` (eq. 13).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cellsearch.genome.graph import Genome
from cellsearch.training.connections import gate_weights

__all__ = ["BETA", "GAMMA", "PREFIX", "ZETA", "HardConcreteGates", "attach"]

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
"""Temperature and stretch of the paper's experiments (section 4)."""
PREFIX = "connection_gates"
"""The gates' name within a model; their weights in a checkpoint begin so."""
_OPEN = 2.0
"""``log_alpha`` at the start: open with probability 0.97, and at validation."""


class HardConcreteGates(nn.Module):
    """Trains the ``scale`` weights of a layer as ``size * z``.

    One parameter ``[2]`` (size, log_alpha) for each scale weight; the weights themselves hold the
    value of the moment. The order of a step: :meth:`sample`, the loss and its backward,
    :meth:`backward`. :meth:`settle` before anything is measured.
    """

    def __init__(self, genome: Genome, layer: nn.Module) -> None:
        super().__init__()
        wanted = {id(weight) for weight in gate_weights(genome, layer)}
        self._weights = [
            (name, weight) for name, weight in layer.named_parameters() if id(weight) in wanted
        ]
        for name, weight in self._weights:
            start = torch.stack([weight.detach(), torch.full_like(weight, _OPEN)])
            self.register_parameter(name.replace(".", "/"), nn.Parameter(start))
        self._value: Tensor | None = None

    def _trained(self) -> tuple[Tensor, Tensor]:
        """Size and log_alpha of all gates, each ``[G]``."""
        both = torch.stack(list(self.parameters()))
        return both[:, 0], both[:, 1]

    def __len__(self) -> int:
        return len(self._weights)

    @torch.no_grad()
    def _put(self, values: Tensor) -> None:
        for (_, weight), value in zip(self._weights, values, strict=True):
            weight.copy_(value)

    def sample(self, seed: int, step: int) -> None:
        """Draw the gates of a step; the same for the same seed and step, so that a training can be
        taken up again.
        """
        size, log_alpha = self._trained()
        random = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
        u = (
            torch.rand(len(self), generator=random, dtype=torch.float64)
            .clamp(1e-9, 1 - 1e-9)
            .to(size.dtype)
        )
        noise = torch.log(u) - torch.log1p(-u)
        self._value = size * _stretched(torch.sigmoid((noise + log_alpha) / BETA))
        self._put(self._value.detach())

    def backward(self, penalty: float) -> None:
        """Hand the gradients of the scale weights on to what is trained, with that of ``penalty``
        times the expected open gates.
        """
        if self._value is None:
            raise RuntimeError("sample() comes before backward()")
        _, log_alpha = self._trained()
        gradient = torch.stack(
            [
                torch.zeros_like(weight) if weight.grad is None else weight.grad
                for _, weight in self._weights
            ]
        )
        open_gates = torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA)).sum()
        total = (self._value * gradient).sum() + penalty * open_gates
        total.backward()  # type: ignore[no-untyped-call]
        self._value = None
        for _, weight in self._weights:
            weight.grad = None  # the optimizer must not see these gradients a second time

    @torch.no_grad()
    def settle(self) -> None:
        """Give the scale weights their values without chance."""
        size, log_alpha = self._trained()
        self._put(size * _stretched(torch.sigmoid(log_alpha)))

    @torch.no_grad()
    def adopt(self) -> None:
        """Choose the sizes such that the settled values are what the scale weights are now, as far
        as a gate is open.
        """
        for parameter, (_, weight) in zip(self.parameters(), self._weights, strict=True):
            gate = _stretched(torch.sigmoid(parameter[1]))
            if gate > 0:
                parameter[0] = weight / gate


def _stretched(s: Tensor) -> Tensor:
    return torch.clamp(s * (ZETA - GAMMA) + GAMMA, 0.0, 1.0)


def attach(model: nn.Module, genome: Genome, layer: nn.Module) -> HardConcreteGates | None:
    """Add the gates to a model, so that they are trained and stored with it; ``None`` for a cell
    without gates.
    """
    gates = HardConcreteGates(genome, layer)
    if not len(gates):
        return None
    model.add_module(PREFIX, gates)
    gates.to(next(model.parameters()).dtype)
    return gates
