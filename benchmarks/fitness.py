"""Does the score of a search foretell how good a cell is elsewhere? Rank correlation between what a
search sees and the mean rank on tasks that it does not see.

Usage: python benchmarks/fitness.py [--cells N] [--minutes M] [--out FILE] [--table]
           [--held-out TASK ...]

Cells: of the zoo, random ones of the space ``lstm_gru``, and zoo cells after one to three
mutations, in turn, the same at every call. Each is trained

- as a search on one task scores it: ``char_lm``, 300 steps, H = 64, one rate (the experiments
  ``*_charlm``);
- as a search on the suite ``broad`` scores it: six generated or shipped tasks at two rates;
- on held-out tasks, whose data none of the two has seen, at equally many weights of the cell (those
  of an LSTM with H = 24), at two rates, of which validation chooses; what counts is the score on
  the test data. A training that fails is the worst.

Trainings are kept in ``--out``, a line each, so that the same command goes on where it stopped.
Printed: Spearman's correlation of each score with the mean rank on the held-out tasks, over the
cells that have everything, with the 95 % interval of 2,000 bootstrap samples of cells, also within
the better half of them (where a search has to choose), and the core seconds that each score costs.
Data in CELLSEARCH_DATA, or in ``../shared/data`` beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from correlation import ranks, spearman
from trainings import Results, Row, find_data, reached

from cellsearch import tasks, zoo
from cellsearch.errors import InputFileError
from cellsearch.experiment import catalog
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import parameter_count
from cellsearch.job import Job, Result, Training
from cellsearch.tasks.suite import Suite
from cellsearch.training.shares import OneTraining, fitness, share, task_share
from cellsearch.training.suite import member_job

Key = tuple[str, str, float]
SINGLE = Training(steps=300, hidden_size=64, learning_rate=1e-2)
"""As in the experiments ``*_charlm``."""
HELD_OUT: dict[str, dict[str, Any]] = {
    "japanese_vowels": {"steps": 120},
    "sunspots": {"steps": 200},
    "pen_digits": {"steps": 400, "batch_size": 64},
    "sentiment": {"steps": 120},
    "tiny_shakespeare": {"steps": 250, "tbptt": 32, "batch_size": 16},
    "jsb": {"steps": 150},
    "spoken_digits": {"steps": 120},
    "etth1": {"steps": 120},
}
OPTIONS: dict[str, dict[str, Any]] = {"tiny_shakespeare": {"valid_tokens": 8192}}
RATES = (5e-3, 2e-2)
REFERENCE_SIZE = 24
ZOO = (
    *("lstm", "gru", "rnn_tanh", "mgu", "ran", "lem", "rnn_relu", "janet", "minlstm", "lstm_cifg"),
    *("ugrnn", "star", "indrnn_relu", "lstm_nfg", "mut1", "atr", "fastgrnn", "mingru", "nbrc"),
    *("scrn", "cfn", "lstm_peephole", "mut3", "gru_cho", "rhn", "lstm_nig", "light_ru", "qrnn_f"),
)


def cells(count: int) -> dict[str, Genome]:
    """So many cells by name: of the zoo, random, mutated, in turn."""
    space = catalog.load_space("lstm_gru")
    rng = np.random.default_rng(20)
    bred = [zoo.load(name) for name in ZOO if space.contains(zoo.load(name)) is None]
    found: dict[str, Genome] = {}
    for k in range(count):
        if k % 3 == 0 and k // 3 < len(ZOO):
            found[ZOO[k // 3]] = zoo.load(ZOO[k // 3])
        elif k % 3 == 1:
            found[f"random {k}"] = space.sample(rng)
        else:
            genome = bred[int(rng.integers(len(bred)))]
            for _ in range(int(rng.integers(1, 4))):
                genome = space.mutate(genome, rng)
            found[f"mutated {k}"] = genome
    return found


def equal_size(genome: Genome, inputs: int, reference: int = REFERENCE_SIZE) -> int:
    """The hidden size at which a cell has as many weights as an LSTM with so many units."""

    def weights(cell: Genome, hidden: int) -> int:
        return parameter_count(cell, inputs, hidden)

    wanted = weights(zoo.load("lstm"), reference)
    return min(
        range(4, 4 * reference + 1), key=lambda hidden: abs(weights(genome, hidden) - wanted)
    )


class Work:
    """The trainings that there are to do, with their data."""

    def __init__(self, held_out: Sequence[str]) -> None:
        self.suite: Suite = catalog.load_suite("broad")
        self.held_out = held_out
        self._arrays: dict[str, Any] = {}

    def parts(self, genome: Genome) -> dict[tuple[str, float], Callable[[], Job]]:
        """What is trained of a cell, by part and rate."""
        text = genome.to_json()
        whole = Job(0, 0, text, "char_lm", {}, SINGLE, SINGLE.steps, 1)
        found: dict[tuple[str, float], Callable[[], Job]] = {("single", 1.0): lambda: whole}
        for member in self.suite.members:
            for rate in self.suite.rates_of(member):
                found[f"broad {member.name}", rate] = lambda m=member, r=rate: member_job(
                    replace(whole, steps=self.suite.steps), self.suite, m, 1, rate=r
                )
        for task in self.held_out:
            for rate in RATES:
                found[f"held {task}", rate] = lambda t=task, r=rate: self._held(whole, genome, t, r)
        return found

    def _held(self, whole: Job, genome: Genome, task: str, rate: float) -> Job:
        training = Training(
            **HELD_OUT[task],
            hidden_size=equal_size(genome, 16),
            learning_rate=rate,
            evaluations=4,
        )
        options = OPTIONS.get(task, {})
        return replace(
            whole, task=task, task_options=options, training=training, steps=training.steps,
            test=True,
        )  # fmt: skip

    def train(self, job: Job) -> Row:
        """One training, as plain data."""
        key = json.dumps([job.task, dict(job.task_options)], sort_keys=True)
        if key not in self._arrays:
            self._arrays[key] = tasks.get(job.task).load(job.task_options)
        return reached(job, self._arrays[key])


def go_on(results: Results, work: Work, count: int, minutes: float) -> None:
    """Train what is not there yet, one cell after the other, starting none after ``minutes``."""
    end = time.monotonic() + 60 * minutes
    done = {(row["cell"], row["part"], row["rate"]) for row in results.rows}
    for name, genome in cells(count).items():
        left = {k: make for k, make in work.parts(genome).items() if (name, *k) not in done}
        for (part, rate), make in left.items():
            if time.monotonic() >= end:
                print("the time is up; the same command goes on from here")
                return
            results.add({"cell": name, "part": part, "rate": rate, **work.train(make())})
        if left:
            print(f"{name} is done", flush=True)


def broad_score(
    suite: Suite, rows: Mapping[Key, Row], cell: str, targets: Sequence[float]
) -> float:
    """The score of the suite, 1 - fitness; infinity where every training diverged."""
    shares, failed = [], True
    for member, target in zip(suite.members, targets, strict=True):
        trainings = []
        for rate in suite.rates_of(member):
            row = rows[cell, f"broad {member.name}", rate]
            value = (
                share(member.chance, row["score"], target, member.name) if "score" in row else 0.0
            )
            result = Result(row["score"], math.nan, 0, 0.0, 0, 0) if "score" in row else None
            failed = failed and "failed" in row
            trainings.append(OneTraining(rate, 1, value, result))
        shares.append(task_share(suite, trainings))
    return math.inf if failed else 1.0 - fitness(suite, shares)


def held_out_ranks(rows: Mapping[Key, Row], names: Sequence[str], held_out: Sequence[str]) -> Any:
    """The rank of each cell at each held-out task ``[tasks, cells]``, 0 for the best: test score at
    the rate that validation chooses.
    """
    table = []
    for task in held_out:
        scores = []
        for name in names:
            tried = [rows[name, f"held {task}", rate] for rate in RATES]
            best = min(tried, key=lambda row: row.get("score", math.inf))
            scores.append(best["test"] if "score" in best else math.inf)
        table.append(ranks(scores))
    return np.array(table)


def interval(
    a: Sequence[float],
    b: Sequence[float],
    less: Sequence[float] | None = None,
    samples: int = 2000,
) -> tuple[float, float]:
    """The middle 95 % of Spearman's correlation over bootstrap samples of cells; with ``less`` of
    what is left when its correlation with ``b`` is taken off.
    """
    rng = np.random.default_rng(0)
    x, y = np.array(a), np.array(b)
    found = []
    for _ in range(samples):
        drawn = rng.integers(0, len(x), len(x))
        ends = y[drawn].tolist()
        rho = spearman(x[drawn].tolist(), ends)
        found.append(rho if less is None else rho - spearman(np.array(less)[drawn].tolist(), ends))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def gains(scores: Mapping[str, Sequence[float]], final: Sequence[float]) -> list[str]:
    """How much more each score correlates than the first one, of all cells and of those that did
    not fail as the first.
    """
    (first, single), *others = scores.items()
    lines = []
    for what, kept in (
        ("all cells", list(range(len(final)))),
        (f"those that trained as {first}", [k for k, s in enumerate(single) if math.isfinite(s)]),
    ):
        base, ends = [single[k] for k in kept], [final[k] for k in kept]
        for label, every in others:
            values = [every[k] for k in kept]
            low, high = interval(values, ends, base)
            lines.append(
                f"{label} against {first}, {what} ({len(kept)}): {spearman(values, ends):.2f} and "
                f"{spearman(base, ends):.2f}, difference {low:.2f} to {high:.2f}"
            )
    return lines


def show(results: Results, work: Work, count: int) -> str:
    """The tables, over the cells that have everything."""
    rows: dict[Key, Row] = {(row["cell"], row["part"], row["rate"]): row for row in results.rows}
    every = cells(count)
    names = [name for name in every if all((name, *key) in rows for key in work.parts(every[name]))]
    if len(names) < 4 or not {"lstm", "gru"} <= set(names):
        return f"{len(names)} cells have everything; four are the least, LSTM and GRU among them"
    suite = work.suite
    targets = [
        min(
            rows[cell, f"broad {member.name}", rate].get("score", math.inf)
            for cell in ("lstm", "gru")
            for rate in suite.rates_of(member)
        )
        for member in suite.members
    ]
    held = held_out_ranks(rows, names, work.held_out)
    final = held.mean(axis=0)
    best = replace(suite, over_rates="best")
    scores: dict[str, list[float]] = {
        "char_lm, one training": [rows[n, "single", 1.0].get("score", math.inf) for n in names],
        "broad": [broad_score(suite, rows, name, targets) for name in names],
        "broad, best rate": [broad_score(best, rows, name, targets) for name in names],
    }
    seconds = {
        label: float(np.mean([sum(
            row["seconds"] for (cell, part, _), row in rows.items()
            if cell == name and part.startswith(prefix)) for name in names]))
        for label, prefix in (("char_lm, one training", "single"), ("broad", "broad"))
    }  # fmt: skip
    seconds["broad, best rate"] = seconds["broad"]
    tasks_ = ", ".join(work.held_out)
    lines = [
        f"{len(names)} cells; held out: {tasks_}",
        "",
        "| score | Spearman with held-out rank | 95 % | better half | core seconds a cell |",
        "|---|---|---|---|---|",
    ]
    half = np.argsort(final)[: (len(names) + 1) // 2]
    for label, values in scores.items():
        low, high = interval(values, final.tolist())
        within = spearman([values[k] for k in half], [float(final[k]) for k in half])
        rho = spearman(values, final.tolist())
        lines.append(
            f"| {label} | {rho:.2f} | {low:.2f} to {high:.2f} | {within:.2f} "
            f"| {seconds[label]:.1f} |"
        )
    lines += ["", *gains(scores, final.tolist())]
    if len(held) > 1:
        others = [np.delete(held, k, axis=0).mean(axis=0).tolist() for k in range(len(held))]
        said = ", ".join(
            f"{task} {spearman(own.tolist(), rest):.2f}"
            for task, own, rest in zip(work.held_out, held, others, strict=True)
        )
        lines += ["", f"Each held-out task with the mean rank on the others: {said}"]
    lines.append("")
    lines += ["| cell | mean held-out rank | char_lm | broad |", "|---|---|---|---|"]
    for k in np.argsort(final):
        lines.append(
            f"| {names[k]} | {final[k] + 1:.1f} | {scores['char_lm, one training'][k]:.3f} "
            f"| {scores['broad'][k]:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for and not there yet, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--held-out", nargs="+", default=list(HELD_OUT), choices=list(HELD_OUT))
    parser.add_argument("--out", type=Path, default=Path("runs/fitness.jsonl"))
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    find_data()
    work, results = Work(arguments.held_out), Results(arguments.out)
    if not arguments.table:
        try:
            go_on(results, work, arguments.cells, arguments.minutes)
        except InputFileError as error:
            raise SystemExit(f"data are missing: {error}") from error
    print(show(results, work, arguments.cells))


if __name__ == "__main__":
    main()
