"""How long does a proposal take at a history of 10,000 trials? Made-up histories of the shape that
prune and grow make themselves.

The other strategies are asked at grow's history. CPU time, because machines are shared. The first
proposal after a history was loaded is told apart: it works out what all later ones share (a number
or two of each trial; the keys of cells are worked out before).

::

    python benchmarks/proposal_time.py --trials 10000 --proposals 40
    python benchmarks/proposal_time.py --strategies prune grow      # some of them
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from cellsearch import strategies
from cellsearch.history import History
from cellsearch.simulation.simulate import completed, simulate
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import Proposal, Trial

OWN = 300


def grown(count: int) -> list[Trial]:
    """A tree of random cells with random scores, each grown from one of the 400 before it."""
    rng = np.random.default_rng(0)
    kinds = space().growth_kinds(space().seeds["lstm"])
    trials = [completed(Trial(0, Proposal(space().start(), origin="grow:start")), 1.0)]
    for number in range(1, count):
        parent = int(rng.integers(max(0, number - 400), number))
        origin = f"grow:{kinds[int(rng.integers(len(kinds)))]}"
        trials.append(
            completed(
                Trial(number, Proposal(space().sample(rng), (parent,), origin)), float(rng.normal())
            )
        )
    return trials


def pruned(count: int) -> list[Trial]:
    """The beginning of a real (simulated) search, and then random cells as if they were sub-cells
    of its cell of parts.
    """
    rng = np.random.default_rng(0)
    trials = list(simulate(strategies.create("prune"), space(), likeness, trials=OWN, seed=1))
    origins = [trial.proposal.origin for trial in trials if trial.proposal.origin.place]
    for number in range(len(trials), count):
        proposal = Proposal(space().sample(rng), (0,), origins[number % len(origins)])
        trials.append(completed(Trial(number, proposal), float(rng.normal())))
    return trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--proposals", type=int, default=40)
    parser.add_argument(
        "--strategies", nargs="*", choices=strategies.names(), default=list(strategies.names())
    )
    arguments = parser.parse_args()
    histories: dict[str, list[Trial]] = {}
    for name in arguments.strategies:
        kind = "prune" if name == "prune" else "grow"
        if kind not in histories:
            histories[kind] = (
                pruned(arguments.trials) if kind == "prune" else grown(arguments.trials)
            )
        first, *times = measure(name, histories[kind], arguments.proposals)
        print(
            f"{name}: median {np.median(times):.1f} ms, longest {max(times):.1f} ms of "
            f"CPU time; the first one {first:.1f} ms",
            flush=True,
        )


def measure(name: str, trials: list[Trial], proposals: int) -> list[float]:
    """Milliseconds of CPU time of each proposal, at histories that differ by their last trials."""
    strategy, times = strategies.create(name), []
    # a search has worked out the key of each cell that it trained
    History(trials).by_key  # noqa: B018
    for k in range(proposals):
        history = History(trials[: len(trials) - k])
        began = time.process_time()
        strategy.propose(space(), history, np.random.default_rng([1, k]))
        times.append(1000 * (time.process_time() - began))
    return times


if __name__ == "__main__":
    main()
