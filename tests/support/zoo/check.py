"""Numerical check of the zoo: the compiled cell against its printed equations and against
independent implementations.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cellsearch import zoo
from cellsearch.compiler.module import compile_cell
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import Sizes, fits_any_size, state_widths
from support.zoo.equations import Array, Equations, States, Weights, run
from support.zoo.equations_searched import EQUATIONS
from support.zoo.peers import PEERS, Peer, run_peer

__all__ = [
    "Deviation",
    "against_equations",
    "against_peer",
    "check",
    "deviation",
    "fixed_case",
    "golden_values",
    "run_compiled",
]

STEPS, BATCH = 7, 3


def size_of(genome: Genome) -> int:
    """I and H of the comparison: an odd size, or one of many parts where some must divide it."""
    most = max(node.parts for node in genome.nodes)
    return 5 if fits_any_size(genome) else max(8, 2 * most)


def state_shapes(genome: Genome) -> dict[str, tuple[int, int]]:
    """The shape of each state."""
    sizes = Sizes(size_of(genome), size_of(genome))
    widths = state_widths(genome)
    return {n: (BATCH, sizes[w]) for n, w in zip(genome.state_names, widths, strict=True)}


@dataclass(frozen=True, slots=True)
class Deviation:
    """Largest deviations of a zoo cell; ``peer`` is the independent implementation,
    ``against_peer`` ``None`` if there is none here.
    """

    name: str
    against_equations: float
    peer: str
    against_peer: float | None


def check(name: str) -> Deviation:
    """Compare a zoo cell with its equations and, where one can be imported, with an independent
    implementation.
    """
    peer = PEERS.get(name)
    installed = (
        peer is not None and importlib.util.find_spec(peer.module.partition(".")[0]) is not None
    )
    value = against_peer(name, peer) if peer is not None and installed else None
    return Deviation(
        name, against_equations(name, EQUATIONS[name]), peer.label if peer else "", value
    )


def against_equations(name: str, equations: Equations) -> float:
    """Largest deviation of outputs and final states from the equations, from the initial state and
    from a given one.

    Raises :class:`AssertionError` if the equations do not read every weight of the cell.
    """
    genome = zoo.load(name)
    weights, x, given = fixed_case(genome)
    worst = 0.0
    for states in (None, given):
        plain = Weights(weights)
        shapes = state_shapes(genome)
        start = states or {s.name: np.full(shapes[s.name], s.initial) for s in genome.states}
        expected = run(equations, plain, x, start, beside_case(genome, len(x)))
        if plain.unread:
            raise AssertionError(f"the equations of {name} do not read {sorted(plain.unread)}")
        worst = max(worst, deviation(run_compiled(genome, weights, x, states), expected))
    return worst


def against_peer(name: str, peer: Peer) -> float:
    """Largest deviation of outputs and final states from another implementation, from a given
    state.
    """
    genome = zoo.load(name)
    weights, x, given = fixed_case(genome)
    for diagonal in peer.diagonal:
        weights[diagonal] = np.diag(np.diag(weights[diagonal]))
    beside = beside_case(genome, len(x))
    return deviation(
        run_compiled(genome, weights, x, given), run_peer(peer, weights, x, given, beside)
    )


def deviation(found: tuple[Array, States], expected: tuple[Array, States]) -> float:
    """Largest ``|a - b| / (1 + |b|)`` over outputs and states; infinite where a value is not finite
    or a state is missing.
    """
    if set(found[1]) != set(expected[1]):
        return float("inf")
    pairs = [
        (found[0], expected[0]),
        *((found[1][name], expected[1][name]) for name in expected[1]),
    ]
    worst = 0.0
    for a, b in pairs:
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        worst = max(worst, float(np.max(np.abs(a - b) / (1.0 + np.abs(b)))))
    return worst


def run_compiled(
    genome: Genome, weights: Mapping[str, Array], x: Array, states: Mapping[str, Array] | None
) -> tuple[Array, States]:
    """The compiled cell, reference backend, float64, over ``x [T, B, I]``; ``states`` default to
    the initial ones.
    """
    module = compile_cell(
        genome,
        input_size=x.shape[-1],
        hidden_size=size_of(genome),
        backend="reference",
        dtype=torch.float64,
    )
    module.load_state_dict(
        {f"l0.{name}": torch.from_numpy(value) for name, value in weights.items()}
    )
    hx = (
        None
        if states is None
        else tuple(torch.from_numpy(states[name]).unsqueeze(0) for name in genome.state_names)
    )
    with torch.no_grad():
        output, final = module(
            torch.from_numpy(x),
            hx if hx is None or len(hx) > 1 else hx[0],
            **{n: torch.from_numpy(v) for n, v in beside_case(genome, len(x)).items()},
        )
    finals = final if isinstance(final, tuple) else (final,)
    return output.numpy(), {
        name: s.squeeze(0).numpy() for name, s in zip(genome.state_names, finals, strict=True)
    }


def fixed_case(genome: Genome) -> tuple[dict[str, Array], Array, States]:
    """Weights, inputs and states that are the same everywhere, by formula instead of from a random
    generator.

    States lie in (0.1, 0.9): some cells divide by one.
    """
    size = size_of(genome)
    weights = {
        spec.name: _wave(spec.sizes(size, size), k + 1) for k, spec in enumerate(genome.parameters)
    }
    x = 1.5 * _wave((STEPS, BATCH, size), 101)
    states = {
        name: 0.5 + 0.4 * _wave(shape, 201 + k)
        for k, (name, shape) in enumerate(state_shapes(genome).items())
    }
    return weights, x, states


def beside_case(genome: Genome, steps: int) -> dict[str, Array]:
    """Times in (0.2, 1.1) and masks, where the cell reads them, by formula as well."""
    wave = _wave((STEPS, BATCH, size_of(genome)), 301)[:steps]
    every = {"dt": 0.65 + 0.5 * wave[:, :, 0], "mask": (wave > -0.3).astype(np.float64)}
    return {name: every[name] for name in genome.inputs[1:]}


def golden_values(name: str) -> dict[str, Any]:
    """What is stored of a cell: names of the parameters, the last output and the final states of
    the first sequence.
    """
    genome = zoo.load(name)
    weights, x, _ = fixed_case(genome)
    output, final = run_compiled(genome, weights, x, None)
    return {
        "parameters": list(weights),
        "output": [float(f"{v:.12g}") for v in output[-1, 0]],
        "states": {
            state: [float(f"{v:.12g}") for v in values[0]] for state, values in final.items()
        },
    }


def _wave(shape: tuple[int, ...], seed: int) -> Array:
    count = int(np.prod(shape, dtype=np.int64))
    return np.asarray(
        0.9 * np.sin(1.7 * np.arange(1, count + 1) * (1.0 + 0.013 * seed) + 2.3 * seed)
    ).reshape(shape)
