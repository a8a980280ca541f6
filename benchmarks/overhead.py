"""What a search costs besides training: evaluations a second when an evaluation does nothing, the
store and all checks on.

    python benchmarks/overhead.py [--trials 2000] [--thinking 300] [--in-process] [--json]
    python benchmarks/overhead.py --against CHECKOUT [--rounds 15]
    python benchmarks/overhead.py --parts [--trials 4000]

``count`` proposes a cell with another number without thinking, so it shows the machinery alone, for
a gated cell of eight nodes and for a small one of four (a third of the cost is finding out whether
a cell is new, which grows with its size); ``random`` and ``genetic`` add what the strategies think.
Goals: at least 1,500 a second in process, 300 through two Ray workers. Starting the executor is not
counted. Beside the rate stands the processor time of this process, which says more on a machine
that others use too.

The second form compares with another commit: two processes, one with each, run short searches in
turn, in process, and the median of the ratios of processor time is told for each strategy.

The third looks each millisecond of processor time at what is being done, and tells the shares. A
look into SQLite comes when that calls Python, so the two parts of the store are told as one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from types import FrameType
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


def measure(
    strategy: str | Strategy,
    executor: Executor,
    trials: int,
    begin: Callable[[], object] = lambda: None,
) -> tuple[float, float]:
    """Evaluations a second, and microseconds of processor time for each, from the first outcome to
    the last, so that starting workers does not count. ``begin`` is called at the first outcome.
    """
    times: list[float] = []
    used: list[float] = []

    def observe(event: SearchEvent) -> None:
        if isinstance(event, TrialEnded):
            if not times:
                begin()
            times.append(time.perf_counter())
            used.append(time.process_time())

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
    count = len(times) - 1 - warm_up
    return count / (times[-1] - times[warm_up]), 1e6 * (used[-1] - used[warm_up]) / count


STRATEGIES: dict[str, str | Strategy] = {
    "count, 4 nodes": Count(_SMALL),
    "count, 8 nodes": Count(_GATED),
    "random": "random",
    "genetic": "genetic",
}


PARTS = {
    "add_trial": "store: proposal and outcome",
    "add_outcome": "store: proposal and outcome",
    "search_key": "key of the simplified cell",
    "canonical_key": "key of the cell as it is",
    "contains": "legality",
    "to_json": "JSON",
    "random_generator": "random generator",
    "rows": "questions to the store",
    "propose": "strategy, all else",
    "perform": "executor and evaluation",
}
"""What the functions of a trial do; where one calls another, the inner one counts."""


def parts(strategy: str | Strategy, trials: int) -> dict[str, float]:
    """The share of each of ``PARTS`` in the processor time of a search."""
    found: Counter[str] = Counter()

    def look(number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_name not in PARTS:
            frame = frame.f_back
        found[PARTS[frame.f_code.co_name] if frame is not None else "search, all else"] += 1

    def begin() -> None:
        signal.setitimer(signal.ITIMER_PROF, 1e-3, 1e-3)

    signal.signal(signal.SIGPROF, look)
    try:
        measure(strategy, InProcess(evaluation=EVALUATION), trials, begin)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    return {name: count / found.total() for name, count in found.most_common()}


def serve() -> None:
    """For each line, a strategy and a number of trials, the processor time of one, in us."""
    for line in sys.stdin:
        name, trials = json.loads(line)
        used = measure(STRATEGIES[name], InProcess(evaluation=EVALUATION), trials)[1]
        print(json.dumps(used), flush=True)


def compare(checkout: str, rounds: int) -> None:
    """Print the processor time of a trial with another commit and with this one."""
    sides = [
        subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for path in (checkout, str(Path(__file__).parents[1]))
    ]
    for name in STRATEGIES:
        times: list[list[float]] = [[], []]
        for k in range(rounds):
            for side, found in list(zip(sides, times, strict=True))[:: 1 if k % 2 else -1]:
                assert side.stdin is not None
                assert side.stdout is not None
                side.stdin.write(json.dumps([name, 300]) + "\n")
                side.stdin.flush()
                found.append(json.loads(side.stdout.readline()))
        ratios = sorted(there / here for there, here in zip(*times, strict=True))
        there, here = map(median, times)
        print(
            f"{name:14} {there:6.0f} us there, {here:6.0f} here; ratio {median(ratios):.2f}, "
            f"middle half {ratios[rounds // 4]:.2f} to {ratios[-1 - rounds // 4]:.2f}",
            flush=True,
        )
    for side in sides:
        side.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--thinking", type=int, default=300, help="trials of random and genetic")
    parser.add_argument("--in-process", action="store_true", help="without Ray workers")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--against", help="the folder of another commit")
    parser.add_argument("--rounds", type=int, default=15, help="with --against")
    parser.add_argument("--parts", action="store_true", help="what takes the time, in process")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    if arguments.against:
        compare(arguments.against, arguments.rounds)
        return
    if arguments.parts:
        for name, strategy in STRATEGIES.items():
            shares = parts(strategy, arguments.trials)
            print(name, *(f"{100 * v:5.1f} % {part}" for part, v in shares.items()), sep="\n  ")
        return
    rows = []
    for name, strategy in STRATEGIES.items():
        trials = arguments.trials if isinstance(strategy, Count) else arguments.thinking
        for place in ("in process", "2 Ray workers")[: 1 if arguments.in_process else 2]:
            executor = (
                InProcess(evaluation=EVALUATION)
                if place == "in process"
                else Ray(2, evaluation=EVALUATION)
            )
            rate, microseconds = measure(strategy, executor, trials)
            rows.append(
                {
                    "strategy": name,
                    "executor": place,
                    "trials": trials,
                    "per_second": round(rate, 1),
                    "cpu_us": round(microseconds),
                    "goal": GOALS[place] if name.startswith("count") else None,
                }
            )
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    heads = f"{'trials':>7} {'a second':>10} {'CPU us':>7} {'goal':>6}"
    print(f"{'strategy':14} {'executor':14} {heads}")
    for row in rows:
        print(
            f"{row['strategy']:14} {row['executor']:14} {row['trials']:7} "
            f"{row['per_second']:10.1f} {row['cpu_us']:7} {row['goal'] or '':>6}"
        )


if __name__ == "__main__":
    main()
