"""Rotations and heads: native in float32 and aten in float64 are the reference, for outputs, final
states and all gradients, at sizes around those of vectors.
"""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest
import torch

from cellsearch import Genome, load_space, zoo
from cellsearch.compiler import backends
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.lower import lower
from cellsearch.compiler.simplify import simplify_program
from cellsearch.testing.backends import BackendContract, Case

ROTATIONS = {
    "own angles": "h[t] = exp(-exp(bias())) * rotate(h[t-1], bias(size=H/2)) + linear(x[t])",
    "angles of x": "a = sigmoid(linear(x[t]))\n"
    "h[t] = blend(a, rotate(h[t-1], linear(x[t], size=H/2)), linear(x[t]))",
    "angles of the state": "h[t] = tanh(rotate(h[t-1], linear(x[t], h[t-1], size=H/2)))",
    "turned twice": "p[t] = p[t-1] + 0.1 * linear(x[t], size=H/2)\n"
    "h[t] = rotate(rotate(h[t-1], p[t]), bias(size=H/2)) + linear(x[t])",
    "of a product": "h[t] = tanh(rotate(linear(x[t], h[t-1]), linear(x[t], size=H/2)) + h[t-1])",
    "of another size": "s[t] = rotate(0.9 * s[t-1], linear(x[t])) + linear(x[t], size=2*H)\n"
    "h[t] = 0.5 * h[t-1] + linear(s[t])",
    "times": "h[t] = rotate(exp(-dt[t]) * h[t-1], dt[t] * linear(x[t], mask[t], size=H/2))"
    " + linear(x[t] * mask[t], mask[t])",
    "one angle": "h[t] = rotate(h[t-1], scale(dt[t]) + 0.3) / 2 + linear(x[t])",
    "last": "h[t] = tanh(linear(x[t], h[t-1]))\ny[t] = rotate(h[t], linear(h[t], size=H/2))",
}
HEADS = {
    "of a sum": "h[t] = tanh(head_norm(linear(x[t], h[t-1]), {0}) + bias())",
    "of blocks": "f = sigmoid(linear(x[t]) + linear(h[t-1], bias=False, blocks={0}))\n"
    "h[t] = f * h[t-1] + (1 - f) * tanh(linear(x[t]))\n"
    "y[t] = linear(head_norm(h[t], {0})) * exp(-dt[t])",
    "turned": "h[t] = head_norm(rotate(h[t-1], linear(x[t], size=H/2)) + linear(x[t]), {0})",
}
OPTIONS = (
    {},
    {"lengths": (2, 4, 1)},
    {"bidirectional": True, "resets": True},
    {"num_layers": 2, "lengths": (4, 1, 3), "resets": True},
)


class Native(BackendContract):
    backend = "native"
    dtype = torch.float32
    tolerance = 1e-4
    more_gradients = False


class Aten(BackendContract):
    backend = "aten"


BACKENDS = {"native": Native(), "aten": Aten()}


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "poison", True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [2, 4, 6, 62, 64, 66, 130])
def test_rotations(backend: str, size: int) -> None:
    contract, first = BACKENDS[backend], size // 2 % 4
    chosen = list(ROTATIONS.items())[first % 2 :: 2] if backend == "aten" else ROTATIONS.items()
    ways = cycle(OPTIONS[first:] + OPTIONS[:first])
    for k, ((name, text), options) in enumerate(zip(chosen, ways, strict=False)):
        case = Case(4, 3, 5, size, seed=k, **options)
        contract.check(Genome.from_text(text), case, name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("heads", [1, 2, 3, 4, 8])
def test_heads(backend: str, heads: int) -> None:
    contract = BACKENDS[backend]
    ways = cycle([(name, options) for options in OPTIONS for name in HEADS])
    for width in (4, 62 // heads, 66 // heads, 130 // heads):
        for _ in range(2):
            name, options = next(ways)
            size = heads * (width + width % 2)
            case = Case(4, 3, 7, size, **options)
            contract.check(Genome.from_text(HEADS[name].format(heads)), case, f"{heads} {name}")


@pytest.mark.parametrize("space", ["turns", "rotations", "heads", "low_rank", "gated_time"])
def test_cells_of_the_spaces(space: str) -> None:
    rng, drawn = np.random.default_rng(18), load_space(space)
    for k in range(6):
        genome = drawn.sample(rng)
        case = Case(4, 3, 16, 16, seed=k, **OPTIONS[k % len(OPTIONS)])
        BACKENDS["native"].check(genome, case, space)


def test_every_cell_of_the_zoo_runs_here() -> None:
    for name in zoo.names():
        program = simplify_program(lower(zoo.load(name)))
        support = backends.get("native").supports(program, torch.device("cpu"), torch.float32)
        assert support.ok, f"{name}: {support.reason}"


def test_a_wrong_turn_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference with pairs turned the other way is not what native computes."""
    from cellsearch.compiler.backends.functions import FUNCTIONS, turn

    monkeypatch.setitem(FUNCTIONS, "turn", lambda a: -turn(a))
    with pytest.raises(AssertionError, match="values differ"):
        BACKENDS["native"].check(Genome.from_text(ROTATIONS["own angles"]), Case(4, 3, 5, 6), "")
