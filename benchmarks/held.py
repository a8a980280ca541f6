"""Are cells that a search found better where nobody searched? LSTM, GRU and the cells on data of
text, sentiment, series, music, speech, pen strokes and sentences, at equally many weights.

Usage: python benchmarks/held.py CELL... [--tasks TASK ...] [--seeds N] [--sweep-seeds N]
           [--against CELL ...] [--minutes M] [--out FILE]

CELL: a zoo name, a .cell or .json file, a run folder (its best cell), or RUN:TRIAL. The same for
every cell:

- as many weights of the cell as an LSTM of the task's hidden size has;
- a learning rate of its own: 2.5e-3, 5e-3, 1e-2 and 2e-2, then twice or half as much while the best
  is at an edge, four times at most; the mean of ``--sweep-seeds`` trainings on validation data
  decides (a failed one counts as infinite), of equal means the middle one;
- at that rate ``--seeds`` trainings with seeds 1, 2, ...; what counts is the score on the test data
  (lower is better) at the step that is best on validation data. A training that fails is the worst,
  and a cell with one has no mean and is better nowhere.

Printed: means and deviations, and of each cell against the references (LSTM and GRU unless
``--against`` names others) the exact two-sided rank test of each task, raw and after Holm's
correction for all tasks and references; mean ranks over the tasks. Trainings are kept in ``--out``,
a line each, so that the same command goes on where it stopped; ``--minutes 0`` only prints the
tables of the tasks that are whole. Rows of LSTM, GRU and the cells judged so far are in
``benchmarks/rows/held.jsonl``: give a copy as ``--out``, and only a new cell has to be trained. A
cell is known there by its label, so judge one from a file of its own name. Data in CELLSEARCH_DATA,
or in ``../shared/data`` beside the checkout.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fitness import OPTIONS, equal_size
from trainings import Results, Row, find_data, reached

from cellsearch import tasks
from cellsearch.errors import InputFileError
from cellsearch.finals.ranks import mid_ranks
from cellsearch.finals.statistics import holm, mean_and_deviation, rank_test, superiority
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Training
from cellsearch.runs.locate import locate

Finals = tuple[float, list[float]]
TASKS: dict[str, dict[str, Any]] = {
    "japanese_vowels": {"steps": 250},
    "sunspots": {"steps": 400},
    "pen_digits": {"steps": 800, "batch_size": 64},
    "sentiment": {"steps": 200, "dropout": 0.2},
    "jsb": {"steps": 300},
    "tiny_shakespeare": {"steps": 600, "tbptt": 32, "batch_size": 16},
    "spoken_digits": {"steps": 200},
    "etth1": {"steps": 200},
    "translation": {"steps": 500},
}
FURTHER: dict[str, dict[str, Any]] = {
    "time_machine": {"steps": 400, "tbptt": 32, "batch_size": 16},
    "mnist1d": {"steps": 800, "batch_size": 64},
}
"""Judged where ``--tasks`` asks for them only: at the nine, cells were known before."""
SIZES = {"jsb": 48, "tiny_shakespeare": 48, "translation": 64}
"""Hidden size of the LSTM; 32 elsewhere."""
RATES = (2.5e-3, 5e-3, 1e-2, 2e-2)
REFERENCES = ("lstm", "gru")


class TimeIsUp(Exception):
    """No further training is to be started."""


class Judge:
    """Trains what is not there yet, starting nothing after ``end`` (of the monotonic clock)."""

    def __init__(
        self, cells: Mapping[str, Genome], results: Results, end: float, sweep_seeds: int
    ) -> None:
        self.cells, self.results, self.end = cells, results, end
        self.sweep_seeds = (0, *range(101, 100 + sweep_seeds))
        self._loaded: tuple[str, Any] = ("", None)

    def train(self, cell: str, task: str, what: str, rate: float, seed: int) -> Row:
        """One training, unless it is there already."""
        key = {"cell": cell, "task": task, "what": what, "rate": rate, "seed": seed}
        for row in self.results.rows:
            if all(row[name] == value for name, value in key.items()):
                return row
        if time.monotonic() >= self.end:
            raise TimeIsUp
        genome, options = self.cells[cell], OPTIONS.get(task, {})
        size = equal_size(genome, 16, SIZES.get(task, 32))
        how = Training(
            **(TASKS | FURTHER)[task], hidden_size=size, learning_rate=rate, evaluations=6
        )
        job = Job(0, 0, genome.to_json(), task, options, how, how.steps, seed, test=True)
        if self._loaded[0] != task:
            self._loaded = task, tasks.get(task).load(options)
        row = {**key, **reached(job, self._loaded[1])}
        self.results.add(row)
        return row

    def rate(self, cell: str, task: str) -> float:
        """The learning rate with the best validation score, sought until it is inside."""
        score = {rate: self._swept(cell, task, rate) for rate in RATES}
        for _ in range(4):
            best = _best(score)
            if min(score) < best < max(score):
                break
            further = best / 2 if best == min(score) else best * 2
            score[further] = self._swept(cell, task, further)
        return _best(score)

    def _swept(self, cell: str, task: str, rate: float) -> float:
        rows = [self.train(cell, task, "sweep", rate, seed) for seed in self.sweep_seeds]
        return math.fsum(_score(row, "score") for row in rows) / len(rows)

    def finals(self, cell: str, task: str, seeds: int) -> Finals:
        """The chosen rate and the test scores, one a seed; infinity is a training that failed."""
        rate = self.rate(cell, task)
        rows = [self.train(cell, task, "final", rate, seed) for seed in range(1, seeds + 1)]
        return rate, [_score(row, "test") for row in rows]


def _best(scores: Mapping[float, float]) -> float:
    """The rate with the least score; of several, the middle one. A validation set of 54 utterances
    is often without an error, and the least of such rates would be a rate that learns nothing else.
    """
    least = min(scores.values())
    tied = sorted(rate for rate, score in scores.items() if score == least)
    return tied[len(tied) // 2]


def _score(row: Row, which: str) -> float:
    return value if math.isfinite(value := row.get(which, math.inf)) else math.inf


def tables(
    found: Mapping[str, Mapping[str, Finals]], references: Sequence[str] = REFERENCES
) -> str:
    """The tables over the tasks that are whole: task -> cell -> (rate, test scores)."""
    cells = list(next(iter(found.values())))
    lines = [f"| task | {' | '.join(cells)} |", "|---" * (len(cells) + 1) + "|"]
    places = []
    for task, of in found.items():
        lines.append(f"| {task} | {' | '.join(_shown(*of[cell]) for cell in cells)} |")
        places.append(mid_ranks([_place(of[cell][1]) for cell in cells]))
    means = [math.fsum(column) / len(places) for column in zip(*places, strict=True)]
    lines.append(f"| mean rank | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    for cell in cells:
        if cell not in references:
            lines += ["", *_against(cell, found, references)]
    return "\n".join(lines)


def _against(
    cell: str, found: Mapping[str, Mapping[str, Finals]], references: Sequence[str]
) -> Sequence[str]:
    pairs = [(task, name) for task in found for name in references]
    raw = [rank_test(found[task][cell][1], found[task][name][1]) for task, name in pairs]
    lines = [
        f"| {cell} against | p | p (Holm, {len(pairs)} tests) | superiority | verdict |",
        "|---|---|---|---|---|",
    ]
    for (task, name), p, q in zip(pairs, raw, holm(raw), strict=True):
        ours = found[task][cell][1]
        share = float(superiority(ours, found[task][name][1]))
        word = "worse" if share < 0.5 else "failed" if math.inf in ours else "better"
        word = "equal within noise" if p > 0.05 else word + ", raw" * (q > 0.05)
        lines.append(f"| {name}, {task} | {p:.4f} | {q:.4f} | {share:.2f} | {word} |")
    return lines


def _place(scores: Sequence[float]) -> tuple[int, float]:
    failed = scores.count(math.inf)
    return failed, 0.0 if failed else mean_and_deviation(scores)[0]


def _shown(rate: float, scores: Sequence[float]) -> str:
    if failed := scores.count(math.inf):
        return f"{failed} of {len(scores)} failed"
    mean, deviation = mean_and_deviation(scores)
    return f"{mean:.4f} ± {deviation:.4f} ({rate:g})"


def main() -> None:
    """Train what is asked for and not there yet, then print the tables of what is whole."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", metavar="CELL")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=[*TASKS, *FURTHER])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--sweep-seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/held.jsonl"))
    parser.add_argument("--against", nargs="+", default=list(REFERENCES), metavar="CELL")
    parser.add_argument("--minutes", type=float, default=math.inf)
    arguments = parser.parse_args()
    find_data()
    references = {one.label: one.genome for one in map(locate, arguments.against)}
    cells = references | {one.label: one.genome for one in map(locate, arguments.cells)}
    end = time.monotonic() + 60 * arguments.minutes
    judge = Judge(cells, Results(arguments.out), end, arguments.sweep_seeds)
    found: dict[str, dict[str, Finals]] = {}
    left = []
    for task in arguments.tasks:
        try:
            found[task] = {cell: judge.finals(cell, task, arguments.seeds) for cell in cells}
        except TimeIsUp:
            left.append(task)
        except InputFileError as error:
            raise SystemExit(f"data are missing: {error}") from error
    print(f"not whole, the same command goes on from here: {', '.join(left) or 'none'}\n")
    if found:
        failed = sum("failed" in row for row in judge.results.rows)
        print(tables(found, list(references)))
        print(f"\n{failed} of {len(judge.results.rows)} trainings failed")


if __name__ == "__main__":
    main()
