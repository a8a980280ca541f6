"""Kill -9 of the driver and of workers at random moments, and what became of the search.

    python benchmarks/kill.py [--driver 25] [--workers 25] [--trials 400] [--json]

A deterministic search on two Ray workers is started again and again, and its driver is killed after
a random time, until it has been killed often enough; then it is left to end. In a second run only
worker processes are killed, while the driver lives. Checked:

- lost: trials of the finished run without an outcome, or committed before a kill and different or
  gone after it;
- twice: trainings that began although their outcome had been committed, and cells with one key in
  two trained trials (a result that dies with its worker is trained again, and is not counted);
- running: trials that are not finished at the end;
- differing: rows of the final table that differ from the uninterrupted run in one process, without
  Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from cellsearch.errors import RunError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import Experiment
from cellsearch.history import History
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.testing.executors import train_lines
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import Row, differing_rows, final_table, small_experiment

Jobs = set[tuple[int, int]]


def experiment(trials: int, log: Path, sleep: float) -> Experiment:
    """The experiment of all runs; only where it logs, and how long a training takes, differs."""
    options = {"log": str(log), "sleep": sleep, "fail": "nan", "trials": [7, 20]}
    return small_experiment(
        "genetic", trials=trials, deterministic=True, lookahead=4, task_options=options
    )


def drive(run: Path, trials: int, sleep: float) -> None:
    """The process that is killed: a search like any other."""
    from cellsearch.executors.ray import Ray

    with (
        Search.open(run, experiment(trials, run.parent / "log", sleep)) as search,
        Ray(2, evaluation=EVALUATION, crash_retries=3) as executor,
    ):
        search.run(executor, arrays={})


def start(run: Path, trials: int, sleep: float) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        __file__,
        "--drive",
        str(run),
        "--trials",
        str(trials),
        "--sleep",
        str(sleep),
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def history_of(run: Path) -> History:
    """What is in the store now; empty before there is one."""
    try:
        with Store.read(run) as store:
            return store.history()
    except RunError:
        return History()


def committed(history: History) -> Jobs:
    return {
        (t.number, len(t.rungs) - 1)
        for t in history
        if t.rungs and (t.result is not None or t.failure is not None)
    }


class Checks:
    """What went wrong, counted."""

    def __init__(self) -> None:
        self.lost = self.twice = 0

    def say(self, who: str, done: int, kills: int) -> None:
        """How far it is, once in ten kills: some hundred take an hour."""
        if done % 10 == 0:
            print(
                f"{who}: {done} of {kills} kills, {self.lost} lost, {self.twice} twice",
                file=sys.stderr,
                flush=True,
            )

    def between(self, before: History, after: History, begun: Counter[tuple[int, int]]) -> None:
        """A kill lies between: nothing that was committed is gone, changed, or trained again."""
        rows, later = final_table(before), final_table(after)
        done = committed(before)
        self.lost += sum(1 for trial, _ in done if later[trial : trial + 1] != [rows[trial]])
        self.twice += sum(count for job, count in begun.items() if job in done)

    def at_end(self, history: History, trials: int) -> None:
        """The search has ended: every trial has an outcome, and no cell was trained as two
        trials.
        """
        with_outcome = [t for t in history if t.result is not None or t.failure is not None]
        self.lost += trials - len(with_outcome)
        keys = Counter(t.genome.key for t in history if t.rungs and t.duplicate_of is None)
        self.twice += sum(count - 1 for count in keys.values())


def kill_driver(
    folder: Path, trials: int, kills: int, sleep: float, chance: random.Random
) -> tuple[Checks, History, int]:
    run, log = folder / "run", folder / "log"
    checks, done, seen, before = Checks(), 0, 0, History()
    while done < kills:
        process = start(run, trials, sleep)
        # Count from the first training on, because starting Ray takes longer than all trainings
        # together; some fall into the start.
        patience = time.monotonic() + 600  # Ray takes minutes to start on a machine in heavy use
        if chance.random() < 0.9:
            while (
                len(train_lines(log, "begin")) == seen
                and process.poll() is None
                and time.monotonic() < patience
            ):
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 12 * sleep))
        else:
            time.sleep(chance.uniform(0.0, 3.0))
        if process.poll() is not None:
            raise SystemExit(
                f"the search ended before it was killed {kills} times; ask for more "
                f"trials\n{errors_of(process)}"
            )
        process.kill()
        errors_of(process)
        time.sleep(0.3)  # workers notice that their driver is gone
        lines = train_lines(log, "begin")
        after = history_of(run)
        checks.between(before, after, Counter((trial, rung) for trial, rung, _ in lines[seen:]))
        before, seen, done = after, len(lines), done + 1
        checks.say("driver", done, kills)
    process = start(run, trials, sleep)
    text = errors_of(process)
    if process.returncode != 0:
        raise SystemExit(f"the last process failed:\n{text}")
    after = history_of(run)
    checks.between(
        before, after, Counter((trial, rung) for trial, rung, _ in train_lines(log, "begin")[seen:])
    )
    checks.at_end(after, trials)
    return checks, after, done


def kill_workers(
    folder: Path, trials: int, kills: int, sleep: float, chance: random.Random
) -> tuple[Checks, History, int]:
    run, log = folder / "run", folder / "log"
    process = start(run, trials, sleep)
    checks, done, killed = Checks(), 0, set[int]()
    while done < kills and process.poll() is None:
        time.sleep(chance.uniform(0.2, 2.0))
        ended = {(trial, pid) for trial, _, pid in train_lines(log, "end")}
        busy = [
            pid
            for trial, _, pid in train_lines(log, "begin")[-4:]
            if (trial, pid) not in ended and alive(pid)
        ]
        if busy:
            victim = chance.choice(busy)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            done += 1
            checks.say("workers", done, kills)
    text = errors_of(process)
    if process.returncode != 0:
        raise SystemExit(f"the search failed:\n{text}")
    if done < kills:
        raise SystemExit(f"the search ended after {done} kills; ask for more trials")
    history = history_of(run)
    ended = train_lines(log, "end")
    # The last result of a worker that was killed may have died with it; then it counts once.
    last = {pid: (trial, rung) for trial, rung, pid in ended if pid in killed}
    ends = Counter((trial, rung) for trial, rung, _ in ended)
    died = Counter(last.values())
    checks.twice += sum(max(count - 1 - died[job], 0) for job, count in ends.items())
    checks.lost += sum(1 for t in history if t.failure is not None and t.failure.kind == "crash")
    checks.at_end(history, trials)
    return checks, history, done


def alive(process: int) -> bool:
    """Whether there is such a process, and it is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def errors_of(process: subprocess.Popen[bytes]) -> str:
    """Wait for a process; what it said."""
    _, errors = process.communicate()
    return errors.decode(errors="replace")


