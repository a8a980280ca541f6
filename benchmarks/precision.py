"""Is it safe to rank cells by trainings in bf16? 60 cells, each trained three times: in float32
with two seeds, and in bf16 with the first of them.

Usage: python benchmarks/precision.py [--tasks char_lm standard] [--cells N] [--workers N]
           [--minutes M] [--steps N] [--out FILE] [--table]

Every second cell is of the zoo, the others are found ones and random ones of three search spaces;
any first part of them is mixed alike. Budgets are small: the question is whether a search would
decide otherwise, and a search decides on small budgets. Results go into a file, one line a
training; the same command goes on where it stopped, and what failed stays failed and counts as the
worst. ``benchmarks/rows/precision_char_lm.jsonl`` and ``precision_standard.jsonl`` beside it are
such files, trained on an AMD Zen 5 with products by AVX512-BF16, about two minutes each (``--tasks
standard --out benchmarks/rows/precision_standard.jsonl --table`` prints what the second says).

Printed for each task, for float32 against bf16 with equal seeds, and for float32 with two seeds:

- Spearman's and Kendall's (tau-b) rank correlation, with the interval that holds 95 % of 2,000
  resamples of the cells (bootstrap, Efron 1979).
- How often the best of ten changes: of 2,000 drawn tens, in how many the best cell is another one.
- The median of the difference of a cell's two scores, as a share of the first.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from correlation import spearman
from numpy.typing import NDArray

from cellsearch import Genome, zoo
from cellsearch.errors import CellsearchError, TrainingError
from cellsearch.experiment.catalog import load_suite
from cellsearch.job import Job, Training
from cellsearch.tasks.suite import SUITE, Suite

CHAR_LM = Training(steps=200, hidden_size=64, tbptt=32, learning_rate=8e-3, evaluations=1)
SHARE = 0.05
"""Of the steps of the suite ``standard``."""
TASKS = ("char_lm", "standard")
ARMS = (("float32", 1), ("float32", 2), ("bf16", 1))
PAIRS = ((ARMS[0], ARMS[2]), (ARMS[0], ARMS[1]), (ARMS[1], ARMS[2]))
SPACES = ("tiny", "single_state", "lstm_gru")
DRAWS, TEN = 2000, 10
Scores = NDArray[np.float64]


class Asked(NamedTuple):
    """One training."""

    task: str
    cell: str
    precision: str
    seed: int


# -- what is trained -------------------------------------------------------------------------------


def cells(count: int = 60) -> dict[str, Genome]:
    """The cells by name, in an order in which each first part is mixed alike."""
    published = [name for name in zoo.names() if zoo.load(name).inputs == ("x",)]
    order = np.random.default_rng(17).permutation(len(published))
    known = iter([published[k] for k in order])
    others = drawn()
    found: dict[str, Genome] = {}
    while len(found) < count:
        name = next(known)
        found[name] = zoo.load(name)
        if len(found) < count:
            name, genome = next(others)
            found[name] = genome
    return found


def drawn() -> Iterator[tuple[str, Genome]]:
    """Found cells, then random ones."""
    from cellsearch.experiment.catalog import SPACES as KIND
    from cellsearch.experiment.catalog import find
    from cellsearch.space import SearchSpace

    for path in sorted((Path(zoo.__file__).parent / "found").glob("*.cell")):
        yield f"found {path.stem}", Genome.from_text(path.read_text("utf-8"))
    spaces = [(name, SearchSpace.from_toml(find(KIND, name).text)) for name in SPACES]
    rng = np.random.default_rng(17)
    number = 0
    while True:
        name, space = spaces[number % len(spaces)]
        number += 1
        yield f"{name} {number}", space.sample(rng)


def job_of(asked: Asked, genome: Genome, steps: int) -> Job:
    """``steps``: of char_lm; the suite takes :data:`SHARE` of its own."""
    if asked.task == "char_lm":
        training = replace(CHAR_LM, steps=steps, precision=asked.precision)
        options: dict[str, Any] = {"valid_tokens": 8192}
        return Job(0, 0, genome.to_json(), "char_lm", options, training, steps, asked.seed)
    document = load_suite(asked.task).to_document()
    document["training"] = {**document["training"], "precision": asked.precision}
    suite = Suite.parse({**document, "reference": "perfect"})
    share = round(SHARE * suite.steps)
    targets = (0.0,) * len(suite.members)
    options = suite.to_document()
    return Job(0, 0, genome.to_json(), SUITE, options, Training(), share, 0, targets=targets)


def train(asked: Asked, genome: str, steps: int) -> dict[str, Any]:
    """One training in a process of its own."""
    import torch

    from cellsearch import training
    from cellsearch.training.suite import train_suite

    torch.set_num_threads(1)
    job = job_of(asked, Genome.from_json(genome), steps)
    row: dict[str, Any] = asked._asdict()
    started = time.process_time()
    try:
        arrays = training.prepare(job.task, job.task_options).arrays
        if job.task == SUITE:
            result, _ = train_suite(job, arrays, seed=asked.seed)
        else:
            result = training.evaluate(job, arrays)
        row["score"] = result.score
    except TrainingError as error:
        row["failure"] = f"{error.kind}: {error.message}"
    return {**row, "seconds": round(time.process_time() - started, 2)}


def read(path: Path) -> dict[Asked, dict[str, Any]]:
    """What is in the file of results."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {Asked(*(row[name] for name in Asked._fields)): row for row in rows}


