"""The weights of a compiled cell as modules: layer and direction, then node, then weight
(``l0.i.weight_x``).

Containers are entered into ``_modules`` directly, because ``add_module`` refuses names that a
module has as attributes, and a node may be called ``half`` or ``training``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import ParameterSpec, Sizes

__all__ = ["Layer", "gate_start", "live_parameters", "rows_as_int8"]


class Layer(nn.Module):
    """The weights of one layer in one direction. Its children are called like the nodes that own
    weights.
    """

    def __init__(
        self,
        genome: Genome,
        sizes: Sizes,
        *,
        device: torch.device | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._names: list[tuple[str, str, str]] = []
        self._hidden_size = sizes["H"]
        self._gate_start = gate_start(genome)
        for spec in live_parameters(genome):
            owner, _, weight = spec.name.partition(".")
            if owner not in self._modules:
                self._modules[owner] = nn.Module()
            parameter = nn.Parameter(torch.empty(sizes.of(spec.shape), device=device, dtype=dtype))
            container = self._modules[owner]
            assert container is not None
            container.register_parameter(weight, parameter)
            self._names.append((spec.name, owner, weight))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """U(-1/sqrt(H), 1/sqrt(H)) as in torch.nn.LSTM; connection gates (``scale``) as
        :func:`gate_start` says.
        """
        bound = self._hidden_size**-0.5
        for name, weight in self.weights().items():
            if name.endswith(".scale"):
                nn.init.constant_(weight, self._gate_start[name])
            else:
                nn.init.uniform_(weight, -bound, bound)

    def weights(self) -> Mapping[str, Tensor]:
        """The weights by name (``i.weight_x``), parametrizations applied."""
        found = {}
        hooked: set[str] = set()
        containers = self._modules
        for name, owner, weight in self._names:
            container = containers[owner]
            fields = container.__dict__
            if weight in fields and owner not in hooked:
                # weight_norm, spectral_norm and prune of torch.nn.utils set it in a hook that torch
                # runs when a module is called, and this one never is.
                hooked.add(owner)
                for hook in fields["_forward_pre_hooks"].values():
                    hook(container, ())
            plain = fields["_parameters"].get(weight)
            found[name] = plain if plain is not None else getattr(container, weight)
        return found

    def train(self, mode: bool = True) -> Layer:
        """Set the mode; written out because a child may be called ``training``."""
        self.__dict__["training"] = mode
        for child in self.children():
            child.train(mode)
        return self


def gate_start(genome: Genome) -> Mapping[str, float]:
    """Where each connection gate starts: 1 / (terms of the sum that it feeds), so that a sum of
    gated terms starts as their mean.

    Gates of 1 would let the next states of a full cell, sums of dozens of terms, grow beyond all
    bounds within a few positions.
    """
    start = {}
    for spec in genome.parameters:
        if not spec.shape:
            readers = [genome.nodes[user - genome.first_node] for user in genome.uses[spec.node]]
            start[spec.name] = 1.0 / max(
                (len(node.inputs) for node in readers if node.op == "add"), default=1
            )
    return start


def live_parameters(genome: Genome) -> tuple[ParameterSpec, ...]:
    """The weights that are built: those of nodes that reach the output or a next state."""
    return tuple(spec for spec in genome.parameters if spec.node in genome.live)


def rows_as_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix ``[n, m]`` as the nearest integers from -127 to 127 and a scale ``[n]`` a row, such
    that ``integers * scale`` is the matrix up to half a scale: symmetric quantisation a channel
    (Krishnamoorthi 2018, arXiv 1806.08342, sections 2.2 and 3).
    """
    whole = weight.detach().float()
    tiny = torch.finfo(torch.float32).tiny  # no division by 0 in a row of zeros
    scale = (whole.abs().amax(1) / 127).clamp_min(tiny)
    return (whole / scale[:, None]).round().to(torch.int8), scale
