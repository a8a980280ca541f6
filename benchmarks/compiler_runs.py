"""What the tables of ``compiler.py`` run and how they time it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

import cellsearch as cs
from cellsearch.compiler import backends, cost
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Precision
from cellsearch.compiler.simplify import simplify_program
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square

SHAPES = (
    (16, 64, 32, 32),
    (64, 100, 16, 64),
    (32, 64, 128, 128),
    (20, 35, 200, 200),
    (20, 70, 400, 600),
)  # B, T, I, H
SMALL_SHAPES = ((16, 64, 8, 8), (16, 64, 16, 16))
Segment = Callable[[], object]
IN_TURN = 4
"""How often each is timed in its turn, after a run that does not count: whoever ran before has
driven its memory out of the caches, and a model that is trained has them to itself.
"""


class Naive(nn.Module):
    """What search tools run: a Python loop over time, one ``nn.Linear`` an operand of a node,
    autograd.
    """

    def __init__(self, genome: Genome, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.genome = genome
        self.weights = nn.ParameterDict(
            {
                spec.name.replace(".", "/"): nn.Parameter(
                    torch.randn(spec.sizes(input_size, hidden_size)) * hidden_size**-0.5
                )
                for spec in genome.parameters
            }
        )
        self.hidden_size = hidden_size
        self.kernel = backends.get("reference").build(simplify_program(lower(genome)))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Like ``nn.LSTM``, without final states."""
        states = [x.new_zeros(x.shape[1], self.hidden_size) for _ in self.genome.states]
        return self.kernel(
            x, states, {name.replace("/", "."): weight for name, weight in self.weights.items()}
        )[0], None


def segment(
    module: nn.Module,
    shape: tuple[int, int, int, int],
    *,
    square: bool = False,
    dtype: torch.dtype = torch.float32,
    autocast: bool = False,
) -> Segment:
    batch, steps, input_size, hidden_size = shape
    module = module.to(dtype)
    x = torch.randn(steps, batch, hidden_size if square else input_size, dtype=dtype)
    x.requires_grad_()
    width = getattr(module, "output_size", hidden_size)
    gradient = torch.randn(steps, batch, width, dtype=dtype)
    parameters = [x, *module.parameters()]
    call = (
        torch.autocast("cpu", torch.bfloat16)(lambda given: module(given)) if autocast else module
    )
    gradient = gradient.to(torch.bfloat16) if autocast else gradient

    def run() -> None:
        for parameter in parameters:
            parameter.grad = None
        call(x)[0].backward(gradient)

    return run


def interleaved(
    runs: Mapping[str, Segment],
    seconds: float,
    choose: Callable[[list[float]], float] = statistics.median,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Milliseconds of each (``choose`` says which of all). They take turns, so that a disturbance
    hits all; see :data:`IN_TURN`.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            run()
            for _ in range(IN_TURN):
                start = clock()
                run()
                times[name].append(1e3 * (clock() - start))
    return {name: choose(values) for name, values in times.items()}


def multiply_adds(genome: Genome, shape: tuple[int, int, int, int]) -> int:
    batch, steps, input_size, hidden_size = shape
    return cost.estimate(
        genome, input_size=input_size, hidden_size=hidden_size, steps=steps, batch=batch
    ).multiply_adds


def compiled(
    name: str | Genome,
    shape: tuple[int, int, int, int],
    backend: str = "native",
    threads: int | None = None,
    precision: Precision = "float32",
) -> nn.Module:
    """The cell; ``threads`` as many as torch has, unless given."""
    genome = cs.zoo.load(name) if isinstance(name, str) else name
    width = shape[3] if requires_square(genome) else shape[2]
    return cs.compile_cell(
        genome,
        input_size=width,
        hidden_size=shape[3],
        backend=backend,
        threads=torch.get_num_threads() if threads is None else threads,
        precision=precision,
    )


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n### {title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row) + " |")
    print(flush=True)


# -- tables ----------------------------------------------------------------------------------------


def rate(
    genome: Genome, shape: tuple[int, int, int, int], lstm: Segment, seconds: float
) -> tuple[float, float]:
    """Multiply-adds a second relative to the LSTM's, and the speed relative to aten."""
    runs = {kind: segment(compiled(genome, shape, kind), shape) for kind in ("native", "aten")}
    found = interleaved({**runs, "lstm": lstm}, seconds)
    own, base = (multiply_adds(g, shape) for g in (genome, cs.zoo.load("lstm")))
    return (own / found["native"]) / (base / found["lstm"]), found["aten"] / found["native"]


def lowest(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {values[name]:.2f}" for name in sorted(values, key=lambda name: values[name])[:8]
    )
