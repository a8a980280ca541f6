"""What is left of a cell with all connections? Sub-cells of the full cell and of the cell of parts,
drawn at random, made discrete and trained from scratch; and whether the loss with the weights that
they have in the trained supernet says which of them are good.

English text (char_lm), 300 steps, H = 64, space lstm_gru: the training of experiments/*_charlm::

    python benchmarks/subcells.py --cells 26
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from correlation import spearman

import cellsearch as cs
from cellsearch.errors import SpaceError, TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.space import SearchSpace
from cellsearch.strategies.parts import CellParts, _drawn
from cellsearch.strategies.prune import _take
from cellsearch.training import evaluate, prepare
from cellsearch.training.connections import _loss, connection_weights
from cellsearch.training.loop import _Run

SIZES = (14, 18, 22, 26, 30, 34)
"""Connections that a sub-cell of the full cell keeps at most."""


def draw(space: SearchSpace, start: str, count: int, rng: np.random.Generator) -> list[Genome]:
    """Sub-cells with gates whose discrete forms are legal."""
    found: list[Genome] = []
    while len(found) < count:
        try:
            if start == "full":
                cell = space.full()
                names = rng.permutation(space.connections(cell)).tolist()
                kept = SIZES[len(found) % len(SIZES)]
                smaller = _take(space, cell, names[: len(names) - kept])
            else:
                parts = CellParts.of(space)
                even = dict.fromkeys(parts.names, 0.5)
                smaller = space.remove(parts.cell, _drawn(parts, even, rng))
            space.discrete(smaller)
        except SpaceError:
            continue
        found.append(smaller)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=26)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    declared = cs.load_experiment("random_charlm", {"baselines": []})
    data, space = prepare(declared.task, declared.task_options), declared.space
    rng = np.random.default_rng(arguments.seed)

    def job(genome: Genome) -> Job:
        settings = declared.training
        options = dict(declared.task_options)
        return Job(0, 0, genome.to_json(), declared.task, options, settings, settings.steps, 1)

    def score(genome: Genome) -> float:
        try:
            return evaluate(job(genome), data.arrays).score
        except TrainingError:
            return float("inf")

    print("| | supernet | diverged | below 3 bits | below 2.2 | best | rank correlation |")
    print("|---|---|---|---|---|---|---|")
    for start, cell in (("full", space.full()), ("parts", space.parts_cell())):
        torch.manual_seed(1)
        run = _Run(job(cell), cell, data.arrays)
        supernet = run.train(None, None).score
        weights = connection_weights(cell, run.layer)
        smaller = draw(space, start, arguments.cells, rng)
        inherited = [loss_of(run, weights, set(space.connections(one))) for one in smaller]
        scores = np.array([score(space.discrete(one)) for one in smaller])
        correlation = spearman(inherited, scores.tolist())
        print(
            f"| {start} | {supernet:.3f} | {np.isinf(scores).sum()} | {(scores < 3).sum()} | "
            f"{(scores < 2.2).sum()} | {scores.min():.3f} | {correlation:.2f} |",
            flush=True,
        )


@torch.no_grad()
def loss_of(run: _Run, weights: dict[str, list[torch.nn.Parameter]], kept: set[str]) -> float:
    """Loss of the first two validation batches with the weights of the supernet, those of all other
    connections zero.
    """
    before = [(w, w.clone()) for name, ws in weights.items() if name not in kept for w in ws]
    for weight, _ in before:
        weight.zero_()
    run.model.eval()
    batches = [batch for batch, _ in zip(run.task.batches("valid", 0), range(2), strict=False)]
    loss = _loss(run.model, run.task, batches)
    for weight, value in before:
        weight.copy_(value)
    return loss


if __name__ == "__main__":
    main()
