"""Which cells track a state? Three questions, each a table; every training is kept in the cache, so
that the same command goes on after an interruption::

    python benchmarks/state_tracking.py s3
    python benchmarks/state_tracking.py a5
    python benchmarks/state_tracking.py zoo

``s3``: is there an elementwise cell that solves the word problem of S3 at length 1024? Cells of the
class "elementwise" (unit k of the next states depends on unit k of the previous ones only), five
seeds, trained on 2 to 25 elements. The cell ``pair_state`` is built by hand: S3 moves three points;
three corners of the square (h, c) are affinely independent, so that any map of three points to
corners is two threshold functions of (h, c), and which map is said by the input.

``a5``: the smallest cell that solves the word problem of A5 at length 100 with five seeds of five.
``factor_norm`` multiplies what it reads with what it remembers, in factored form, and normalises.

``zoo``: twenty cells of the zoo on S3, A5, the walk on a circle and arithmetic modulo 5, at equal
width, in short trainings: what is learned quickly, not what can be learned at all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar

from cellsearch import zoo
from cellsearch.benchmark import Contestant, run_benchmark
from cellsearch.benchmark.algorithmic import AlgorithmicBenchmark, AlgorithmicOptions, Problem
from cellsearch.benchmark.base import ExerciseResult
from cellsearch.benchmark.formal import StateTrackingBenchmark
from cellsearch.executors.in_process import InProcess
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import recurrence_class

PAIR_STATE = """
h[t] = tanh(linear(x[t]) * h[t-1] + linear(x[t]) * c[t-1] + linear(x[t]))
c[t] = tanh(linear(x[t]) * h[t-1] + linear(x[t]) * c[t-1] + linear(x[t]))
"""
FACTOR_NORM = "h[t] = layer_norm(linear(linear(x[t]) * linear(h[t-1])))\n"
ZOO = (
    *("rnn_tanh", "rnn_relu", "lstm", "gru", "mgu", "ran", "janet", "mut1", "ugrnn", "slstm"),
    *("mrnn", "mi_rnn", "lem", "rhn", "rg_lru", "indrnn_relu", "indylstm", "mingru", "sru_v1"),
    "brc",
)


class FarS3(AlgorithmicBenchmark):
    """The word problem of S3 far beyond training."""

    name: ClassVar[str] = "far_s3"
    summary: ClassVar[str] = "S3 at length 1024"
    source: ClassVar[str] = StateTrackingBenchmark.source
    questions: ClassVar[Mapping[str, Problem]] = {
        "s3 at 1024": Problem("group_word", {"group": "s3", "test_lengths": [100, 1024]}, "last")
    }


def say(finding: ExerciseResult) -> None:
    exercise, result = finding.exercise, finding.result
    known = ", known" if finding.known else ""
    what = "failed" if result is None else f"{result.metrics['test_metric']:.4f}"
    if result is not None:
        what += f", {result.cell_parameters:,} of {result.parameters:,} weights"
    print(
        f"{exercise.cell} H {exercise.training.hidden_size} on {exercise.problem}, seed "
        f"{exercise.seed}: {what}{known}",
        file=sys.stderr,
        flush=True,
    )


def show(benchmark: AlgorithmicBenchmark, cells: Sequence[Contestant]) -> None:
    with InProcess() as executor:
        report = run_benchmark(benchmark, cells, executor, None, say)
    for table in report.tables:
        print(f"\n{table.title}\n\n| {' | '.join(table.headers)} |")
        print(f"|{'---|' * len(table.headers)}")
        print("\n".join(f"| {' | '.join(row)} |" for row in table.rows), flush=True)


def from_zoo(names: Sequence[str]) -> list[Contestant]:
    return [Contestant(name, zoo.load(name)) for name in names]


def s3() -> None:
    cells = [Contestant("pair_state", Genome.from_text(PAIR_STATE))]
    cells += from_zoo(["indylstm"])
    assert all(recurrence_class(cell.genome) == "elementwise" for cell in cells)
    options = AlgorithmicOptions(
        seeds=5, rates=(1e-2,), hidden=8, steps=1500, batch_size=32, evaluations=3
    )
    show(FarS3(options), cells)


def a5(hidden: Sequence[int], seeds: int, steps: int, evaluations: int) -> None:
    cells = [Contestant("factor_norm", Genome.from_text(FACTOR_NORM))]
    for size in hidden:
        options = AlgorithmicOptions(
            seeds=seeds,
            rates=(1e-2,),
            hidden=size,
            steps=steps,
            batch_size=64,
            evaluations=evaluations,
            tasks=("a5",),
        )
        show(StateTrackingBenchmark(options), cells)


def twenty(cells: Sequence[str]) -> None:
    options = AlgorithmicOptions(
        seeds=1,
        rates=(1e-2,),
        hidden=32,
        steps=500,
        batch_size=32,
        evaluations=2,
        tasks=("s3", "a5", "cycle_navigation", "modular_arithmetic"),
    )
    show(StateTrackingBenchmark(options), from_zoo(cells))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("question", choices=["s3", "a5", "zoo"])
    parser.add_argument("--hidden", type=int, nargs="+", default=[32], help="sizes for a5")
    parser.add_argument("--seeds", type=int, default=5, help="for a5")
    parser.add_argument("--steps", type=int, default=6000, help="for a5")
    parser.add_argument("--evaluations", type=int, default=12, help="for a5")
    parser.add_argument("--cells", nargs="+", default=list(ZOO), help="for zoo")
    arguments = parser.parse_args()
    if arguments.question == "s3":
        s3()
    elif arguments.question == "a5":
        a5(arguments.hidden, arguments.seeds, arguments.steps, arguments.evaluations)
    else:
        twenty(arguments.cells)


if __name__ == "__main__":
    main()
