"""A search space that is a table of trainings somebody did: NAS-Bench-NLP's, or any finished run.

The table's cells are all there is: a sample is a row, a mutant is a near row, a score is looked up.
So strategies and schedules are compared in seconds, with the same noise for all of them. What a
table says about cells is another matter: the trainings of NAS-Bench-NLP left the recurrent weights
untrained.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellsearch import ops, zoo
from cellsearch.errors import GenomeError, SpaceError, checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.space import Constraints, Edit, SearchSpace, SizeLimits, Violation
from cellsearch.strategies.features import distance

__all__ = ["Row", "TabularSpace", "nas_bench_nlp", "of_history"]

NEAREST = 12
"""Rows that count as neighbours of a row."""
HAND_WRITTEN = (1000001, 1000002)
"""Ids of the LSTM and the GRU of NAS-Bench-NLP, which its generator cannot produce."""


@dataclass(frozen=True)
class Row:
    """A cell and its validation scores after 1, 2, ... epochs; NaN for epochs after a failure."""

    genome: Genome
    curve: tuple[float, ...]

    @property
    def best(self) -> float:
        """The best score of the whole training; infinity if there is none."""
        finite = [value for value in self.curve if math.isfinite(value)]
        return min(finite, default=math.inf)


@dataclass(frozen=True)
class TabularSpace(SearchSpace):
    """A space whose only genomes are the rows of a table; ``rows`` by key."""

    rows: Mapping[str, Row] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, rows: Iterable[Row]) -> TabularSpace:
        """A space over these rows; of several with one key the first counts."""
        table: dict[str, Row] = {}
        for row in rows:
            table.setdefault(row.genome.key, row)
        states = max(len(row.genome.states) for row in table.values())
        free = Constraints(
            output_sees_input=False,
            states_reach_output=False,
            states_see_input=False,
            no_idle_nodes=False,
            hidden_width=False,
        )
        limits = SizeLimits(
            max_nodes=10**6, max_depth=10**6, max_operands=10**6, max_parameters=10**12
        )
        names = tuple(f"s{k}" for k in range(states))
        return cls(
            name, names, dict.fromkeys(ops.OPS, 1.0), limits=limits, constraints=free, rows=table
        )

    def score(self, genome: Genome, epochs: int) -> float:
        """The best score of the first ``epochs`` epochs; infinity when the training had failed by
        then.
        """
        curve = self.rows[genome.key].curve[:epochs]
        if not curve or any(not math.isfinite(value) for value in curve):
            return math.inf
        return min(curve)

    def regret(self, genome: Genome) -> float:
        """How much worse the cell's full training is than the best of the table."""
        return self.rows[genome.key].best - min(row.best for row in self.rows.values())

    @cached_property
    def _order(self) -> tuple[list[str], NDArray[np.int64]]:
        """The keys, and for each of them the positions of the others, nearest first by the features
        of the graphs.
        """
        genomes = [row.genome for row in self.rows.values()]
        distances = np.full((len(genomes), len(genomes)), -1.0)
        for a, b in combinations(range(len(genomes)), 2):
            distances[a, b] = distances[b, a] = distance(genomes[a], genomes[b])
        return list(self.rows), np.argsort(distances, axis=1, kind="stable")[:, 1:]

    def _near(self, genome: Genome) -> list[Genome]:
        keys, order = self._order
        return [self.rows[keys[int(k)]].genome for k in order[keys.index(genome.key)][:NEAREST]]

    def contains(self, genome: Genome) -> Violation | None:
        """Whether the genome is a row."""
        return (
            None
            if genome.key in self.rows
            else Violation("this cell is not in the table", "cell", f"the {len(self.rows)} rows")
        )

    def tidy(self, genome: Genome) -> Genome:
        """The genome: rows stay as they are."""
        return genome

    def sample(self, rng: np.random.Generator) -> Genome:
        """A row, each alike."""
        keys, _ = self._order
        return self.rows[keys[int(rng.integers(len(keys)))]].genome

    def operators(self) -> tuple[str, ...]:
        """One operator: to a near row."""
        return ("near",)

    def mutation(
        self,
        genome: Genome,
        rng: np.random.Generator,
        operators: Mapping[str, float] | None = None,
        *,
        tidy: bool = True,
    ) -> Edit:
        """One of the nearest rows."""
        near = self._near(genome)
        return Edit(near[int(rng.integers(len(near)))], "near")

    def crossover(self, first: Genome, second: Genome, rng: np.random.Generator) -> Genome:
        """Refused: a table knows no children."""
        raise SpaceError("a table has no crossover", where=self.source)

    def neighbours(self, genome: Genome) -> tuple[Genome, ...]:
        """The nearest rows."""
        return tuple(self._near(genome))


@checked_arguments
def nas_bench_nlp(path: Path, *, hand_written: bool = False) -> TabularSpace:
    """The distinct cells of NAS-Bench-NLP's WikiText-2 logs, scores in nat per word; see the data's
    README for the file.

    ``hand_written=False`` leaves out LSTM and GRU, which are not from its generator and win by far.
    Repeated trainings of one cell are averaged epoch by epoch. Raises :class:`SpaceError` for a
    file that is not the table.
    """
    found: dict[str, list[Row]] = {}
    hand: set[str] = set()
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") as lines:
            for line in lines:
                entry = json.loads(line)
                genome = zoo.import_cell(json.dumps(entry["recipe"]), format="nas-bench-nlp")
                curve = tuple(
                    math.nan if value is None else float(value) for value in entry["val_losses"]
                )
                found.setdefault(genome.key, []).append(Row(genome, curve))
                if entry["id"] in HAND_WRITTEN:
                    hand.add(genome.key)
    except (OSError, EOFError, ValueError, KeyError, TypeError, GenomeError) as error:
        raise SpaceError(f"not the table of NAS-Bench-NLP: {error}", where=str(path)) from error
    return TabularSpace.of(
        "nas_bench_nlp",
        (_mean(rows) for key, rows in found.items() if hand_written or key not in hand),
    )


def _mean(rows: list[Row]) -> Row:
    length = min(len(row.curve) for row in rows)
    return Row(
        rows[0].genome, tuple(float(np.mean([row.curve[k] for row in rows])) for k in range(length))
    )


def of_history(history: History, name: str = "run") -> TabularSpace:
    """A finished run as a table: each trial's scores, spread over its rungs' steps as over
    epochs.
    """
    rows = []
    for trial in history.scored:
        curve: list[float] = []
        for rung in trial.rungs:
            if rung.result is not None:
                curve += [rung.result.score] * (rung.budget.steps - len(curve))
        rows.append(Row(trial.genome, tuple(curve)))
    if not rows:
        raise SpaceError("the run has no scored trial to make a table of", where=name)
    return TabularSpace.of(name, rows)
