"""Does a suite discriminate, and does each of its tasks add something? Cells of the zoo on every
task, and the tasks' rank correlations.

Each cell is trained with each seed; a cell that fails is shown as failed. Trainings are kept, so
that the script may be interrupted and cells added::

    python benchmarks/suite.py --suite long_memory --cells lstm gru rnn_tanh
    python benchmarks/suite.py --suite long_memory --seeds 1 --cells all
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from cellsearch import zoo
from cellsearch.errors import TrainingError
from cellsearch.experiment import catalog
from cellsearch.finals.statistics import mean_and_deviation
from cellsearch.job import Job, Training
from cellsearch.tasks.suite import SUITE, Suite
from cellsearch.training import Data, prepare
from cellsearch.training.results import ResultCache
from cellsearch.training.suite import train_suite

CELLS = (
    *(
        "lstm",
        "gru",
        "rnn_tanh",
        "lstm_peephole",
        "lstm_cifg",
        "lstm_nfg",
        "lstm_nog",
        "lstm_1997",
        "gru_cho",
        "mgu",
        "ran",
        "ugrnn",
    ),
    *("janet", "mingru", "minlstm", "indrnn_relu", "rnn_relu", "mut1", "star", "atr"),
)


def train(
    cell: str, suite: Suite, seeds: Sequence[int], data: Data, cache: ResultCache
) -> dict[str, list[tuple[float, float, float]]]:
    """Score, share and seconds of each seed, by task. Raises :class:`TrainingError`."""
    document = suite.to_document()
    job = Job(0, 0, zoo.load(cell).to_json(), SUITE, document, Training(), suite.steps, 0)
    job = replace(job, targets=data.targets)
    found: dict[str, list[tuple[float, float, float]]] = {
        member.name: [] for member in suite.members
    }
    for seed in seeds:
        for one in train_suite(job, data.arrays, seed=seed, cache=cache)[1]:
            found[one.member.name].append((one.result.score, one.share, one.result.seconds))
    return found


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation, equal values sharing their mean rank; NaN if all values of a side are
    equal.
    """
    ranks = [_ranks(values) for values in (a, b)]
    if any(np.ptp(r) == 0 for r in ranks):
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    data = np.asarray(values, dtype=np.float64)
    return np.array([(data < v).sum() + ((data == v).sum() + 1) / 2 for v in data])


def show(
    suite: Suite, results: Mapping[str, Mapping[str, Sequence[tuple[float, float, float]]]]
) -> None:
    names = [member.name for member in suite.members]
    print(
        "| cell | "
        + " | ".join(f"{name}: score, share" for name in names)
        + " | smallest share | seconds a seed |"
    )
    print("|---" * (len(names) + 3) + "|")
    shares = {
        cell: [float(np.mean([share for _, share, _ in rows[name]])) for name in names]
        for cell, rows in results.items()
    }
    for cell, rows in sorted(results.items(), key=lambda item: -min(shares[item[0]])):
        cells = []
        for name, share in zip(names, shares[cell], strict=True):
            mean, deviation = mean_and_deviation([score for score, _, _ in rows[name]])
            cells.append(
                f"{mean:.4f}"
                + (f" ± {deviation:.4f}" if len(rows[name]) > 1 else "")
                + f", {share:.3f}"
            )
        seconds = sum(float(np.mean([s for _, _, s in rows[name]])) for name in names)
        print(f"| {cell} | " + " | ".join(cells) + f" | {min(shares[cell]):.3f} | {seconds:.1f} |")
    if len(results) > 3:
        print(f"\nRank correlation (Spearman) of the shares over {len(results)} cells:")
        for (i, a), (j, b) in combinations(enumerate(names), 2):
            columns = [[row[k] for row in shares.values()] for k in (i, j)]
            print(f"  {a}, {b}: {spearman(*columns):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", default="long_memory")
    parser.add_argument(
        "--cells",
        nargs="+",
        default=["lstm", "gru", "rnn_tanh"],
        help='zoo cells, or "all" for twenty of them',
    )
    parser.add_argument("--seeds", type=int, default=3, help="the first so many seeds of the suite")
    parser.add_argument(
        "--cache", type=Path, help="where trainings are kept (default: the user's cache)"
    )
    arguments = parser.parse_args()
    suite = replace(catalog.load_suite(arguments.suite), stop_below=0.0)
    cache = ResultCache(arguments.cache)
    data = prepare(SUITE, suite.to_document(), cache=cache)
    results = {}
    for cell in CELLS if arguments.cells == ["all"] else arguments.cells:
        try:
            results[cell] = train(cell, suite, suite.seeds[: arguments.seeds], data, cache)
        except TrainingError as error:
            print(f"{cell} failed: {error}")
    show(suite, results)


if __name__ == "__main__":
    main()
