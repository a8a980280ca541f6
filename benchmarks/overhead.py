"""What a search costs besides training: evaluations a second when an evaluation does nothing, the
store and all checks on.

    python benchmarks/overhead.py [--trials 2000] [--json]

``count`` proposes a cell with another number without thinking, so it shows the machinery alone, for
a gated cell of eight nodes and for a small one of four (a third of the cost is finding out whether
a cell is new, which grows with its size); ``random`` and ``genetic`` add what the strategies think.
Goals: at least 1,500 a second in process, 300 through two Ray workers. Starting the executor is not
counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from cellsearch.executors.base import Executor
from cellsearch.executors.in_process import InProcess
from cellsearch.executors.ray import Ray
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.search import Search, SearchEvent, TrialEnded
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.trial import Proposal

GOALS = {"in process": 1500.0, "2 Ray workers": 300.0}
_SMALL = "h[t] = 0.5 * tanh(linear(x[t], h[t-1]))"
_GATED = "f = sigmoid(linear(x[t], h[t-1]))\nh[t] = f * h[t-1] + 0.5 * tanh(linear(x[t], h[t-1]))"
_parsed = cache(Genome.from_text)


@cache
def _cell(text: str, number: int) -> Genome:
    base = _parsed(text)
    value = (("value", 1.0 + number),)
    return replace(
        base,
        nodes=tuple(
            replace(node, attrs=value) if node.op == "const" else node for node in base.nodes
        ),
    )


@dataclass(frozen=True)
class Count(Strategy):
    """A cell with another constant for each trial: always new, and no thinking."""

    cell: str

    name: ClassVar[str] = "count"
    paper: ClassVar[str] = ""

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """The next constant."""
        return Proposal(_cell(self.cell, len(history)), origin="count")


def measure(strategy: str | Strategy, executor: Executor, trials: int) -> float:
    """Evaluations a second from the first outcome to the last, so that starting workers does not
    count.
    """
    times: list[float] = []

    def observe(event: SearchEvent) -> None:
        if isinstance(event, TrialEnded):
            times.append(time.perf_counter())

    if isinstance(strategy, Count):
        for number in range(trials):
            _cell(
                strategy.cell, number
            )  # making a genome is the strategy's work, not the machinery's
    with tempfile.TemporaryDirectory() as folder, executor:
        experiment = small_experiment(strategy, trials=trials, baselines=())
        if isinstance(strategy, Count):
            numbers = tuple(1.0 + number for number in range(trials))
            experiment = replace(experiment, space=replace(experiment.space, constants=numbers))
        with Search.open(Path(folder) / "run", experiment) as search:
            search.run(executor, observe, arrays={"x": np.zeros(1000)})
            assert len(search.history) == trials
    warm_up = executor.capacity + len(times) // 100
    return (len(times) - 1 - warm_up) / (times[-1] - times[warm_up])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    strategies: tuple[tuple[str, str | Strategy, int], ...] = (
        ("count, 4 nodes", Count(_SMALL), arguments.trials),
        ("count, 8 nodes", Count(_GATED), arguments.trials),
        ("random", "random", 300),
        ("genetic", "genetic", 300),
    )
    for name, strategy, trials in strategies:
        for place in ("in process", "2 Ray workers"):
            executor = (
                InProcess(evaluation=EVALUATION)
                if place == "in process"
                else Ray(2, evaluation=EVALUATION)
            )
            rate = measure(strategy, executor, trials)
            rows.append(
                {
                    "strategy": name,
                    "executor": place,
                    "trials": trials,
                    "per_second": round(rate, 1),
                    "goal": GOALS[place] if name.startswith("count") else None,
                }
            )
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'strategy':14} {'executor':14} {'trials':>7} {'a second':>10} {'goal':>6}")
    for row in rows:
        print(
            f"{row['strategy']:14} {row['executor']:14} {row['trials']:7} "
            f"{row['per_second']:10.1f} {row['goal'] or '':>6}"
        )


if __name__ == "__main__":
    main()