def uninterrupted(folder: Path, trials: int) -> list[Row]:
    """The table of the same search in one process."""
    log = folder / "log"
    with (
        Search.open(folder / "whole", experiment(trials, log, 0.0)) as search,
        InProcess(evaluation=EVALUATION) as executor,
    ):
        search.run(executor, arrays={})
        return final_table(search.history)


def measure(
    driver: int, workers: int, trials: int, sleep: float, seed: int
) -> list[dict[str, object]]:
    """One row for each kind of kill."""
    rows: list[dict[str, object]] = []
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        whole = uninterrupted(Path(name), trials)
        for who, kills, action in (
            ("driver", driver, kill_driver),
            ("workers", workers, kill_workers),
        ):
            if not kills:
                continue
            begin = time.monotonic()
            checks, history, done = action(Path(name) / who, trials, kills, sleep, chance)
            running = sum(not trial.status.finished for trial in history)
            differing = len(differing_rows(final_table(history), whole))
            values = {
                "killed": who,
                "kills": done,
                "trials": trials,
                "lost": checks.lost,
                "twice": checks.twice,
            }
            rows.append(
                values
                | {
                    "running": running,
                    "differing": differing,
                    "seconds": round(time.monotonic() - begin),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--driver", type=int, default=25)
    parser.add_argument("--workers", type=int, default=25)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--sleep", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        drive(arguments.drive, arguments.trials, arguments.sleep)
        return
    rows = measure(
        arguments.driver, arguments.workers, arguments.trials, arguments.sleep, arguments.seed
    )
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    names = list(rows[0]) if rows else []
    print(" ".join(f"{name:>9}" for name in names))
    for row in rows:
        print(" ".join(f"{row[name]!s:>9}" for name in names))


if __name__ == "__main__":
    main()
