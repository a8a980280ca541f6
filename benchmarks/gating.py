"""Gating from nothing: how many evaluations until a search that starts from the tanh RNN finds a
cell as good as the LSTM?

Space ``tanh_start`` (sigmoid, tanh, add, multiply, linear, up to two states; the only seed genome
is the tanh RNN), suite ``long_memory``. A cell is *reached* when, trained with the suite's first
seed, it has 98 % of the LSTM's skill at every task, and it is a *success* when it also has them in
the mean over all seeds of the suite; then the run ends. Cells that fail a task are not trained on
the rest. A training is never paid twice: results are shared between the runs under the cell's
search key and the seed.

Every run has a folder of its own and goes on where it was stopped; finished ones are not repeated::

    # all runs, one after the other, then the table
    python benchmarks/gating.py --out runs/gating
    python benchmarks/gating.py --out runs/gating --table        # the table of what is there
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import cellsearch as cs
from cellsearch.executors.base import Executor
from cellsearch.executors.worker import perform, worker_name
from cellsearch.experiment.overrides import parse_setting
from cellsearch.finals.statistics import holm, permutation_test
from cellsearch.history import History
from cellsearch.job import Job, Outcome
from cellsearch.search import SearchEvent, TrialEnded
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.suite import Suite
from cellsearch.training import Data, prepare
from cellsearch.training.results import ResultCache
from cellsearch.training.suite import train_suite
from cellsearch.trial import Result, Status, Trial

STRATEGIES = ("genetic", "random", "grow", "prune")
ENOUGH = 0.98


class Shared(Executor):
    """Trains in this process, and takes what any run has trained before from the cache."""

    capacity = 1

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache
        self._arrays: Arrays = {}
        self._job: Job | None = None

    def start(
        self,
        task: str,
        task_options: Mapping[str, Any],
        arrays: Arrays,
        *,
        folder: Path | None = None,
    ) -> None:
        """Keep the data."""
        self._arrays = arrays

    def submit(self, job: Job) -> None:
        """Take a job."""
        self._job = job

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        """Train it."""
        if self._job is not None:
            job, self._job = self._job, None
            yield perform(self._train, job, self._arrays, worker_name())

    def close(self, *, kill: bool = False) -> None:
        """Forget it."""
        self._job = None

    def _train(self, job: Job, arrays: Arrays) -> Result:
        return train_suite(job, arrays, cache=self._cache)[0]


@dataclass
class Hunt:
    """One run: looks at each result and ends the search at the first success. ``shares``: of
    confirmed cells, by trial.
    """

    search: cs.Search
    data: Data
    cache: ResultCache
    shares: dict[int, dict[str, float]] = field(default_factory=dict)

    def on_event(self, event: SearchEvent) -> None:
        """Stop the search after a success."""
        if isinstance(event, TrialEnded) and self.succeeds(event.trial):
            self.search.stop()

    def succeeds(self, trial: Trial) -> bool:
        """Whether the cell is as good as the LSTM in the mean over the seeds; trains it with those
        that are missing.
        """
        if not reached(trial):
            return False
        experiment = self.search.experiment
        suite = Suite.parse({**experiment.task_options, "stop_below": 0.0})
        shares: dict[str, float] = dict.fromkeys((member.name for member in suite.members), 0.0)
        job = replace(
            self.search.job(trial), task_options=suite.to_document(), targets=self.data.targets
        )
        for seed in suite.seeds:
            try:
                _, scored = train_suite(job, self.data.arrays, seed=seed, cache=self.cache)
            except cs.errors.TrainingError:
                return False
            for one in scored:
                shares[one.member.name] += one.share / len(suite.seeds)
        self.shares[trial.number] = shares
        return min(shares.values()) >= ENOUGH


def reached(trial: Trial) -> bool:
    """Whether the cell of a finished trial has the LSTM's skill with one seed; a full cell on its
    way of being pruned does not count.
    """
    return (
        trial.status is Status.COMPLETED and not trial.is_intermediate and trial.score <= 1 - ENOUGH
    )


def evaluations(history: History, number: int) -> int:
    """How many cells were trained up to this trial; duplicates were not."""
    return sum(trial.status is not Status.DUPLICATE for trial in history if trial.number <= number)


def run(declared: cs.Experiment, name: str, folder: Path, cache: ResultCache) -> dict[str, Any]:
    """One search, from where it is to its success or its end; what came out under this name."""
    data = prepare(declared.task, declared.task_options, cache=cache)
    started = time.perf_counter()
    with cs.Search.open(folder, declared) as search:
        hunt = Hunt(search, data, cache)
        found = next((trial for trial in search.history if hunt.succeeds(trial)), None)
        if found is None:
            search.run(Shared(cache), hunt.on_event, data=data)
            found = next((trial for trial in search.history if hunt.succeeds(trial)), None)
        history = search.history
    first = next((trial.number for trial in history if reached(trial)), None)
    finished = [trial for trial in history if trial.status.finished]
    return {
        "strategy": name,
        "seed": declared.seed,
        "limit": declared.trials,
        "success": evaluations(history, found.number) if found else None,
        "reached": evaluations(history, first) if first is not None else None,
        "evaluations": evaluations(history, len(history)),
        "best": 1
        - min((trial.score for trial in finished if not trial.is_intermediate), default=1.0),
        "training_seconds": sum(
            trial.result.seconds for trial in finished if trial.result is not None
        ),
        "seconds_of_this_process": time.perf_counter() - started,
        "cell": found.genome.to_text() if found else None,
        "weights": found.result.cell_parameters if found and found.result else None,
        "shares": hunt.shares[found.number] if found else None,
        "memory": memory(found.genome) if found else None,
    }


def memory(genome: cs.Genome) -> dict[str, str]:
    """For each state how its value comes from its own previous value.

    ``gated sum``: the next value is a sum one term of which is a product with the previous value,
    reached through sums and products only. ``squashed``: the same, but below a tanh, a sigmoid or a
    linear. ``product``: a product without a sum, ``sum`` a sum without a product, ``other``:
    anything else.
    """
    return {
        state.name: _path(genome, genome.next_states[k], len(genome.inputs) + k)
        for k, state in enumerate(genome.states)
    }


def _path(genome: cs.Genome, top: int, previous: int) -> str:
    straight = _ways(genome, top, previous, straight=True)
    if "gated sum" in straight:
        return "gated sum"
    if "gated sum" in _ways(genome, top, previous, straight=False):
        return "squashed"
    return "product" if "product" in straight else "sum" if "sum" in straight else "other"


def _ways(genome: cs.Genome, value: int, previous: int, *, straight: bool) -> frozenset[str]:
    """How the previous value of a state arrives at a value: ``copy``, ``product``, ``sum`` or
    ``gated sum``, by all paths.
    """
    if value == previous:
        return frozenset({"copy"})
    node = genome.node(value)
    if node is None:
        return frozenset()
    below = frozenset[str]().union(
        *(_ways(genome, operand, previous, straight=straight) for operand in node.inputs)
    )
    if node.op == "blend":  # g * a + (1 - g) * b
        carried = {
            way
            for operand in node.inputs[1:]
            for way in _ways(genome, operand, previous, straight=straight)
        }
        return frozenset({"gated sum"}) if carried else frozenset()
    if node.op in ("add", "sub"):
        return frozenset({"copy": "sum", "sum": "sum"}.get(way, "gated sum") for way in below)
    if node.op == "mul":
        return frozenset("product" if way in ("copy", "product") else way for way in below)
    if node.op == "identity":
        return below
    # A function (or a gate): only a gated sum below it is of interest, and only where squashing is
    # allowed.
    return frozenset() if straight else below & {"gated sum"}


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown: evaluations until success, and whether that is fewer than random
    search needs.
    """
    by_strategy: dict[str, list[Mapping[str, Any]]] = {}
    for result in sorted(results, key=lambda r: r["seed"]):
        by_strategy.setdefault(result["strategy"], []).append(result)
    others = [name for name in by_strategy if name != "random"]
    p_values = (
        [_p_value(by_strategy[name], by_strategy["random"]) for name in others]
        if "random" in by_strategy
        else []
    )
    corrected = dict(zip(others, holm(p_values), strict=False))
    lines = [
        "| strategy | evaluations until success, by seed | median | successes | first "
        "reached with one seed | p against random (Holm) |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in by_strategy.items():
        cells = ", ".join(str(r["success"]) if r["success"] else f"> {r['limit']}" for r in rows)
        middle = median(_counts(rows))
        failed = [r["limit"] for r in rows if r["success"] is None]
        shown = f"> {min(failed)}" if len(failed) > len(rows) / 2 else f"{middle:g}"
        early = ", ".join(str(r["reached"]) if r["reached"] else "–" for r in rows)
        wins = f"{sum(r['success'] is not None for r in rows)} of {len(rows)}"
        p = f"{corrected[name]:.3f}" if name in corrected else "–"
        lines.append(f"| {name} | {cells} | {shown} | {wins} | {early} | {p} |")
    return "\n".join(lines)


def _counts(rows: Sequence[Mapping[str, Any]], limit: float = math.inf) -> list[float]:
    """Evaluations until success, at most the limit. A run without one counts as its limit, which
    makes differences look smaller.
    """
    return [min(row["success"] or row["limit"], limit) for row in rows]


def _p_value(rows: Sequence[Mapping[str, Any]], random: Sequence[Mapping[str, Any]]) -> float:
    """Of the difference to random search, within the evaluations that all these runs were given."""
    limit = min(
        (row["limit"] for row in (*rows, *random) if row["success"] is None), default=math.inf
    )
    return permutation_test(_counts(rows, limit), _counts(random, limit))


def show(results: Sequence[Mapping[str, Any]]) -> None:
    print(table(results))
    for result in results:
        if result["cell"]:
            kinds = ", ".join(f"{state}: {kind}" for state, kind in result["memory"].items())
            shares = ", ".join(f"{task} {share:.3f}" for task, share in result["shares"].items())
            print(
                f"\n{result['strategy']}, seed {result['seed']}, {result['weights']:,} "
                f"weights; {shares}; memory {kinds}\n{result['cell']}"
            )


def read(path: Path, trials: int) -> dict[str, Any] | None:
    """What came out of a finished run; ``None`` if it is not finished, or was for fewer trials
    without success.
    """
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return result if result["success"] is not None or result["limit"] >= trials else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--label", default="", help="name in the table (with one strategy)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--evaluations", type=int, default=300, help="trials of a run at most")
    parser.add_argument("--out", type=Path, default=Path("runs/gating"))
    parser.add_argument("--table", action="store_true", help="only show what is there")
    arguments = parser.parse_args()
    cache = ResultCache(arguments.out / "results")
    results = []
    given = {
        "trials": arguments.evaluations,
        "workers": 0,
        "lookahead": 1,
        **dict(map(parse_setting, arguments.overrides)),
    }
    for seed in arguments.seeds:
        for strategy in arguments.strategies:
            name = arguments.label or strategy
            folder = arguments.out / f"{name}-{seed}"
            result = read(folder / "outcome.json", arguments.evaluations)
            if result is None and not arguments.table:
                declared = cs.load_experiment(
                    "gating", {"strategy": strategy, "seed": seed, **given}
                )
                result = run(declared, name, folder, cache)
                temporary = folder / "outcome.json.tmp"
                temporary.write_text(json.dumps(result, indent=2), "utf-8")
                temporary.replace(folder / "outcome.json")
                print(
                    f"{name}, seed {seed}: success {result['success']}, best {result['best']:.3f}",
                    flush=True,
                )
            if result is not None:
                results.append(result)
    show(results)


if __name__ == "__main__":
    main()
