"""A compiled layer and the plain evaluation of its cell, with the same weights and inputs."""

from __future__ import annotations

import numpy as np
import torch

from cellsearch import Genome, compile_cell
from support.evaluate_plain import Array, evaluate_plain, random_weights

__all__ = ["reference_and_plain"]


def reference_and_plain(genome: Genome, input_size: int, hidden_size: int) -> tuple[Array, Array]:
    """The outputs ``[6, 3, size]`` of the reference backend in float64 and of
    :func:`evaluate_plain`.
    """
    rng = np.random.default_rng(0)
    weights = random_weights(genome, rng, input_size, hidden_size)
    x = rng.normal(size=(6, 3, input_size))
    sizes = {"input_size": input_size, "hidden_size": hidden_size}
    layer = compile_cell(genome, **sizes, backend="reference", dtype=torch.float64)
    layer.load_state_dict({f"l0.{name}": torch.from_numpy(w) for name, w in weights.items()})
    states = {
        state.name: np.full((3, width), state.initial)
        for state, width in zip(genome.states, layer.state_sizes, strict=True)
    }
    expected, _ = evaluate_plain(genome, weights, x, states)
    return layer(torch.from_numpy(x))[0].detach().numpy(), expected
