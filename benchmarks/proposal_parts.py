"""What the parts of a proposal cost: a random cell, a mutant, a child of two cells, and the key by
which a search knows a cell again.

    python benchmarks/proposal_parts.py [--space lstm_gru] [--cells 400] [--repeats 5]

Milliseconds of processor time each, over so many cells drawn with a fixed seed; the median of the
repeats. It also runs at older commits (PYTHONPATH=CHECKOUT python benchmarks/proposal_parts.py), to
compare: run both in turn, because machines are shared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from cellsearch import load_space
from cellsearch.errors import SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.space import SearchSpace


def child(space: SearchSpace, one: Genome, other: Genome, rng: np.random.Generator) -> None:
    """A child of two cells, where they have something to exchange."""
    try:
        space.crossover(one, other, rng)
    except SpaceError:
        return


def measure(space: SearchSpace, count: int) -> dict[str, float]:
    """Milliseconds of each part, once."""
    rng = np.random.default_rng(0)
    cells: list[Genome] = []
    again = [Genome.from_json(cell.to_json()) for cell in (space.sample(rng) for _ in range(count))]
    parts: dict[str, Callable[[int], object]] = {
        "random cell": lambda _: cells.append(space.sample(rng)),
        "mutant": lambda k: space.mutate(cells[k], rng),
        "child of two": lambda k: child(space, cells[k], cells[k - 1], rng),
        "key": lambda k: search_key(again[k]),
    }
    found = {}
    for name, part in parts.items():
        began = time.process_time()
        for k in range(count):
            part(k)
        found[name] = 1000 * (time.process_time() - began) / count
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="lstm_gru")
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    space = load_space(arguments.space)
    runs = [measure(space, arguments.cells) for _ in range(arguments.repeats)]
    for name in runs[0]:
        print(f"{name:14}{median(run[name] for run in runs):8.3f} ms")


if __name__ == "__main__":
    main()
