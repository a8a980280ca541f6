"""What a large run costs: each command as a whole process, and a trial as the run grows.

    python benchmarks/large_runs.py [--trials 100000] [--keep DIR]      # commands
    python benchmarks/large_runs.py --grow [--trials 10000]             # strategies and schedules
    python benchmarks/large_runs.py --ray [--trials 10000] [--noop]     # memory with two workers

The first builds a store of so many trials with the store's own functions and an evaluation that
does nothing, and measures CPU seconds and peak memory of each command. Goals at 100,000 trials:
``ls --top 10``, ``best`` and ``show`` below 0.5 s, ``report`` below 3 s and 1 MB, reopening a
search below 2 s.

The second runs searches whose evaluation does nothing, one process each, and prints CPU
milliseconds a trial and memory in use at 1,000 trials and at the end. Goal: neither grows.

The third runs one search on two Ray workers with trainings of nine steps (or none), and prints the
memory that the driver and the larger worker have of their own. Goal: it does not grow.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from cellsearch import schedules, strategies, tasks, zoo
from cellsearch.executors.in_process import InProcess
from cellsearch.executors.worker import DEFAULT_EVALUATION
from cellsearch.experiment import Experiment
from cellsearch.genome.graph import Genome
from cellsearch.job import Budget, Outcome
from cellsearch.search import Search, SearchEvent, TrialEnded
from cellsearch.store import Store
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.trial import Proposal, Result, Rung, Status, Trial

POINTS = 4
"""Of a trial's validation curve."""
MUTANT_OF = 50
"""A trial's parent is one of so many before it."""
EARLY = 1000
PAIRS = [
    *((name, "fixed") for name in strategies.names() if name != "prune"),
    ("genetic", "halving"),
    ("genetic", "curve_stop"),
    ("grow", "lookahead"),
    ("prune", "fixed"),
]


def cells() -> list[Genome]:
    """Cells of real size, each with a constant, so that any number of them can be made of one."""
    texts = (zoo.load(name).to_text() for name in ("lstm", "gru", "mgu"))
    return [Genome.from_text(text.replace("tanh(", "tanh(0.5 * ", 1)) for text in texts]


def variant(base: Genome, number: int) -> Genome:
    """The cell with another constant."""
    value = (("value", 1.0 + number),)
    nodes = tuple(replace(node, attrs=value) if node.op == "const" else node for node in base.nodes)
    return replace(base, nodes=nodes)


def build(folder: Path, experiment: Experiment, trials: int) -> None:
    """A store of so many trials that have ended: one in 50 failed, one in 50 is a duplicate."""
    bases, rng = cells(), np.random.default_rng(0)
    steps = experiment.training.steps
    with Store.open(folder) as store:
        store.describe(experiment.to_toml())
        store.remember_metric(tasks.get(experiment.task).metric)
        store.add_environment({"host": "benchmark"})
        for number in range(trials):
            parents = (int(rng.integers(max(0, number - MUTANT_OF), number)),) if number else ()
            genome = variant(bases[number % 3], number)
            proposal = Proposal(genome, parents, "mutate:op")
            twin = int(rng.integers(number)) if number and number % 50 == 7 else None
            if twin is not None and twin % 50 != 7:
                trial = Trial(number, proposal, Status.DUPLICATE, duplicate_of=twin)
            else:
                trial = Trial(number, proposal, Status.RUNNING, (Rung(Budget(steps, 0)),))
            store.add_trial(
                trial,
                key=f"{number:032x}",
                genome=genome.to_json(),
                attempt=0,
                seed=number,
                horizon=number,
            )
            if trial.status is not Status.DUPLICATE:
                store.add_outcome(*_outcome(number, steps, float(rng.normal(2.0, 0.2)), genome))
    (folder / "experiment.toml").write_text(experiment.to_toml())


