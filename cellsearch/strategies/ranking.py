"""What strategies read out of a history, in time that grows slowly with its length."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from cellsearch import zoo
from cellsearch.errors import ConfigError, GenomeError
from cellsearch.genome.graph import Genome
from cellsearch.history import History, Index
from cellsearch.space import SearchSpace
from cellsearch.trial import Origin, Status, Trial

__all__ = [
    "CROSSOVER",
    "GROW",
    "MUTATE",
    "best",
    "controls",
    "crossover_rate",
    "first_new",
    "given_cell",
    "growth_rate",
    "members",
    "own",
    "position_rates",
    "proposed",
    "scored_children",
    "success_rates",
    "tournament",
]

CROSSOVER, MUTATE, GROW = "crossover", "mutate", "grow"
"""Kinds of origin of children of two parents, and of one by mutation or by a step of growth."""


def given_cell(space: SearchSpace, start: str) -> Genome:
    """The cell that a strategy is told to start from: a seed genome of the space, a zoo cell, or
    the text of a cell.

    Raises :class:`ConfigError` for a text that is none of these, and for a cell that the space does
    not hold.
    """
    where = "strategy_options.start"
    if start in space.seeds:
        return space.seeds[start]
    try:
        genome = Genome.from_text(start, source=where) if "[t]" in start else zoo.load(start)
    except (ConfigError, GenomeError) as error:
        seeds = ", ".join(space.seeds) or "none"
        raise ConfigError(
            error.message,
            where=where,
            hint=f"seed genomes of {space.name}: {seeds}; `cellsearch zoo` lists more",
        ) from error
    found = space.contains(genome)
    if found is not None:
        raise ConfigError(
            f"the cell {start!r:.40} is not in the space {space.name}: {found}",
            where=where,
            hint="choose a larger space",
        )
    return genome


def own(history: History) -> Iterable[Trial]:
    """The trials that the strategy proposed, newest first, without the controls and duplicates."""
    duplicate = Status.DUPLICATE
    return (
        trial
        for trial in reversed(history)
        if trial.status is not duplicate and not trial.is_baseline
    )


def controls(history: History) -> list[Trial]:
    """The baselines of the experiment: they come before all other trials."""
    return list(itertools.takewhile(lambda trial: trial.is_baseline, history))


def proposed(history: History) -> int:
    """How many trials the strategy has proposed so far."""
    return len(history) - len(controls(history))


def members(
    space: SearchSpace, history: History, size: int, accept: Callable[[Trial], bool] | None = None
) -> list[Trial]:
    """The ``size`` newest trials with a score that the space holds, newest first, then the controls
    that it holds.

    ``accept`` says which trials count (default: all).
    """
    found: list[Trial] = []
    for trial in reversed(history):
        if len(found) == size or trial.is_baseline:
            break
        if (
            trial.is_scored
            and not space.is_gated(trial.genome)
            and (accept is None or accept(trial))
        ):
            found.append(trial)
    return found + [
        trial
        for trial in controls(history)
        if trial.is_scored and space.contains(trial.genome) is None
    ]


def best(history: History, count: int) -> Sequence[Trial]:
    """The ``count`` best results, best first: the beginning of ``history.ranked``, without making
    all of it.
    """
    return history.top(count)


def tournament(among: Sequence[Trial], size: int, rng: np.random.Generator) -> Trial:
    """The best of ``size`` trials drawn without replacement."""
    drawn = rng.choice(len(among), size=min(size, len(among)), replace=False)
    return min((among[int(k)] for k in drawn), key=lambda t: (t.score, t.number))


def first_new(history: History, make: Callable[[], Genome | None], tries: int) -> Genome | None:
    """The first genome out of ``tries`` that the history does not hold yet."""
    for _ in range(tries):
        genome = make()
        if genome is not None and genome.key not in history.by_key:
            return genome
    return None


Child = tuple[Origin, bool]
"""Where a trial came from, and whether it is better than its first parent."""


Part = Literal["kind", "detail"]
"""Of an origin."""


class _Descent(NamedTuple):
    """What is kept of a trial."""

    score: float
    parent: int = -1
    """The first; -1 where it is no child that has ended."""
    origin: Origin | None = None
    kind: str | None = None
    detail: str = ""
    place: str = ""


class _Children(Index):
    """Where each trial came from and its score: what :func:`scored_children` asks of a window of
    trials for each proposal.
    """

    def __init__(self) -> None:
        self._of: dict[int, _Descent] = {}
        """By number, in order."""

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        proposal, status = trial.proposal, trial.status
        found = _Descent(trial.score)
        is_child = proposal.parents and status.finished and status is not Status.DUPLICATE
        if is_child and not trial.is_baseline:
            origin = proposal.origin
            parts = (origin.kind, origin.detail, origin.place)
            found = _Descent(trial.score, proposal.parents[0], origin, *parts)
        self._of[trial.number] = found

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        del self._of[trial.number]

    def newest(self) -> Iterator[Child]:
        """See :func:`scored_children`."""
        of, unknown = self._of, _Descent(float("inf"))
        for child in reversed(of.values()):
            if child.origin is not None:
                expected = of.get(child.parent, unknown).score
                if expected < float("inf"):
                    yield child.origin, child.score < expected

    def steps(self) -> Iterator[tuple[str, str, bool]]:
        """Op, place and success of those of :meth:`newest` that are steps of growth somewhere."""
        of, unknown = self._of, _Descent(float("inf"))
        for child in reversed(of.values()):
            if child.kind == GROW and child.place:
                expected = of.get(child.parent, unknown).score
                if expected < float("inf"):
                    yield child.detail, child.place, child.score < expected

    def count(self, part: Part, records: Mapping[str, _Record], window: int) -> None:
        """See :func:`_count`."""
        of, unknown, endless = self._of, _Descent(float("inf")), float("inf")
        by_kind = part == "kind"
        for child in reversed(of.values()):
            if child.kind is None:
                continue
            record = records.get(child.kind if by_kind or child.kind == GROW else child.detail)
            if record is not None:
                expected = of.get(child.parent, unknown).score
                if expected < endless:
                    record.tried += 1
                    record.better += child.score < expected
                    window -= 1
                    if not window:
                        return


def scored_children(history: History) -> Iterator[Child]:
    """The children with an end whose first parent has a score, newest first; controls and
    duplicates are none.
    """
    return history.index(_Children).newest()


@dataclass
class _Record:
    """How many children there were, and how many of them were better than their first parent."""

    tried: int = 0
    better: int = 0

    def add(self, better: bool) -> None:
        self.tried += 1
        self.better += better

    @property
    def rate(self) -> float:
        """The mean of the posterior under a uniform prior."""
        return (1 + self.better) / (2 + self.tried)


def _count(
    record: History | Iterable[Child], part: Part, names: Iterable[str], window: int
) -> dict[str, _Record]:
    """How the first ``window`` children did of which this part of the origin is among the names, by
    name; of a history its own. Steps of growth, some of which are called as mutations are, count by
    their kind.
    """
    records = {name: _Record() for name in names}
    if isinstance(record, History):
        record.index(_Children).count(part, records, window)
        return records
    parts = (
        (getattr(origin, "kind" if origin.kind == GROW else part), better)
        for origin, better in record
    )
    for name, better in itertools.islice((p for p in parts if p[0] in records), window):
        records[name].add(better)
    return records


def success_rates(
    record: History | Iterable[Child], names: Sequence[str], *, window: int, floor: float
) -> dict[str, float]:
    """How often each operator, which origins name as their detail, led to a child better than its
    first parent, over the newest ``window`` of :func:`scored_children`, or of those of a history.

    Rates are (1 + successes) / (2 + children), which is the mean of the posterior under a uniform
    prior, normalised to sum 1 and raised so that none is below ``floor``.
    """
    records = _count(record, "detail", names, window)
    rates = np.array([records[name].rate for name in names])
    rates = np.maximum(rates / rates.sum(), floor)
    return dict(zip(names, (rates / rates.sum()).tolist(), strict=True))


def crossover_rate(record: History | Iterable[Child], declared: float, *, window: int) -> float:
    """The share of children of two parents, by the record of the newest ``window`` of
    :func:`scored_children`, or of those of a history.

    ``declared`` is the share without a record. With success rates c of crossed children and m of
    those of one parent, each (1 + successes) / (2 + children) as in :func:`success_rates`, it is
    ``declared c / (declared c + (1 - declared) m)``: the odds change by c / m. It stays between
    ``declared / 2`` and ``(1 + declared) / 2``; with 0 a child never has two parents.
    """
    return _share(record, CROSSOVER, (MUTATE, GROW), declared, window)


def growth_rate(record: History | Iterable[Child], declared: float, *, window: int) -> float:
    """The share of steps of growth among the children of one parent, by their record beside that of
    mutants, as in :func:`crossover_rate`.
    """
    return _share(record, GROW, (MUTATE,), declared, window)


def _share(
    record: History | Iterable[Child],
    kind: str,
    others: tuple[str, ...],
    declared: float,
    window: int,
) -> float:
    records = _count(record, "kind", (kind, *others), window)
    rest = _Record(
        sum(records[other].tried for other in others),
        sum(records[other].better for other in others),
    )
    share = declared * records[kind].rate
    share /= share + (1 - declared) * rest.rate
    return min(max(share, declared / 2), (1 + declared) / 2)


def position_rates(
    history: History, kinds: Sequence[str], *, window: int, prior: float = 2.0, floor: float = 0.1
) -> dict[str, float]:
    """How often each kind of extension (``op@place``) led to a child better than its parent, over
    the newest ``window`` children.

    What is known of an op everywhere is the prior for each place: rate of the op (1 + successes) /
    (2 + children), rate at a place (prior * rate of the op + successes there) / (prior + children
    there), so that a place with few children borrows from the others. Relative to the highest rate,
    none below ``floor``.
    """
    ops: defaultdict[str, _Record] = defaultdict(_Record)
    places: defaultdict[str, _Record] = defaultdict(_Record)
    for op, place, better in itertools.islice(history.index(_Children).steps(), window):
        ops[op].add(better)
        places[f"{op}@{place}"].add(better)
    rates, nothing = {}, _Record()
    for kind in kinds:
        of_op, here = ops.get(kind.partition("@")[0], nothing).rate, places.get(kind, nothing)
        rates[kind] = (prior * of_op + here.better) / (prior + here.tried)
    highest = max(rates.values(), default=1.0)
    return {kind: max(rate / highest, floor) for kind, rate in rates.items()}