def go_on(path: Path, asked: Sequence[Asked], steps: int, workers: int, minutes: float) -> None:
    """Train what is not in the file yet."""
    done, genomes = read(path), cells()
    todo = [one for one in asked if one not in done]
    end = time.monotonic() + 60 * minutes
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,
        path.open("a", encoding="utf-8") as file,
    ):
        running = set()
        for one in todo:
            if time.monotonic() > end:
                break
            running.add(pool.submit(train, one, genomes[one.cell].to_json(), steps))
            if len(running) >= workers:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                write(file, ended)
        write(file, wait(running).done)


def write(file: Any, ended: Any) -> None:
    for future in ended:
        file.write(json.dumps(future.result()) + "\n")
        file.flush()


# -- what is said of it ----------------------------------------------------------------------------


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Tau-b: pairs in equal order minus pairs in opposite order, ties counted out; 0 where one side
    is all the same. Infinite scores are equal.
    """
    x, y = (np.sign(_differences(found)) for found in (a, b))
    norm = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / norm if norm else 0.0


def _differences(scores: Sequence[float]) -> Scores:
    array = np.asarray(scores, np.float64)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(array[:, None] - array[None, :], nan=0.0)


def interval(
    statistic: Callable[[Scores, Scores], float], a: Scores, b: Scores
) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles over resampled cells."""
    rng = np.random.default_rng(0)
    found = [statistic(a[k], b[k]) for k in rng.integers(len(a), size=(DRAWS, len(a)))]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def changes(a: Scores, b: Scores) -> float:
    """In which share of drawn tens the best cell by one score is not the best by the other."""
    rng = np.random.default_rng(0)
    tens = [rng.permutation(len(a))[:TEN] for _ in range(DRAWS)]
    return float(np.mean([a[ten].argmin() != b[ten].argmin() for ten in tens]))


def compared(a: Scores, b: Scores) -> list[str]:
    """The figures of a row of the table."""
    found = []
    for statistic in (spearman, kendall):
        low, high = interval(statistic, a, b)
        found.append(f"{statistic(a, b):.3f} ({low:.2f} to {high:.2f})")
    both = np.isfinite(a) & np.isfinite(b)
    share = np.median(np.abs(b[both] - a[both]) / np.abs(a[both])) if both.any() else math.nan
    return [*found, f"{changes(a, b):.0%}", f"{share:.2%}"]


def table(rows: dict[Asked, dict[str, Any]], tasks: Sequence[str]) -> str:
    """Markdown, of the cells that have all three trainings, whichever they are: the zoo grows."""
    lines = [
        "| task | cells | compared | Spearman (95 %) | Kendall (95 %) | best of ten changes | "
        "score differs, median | failed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in tasks:
        trained = dict.fromkeys(one.cell for one in rows if one.task == task)
        names = [c for c in trained if all(Asked(task, c, *arm) in rows for arm in ARMS)]
        if len(names) < TEN:
            lines.append(f"| {task} | {len(names)} | at least {TEN} are needed | | | | | |")
            continue
        scores = {
            arm: np.array([rows[Asked(task, c, *arm)].get("score", math.inf) for c in names])
            for arm in ARMS
        }
        for one, other in PAIRS:
            what = " against ".join(f"{precision} seed {seed}" for precision, seed in (one, other))
            failed = [str(int(np.isinf(scores[arm]).sum())) for arm in (one, other)]
            figures = compared(scores[one], scores[other])
            lines.append(
                f"| {task} | {len(names)} | {what} | {' | '.join(figures)} | "
                f"{' and '.join(failed)} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Train what is asked for and not there yet, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=CHAR_LM.steps, help="of char_lm")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"])
    parser.add_argument("--out", type=Path, default=Path("runs/precision.jsonl"))
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after them")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    names = list(cells(arguments.cells))
    asked = [
        Asked(task, cell, *arm)
        for task in arguments.tasks
        for cell in names
        for arm in ARMS
        if arm[0] in arguments.precisions
    ]
    if not arguments.table:
        go_on(arguments.out, asked, arguments.steps, arguments.workers, arguments.minutes)
    print(table(read(arguments.out), arguments.tasks))


if __name__ == "__main__":
    try:
        main()
    except CellsearchError as error:
        raise SystemExit(f"error: {error}") from None