def _outcome(number: int, steps: int, score: float, genome: Genome) -> tuple[Outcome, Status]:
    if number % 50 == 3:
        from cellsearch.trial import Failure

        return Outcome(number, 0, None, Failure("nan", "the loss is nan")), Status.FAILED
    result = Result(
        score=score,
        metric=score,
        steps=steps,
        seconds=1.0,
        parameters=10_000,
        cell_parameters=1000 + 37 * (number % 211),
        curve=tuple((steps * k // POINTS, score + 1 / k) for k in range(1, POINTS + 1)),
        metrics={"test_free": score, "predicted_us": 3.0},
    )
    return Outcome(number, 0, result, None), Status.COMPLETED


def measured(command: list[str]) -> tuple[float, float, int]:
    """CPU seconds, peak memory in MiB and size of the output of a whole process."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        size = output.seek(0, os.SEEK_END)
        if status:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)}: {output.read().decode()[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, size


REOPEN = """
import sys
import cellsearch
from cellsearch.search import Search
path = sys.argv[1]
experiment = cellsearch.load_experiment(path + "/experiment.toml")
if len(sys.argv) > 2:
    with Search.open(path, experiment) as search:
        print(search.finished, search.used_up, len(search.history))
"""


def commands(folder: Path) -> list[tuple[str, list[str]]]:
    """Each command with its name."""
    cli = [sys.executable, "-m", "cellsearch"]
    run = str(folder)
    return [
        ("ls --top 10", [*cli, "ls", run, "--top", "10"]),
        ("best", [*cli, "best", run]),
        ("show RUN:500", [*cli, "show", f"{run}:500"]),
        ("report", [*cli, "report", run]),
        ("compare", [*cli, "compare", run]),
        ("imports of a search alone", [sys.executable, "-c", REOPEN, run]),
        ("reopen a search", [sys.executable, "-c", REOPEN, run, "open"]),
    ]


def grow(strategy: str, schedule: str, trials: int) -> dict[str, float]:
    """CPU milliseconds a trial over 300 trials, and memory in MiB, early and late in a search."""
    experiment = small_experiment(
        strategy,
        trials=trials,
        baselines=("lstm", "gru"),
        schedule=schedules.create(schedule, {}),
    )
    marks = sorted({min(EARLY, trials // 2), trials // 3, trials * 2 // 3, trials - 2})
    found: dict[str, float] = {}
    start, ended = {}, 0
    begun = time.process_time()

    def observe(event: SearchEvent) -> None:
        nonlocal ended
        if not isinstance(event, TrialEnded) or not event.trial.status.finished:
            return
        ended += 1
        for mark in marks:
            if ended == mark - 300:
                start[mark] = time.process_time()
            if ended == mark:
                gc.collect()
                found[f"ms at {mark}"] = (time.process_time() - start[mark]) / 300 * 1000
                found[f"MiB at {mark}"] = memory()

    with (
        tempfile.TemporaryDirectory() as folder,
        InProcess(evaluation=EVALUATION) as executor,
        Search.open(Path(folder) / "run", experiment) as search,
    ):
        search.run(executor, observe, arrays={"x": np.zeros(10)})
        found["trials"] = len(search.history)
    found["seconds"] = time.process_time() - begun
    return found


def memory() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def own_memory(process: int) -> float:
    """MiB that a process has of its own: without files and what it shares; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return int(next(found, "0")) / 1024


def on_ray(trials: int, evaluation: str) -> None:
    """Print the memory of driver and workers as a search on two Ray workers grows."""
    from cellsearch.executors.ray import Ray

    workers: dict[int, int] = {}
    ended, begun = 0, time.monotonic()

    def observe(event: SearchEvent) -> None:
        nonlocal ended
        if not isinstance(event, TrialEnded) or not event.outcome.worker:
            return
        ended += 1
        process = int(event.outcome.worker.rpartition(":")[2])
        workers[process] = workers.get(process, 0) + 1
        if ended in {trials // 10, trials // 4, trials // 2, trials * 3 // 4, trials}:
            gc.collect()
            largest = max(map(own_memory, workers))
            print(
                f"{ended:7} trials: driver {own_memory(os.getpid()):6.1f} MiB, larger worker "
                f"{largest:6.1f} MiB of {len(workers)}, {time.monotonic() - begun:.0f} s",
                flush=True,
            )

    experiment = small_experiment("random", trials=trials, baselines=())
    with (
        tempfile.TemporaryDirectory() as folder,
        Ray(2, evaluation=evaluation) as executor,
        Search.open(Path(folder) / "run", experiment) as search,
    ):
        search.run(executor, observe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where the store is built, and used again")
    parser.add_argument("--grow", action="store_true")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--noop", action="store_true", help="with --ray: no trainings")
    parser.add_argument("--only", nargs="*", help="strategy or strategy/schedule")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        strategy, schedule = arguments.one.split("/")
        print(json.dumps(grow(strategy, schedule, arguments.trials)))
    elif arguments.ray:
        on_ray(arguments.trials or 10_000, EVALUATION if arguments.noop else DEFAULT_EVALUATION)
    elif arguments.grow:
        for strategy, schedule in PAIRS:
            name = f"{strategy}/{schedule}"
            if arguments.only and not {name, strategy} & set(arguments.only):
                continue
            command = [sys.executable, __file__, "--trials", str(arguments.trials or 10_000)]
            output = subprocess.run([*command, "--one", name], capture_output=True, text=True)
            if output.returncode:
                print(f"{name}: {output.stderr[-1500:]}")
                continue
            row = json.loads(output.stdout)
            print(f"{name:32} " + "  ".join(f"{key} {row[key]:.2f}" for key in row), flush=True)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (arguments.keep or Path(temporary)) / "run"
            if not folder.exists():
                start = time.process_time()
                build(folder, small_experiment(trials=1_000_000), arguments.trials or 100_000)
                print(f"built in {time.process_time() - start:.0f} s")
            for name, command in commands(folder):
                seconds, peak, size = measured(command)
                print(f"{name:28} {seconds:6.2f} s CPU {peak:7.0f} MiB peak {size:9} bytes printed")
            print(
                f"report.html {(folder / 'report.html').stat().st_size / 1e6:.2f} MB, store "
                f"{(folder / 'store.sqlite').stat().st_size / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()
