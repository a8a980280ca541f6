"""Does crossover by content pay, beside mutation alone, and by how much?

Genetic searches that differ in the share of children of two parents alone (``adaptive = false``, so
that the share is what it says; the same seeds, so that the first cells are the same), and what the
children of each operator were worth. Simulated: the score is how unlike a cell is to the nearest of
some known cells, with noise. Real: small searches on ``char_lm``. Finished runs are kept::

    nice python benchmarks/crossover.py --seeds 5 --trials 40 --out runs/crossover
    python benchmarks/crossover.py --simulated --seeds 10 --trials 150
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections import defaultdict
from pathlib import Path

import cellsearch as cs
from cellsearch import strategies, zoo
from cellsearch.finals.statistics import holm, mean_and_deviation, permutation_test
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.reporting.operators import families, p_value, paid
from cellsearch.simulation.simulate import simulate
from cellsearch.strategies.features import distance

SHARES = (0.0, 0.3, 0.6)
TARGETS = ("lstm_peephole", "mgu", "ran", "cifg", "ugrnn", "mut1", "mut2", "mut3")
NOISE = 0.01


def landscape(space: cs.SearchSpace) -> tuple[list[str], object]:
    """The targets that the space holds, and the score of a cell: its distance to the nearest."""
    names = [n for n in TARGETS if n in zoo.names() and space.contains(zoo.load(n)) is None]
    targets = [zoo.load(name) for name in names]

    def score(genome: Genome, steps: int) -> float:
        noise = zlib.crc32(genome.key.encode()) / 2**32
        return min(distance(genome, target) for target in targets) + NOISE * noise

    return names, score


def simulated(share: float, seed: int, trials: int) -> History:
    space = cs.load_space("lstm_gru")
    _, score = landscape(space)
    strategy = strategies.create("genetic", {"crossover": share, "adaptive": False})
    return simulate(strategy, space, score, trials=trials, seed=seed)  # type: ignore[arg-type]


def real(share: float, seed: int, arguments: argparse.Namespace) -> History:
    experiment = cs.load_experiment(
        "genetic_charlm",
        {
            "seed": seed,
            "trials": arguments.trials + 2,  # LSTM and GRU
            "workers": 0,
            "max_weights": "lstm",
            "strategy_options.crossover": share,
            "strategy_options.adaptive": False,
            "training.steps": arguments.steps,
            "training.hidden_size": arguments.hidden,
            "training.evaluations": 1,
        },
    )
    with cs.Search.open(arguments.out / f"{share:g}-{seed}", experiment) as search:
        search.run(cs.InProcess())
        return cs.History(list(search.history))


def best(history: History) -> float:
    return min(trial.score for trial in history if not trial.is_baseline)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--out", type=Path, default=Path("runs/crossover"))
    arguments = parser.parse_args()
    scores: defaultdict[float, list[float]] = defaultdict(list)
    children: defaultdict[tuple[float, str], list[tuple[float, float]]] = defaultdict(list)
    begin = time.process_time()
    for seed in range(arguments.seeds):
        for share in arguments.shares:
            history = (
                simulated(share, seed, arguments.trials)
                if arguments.simulated
                else real(share, seed, arguments)
            )
            scores[share].append(best(history))
            for name, found in families(history).items():
                kind = name.partition(":")[0]
                children[share, "crossover + mutation" if kind[9:10] == "+" else kind] += found
            print(
                f"share {share:g}, seed {seed}: best {scores[share][-1]:.4f}, "
                f"{time.process_time() - begin:.0f} s of CPU so far",
                flush=True,
            )
    print_scores(scores)
    print_children(children)


def print_scores(scores: dict[float, list[float]]) -> None:
    """The best score of each search, beside mutation alone."""
    alone = scores[min(scores)]
    others = [share for share in scores if share != min(scores)]
    values = holm([permutation_test(scores[share], alone) for share in others])
    p = dict(zip(others, values, strict=True))
    print("\n| crossover | best score, mean | deviation | by seed | p |\n|---|---|---|---|---|")
    for share, found in scores.items():
        mean, deviation = mean_and_deviation(found)
        seeds = ", ".join(f"{score:.4f}" for score in found)
        against = f"{p[share]:.2f}" if share in p else "–"
        print(f"| {share:g} | {mean:.4f} | {deviation:.4f} | {seeds} | {against} |")


def print_children(children: dict[tuple[float, str], list[tuple[float, float]]]) -> None:
    """What the children of each operator were worth, all seeds together."""
    print(
        "\n| crossover | children of | number | failed | better than each parent | mean gain | p |"
    )
    print("|---|---|---|---|---|---|---|")
    for (share, kind), found in sorted(children.items()):
        if kind.startswith(("crossover", "mutate")):
            row = paid(kind, found)
            mutants = paid("mutate", children.get((share, "mutate"), []))
            p = f"{p_value(row, mutants):.2f}" if kind != "mutate" else "–"
            print(
                f"| {share:g} | {kind} | {row.tried} | {row.failed} | {row.better} "
                f"({row.share:.0%}) | {row.gain:+.4f} | {p} |"
            )


if __name__ == "__main__":
    main()
