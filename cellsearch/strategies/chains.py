"""The chains of pruning in rounds, as a history holds them."""

from __future__ import annotations

from array import array
from functools import lru_cache

from cellsearch.history import History, Index
from cellsearch.strategies.parts import PARTS
from cellsearch.trial import SUPERNET, Origin, Status, Trial

__all__ = ["FINAL", "Chains", "chains_since"]

FINAL = Origin("prune", "final")


class Chains(Index):
    """What a history holds of pruning, by numbers of trials."""

    def __init__(self) -> None:
        self.rounds: dict[int, array[int]] = {}
        """The rounds of each chain."""
        self.finals: dict[int, int] = {}
        """The final of each round that has one."""
        self.last = -1
        """The highest chain."""
        self._replaced: dict[tuple[int, int], int] = {}
        """Finals that are not the newest of their round, by the next one and the round."""

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        if before is not None or trial.status is Status.DUPLICATE:
            return
        origin = trial.proposal.origin
        if is_round(trial):
            chain = chain_of(origin.detail)
            self.rounds.setdefault(chain, array("q")).append(trial.number)
            self.last = max(self.last, chain)
        elif is_final(trial):
            for parent in trial.proposal.parents:
                if parent in self.finals:
                    self._replaced[trial.number, parent] = self.finals[parent]
                self.finals[parent] = trial.number

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        origin = trial.proposal.origin
        if trial.status is Status.DUPLICATE:
            return
        if is_round(trial):
            chain = chain_of(origin.detail)
            self.rounds[chain].pop()
            if not self.rounds[chain]:
                del self.rounds[chain]
                self.last = max(self.rounds, default=-1)
        elif is_final(trial):
            for parent in trial.proposal.parents:
                if self.finals.pop(parent, None) is not None:
                    before = self._replaced.pop((trial.number, parent), None)
                    if before is not None:
                        self.finals[parent] = before


def chains_since(history: History, number: int) -> list[int]:
    """The chains with a round or a final from this trial on, or with a round under way."""
    found = set()
    for trial in (*history[max(number, 0) :], *history.unfinished):
        if trial.status is Status.DUPLICATE:
            continue
        rounds = [history.by_number[n] for n in trial.proposal.parents] if is_final(trial) else []
        for one in (trial, *rounds):
            if is_round(one):
                found.add(chain_of(one.proposal.origin.detail))
    return sorted(found)


def is_round(trial: Trial) -> bool:
    """Whether the trial is a round of a chain; the cell of parts has none."""
    origin = trial.proposal.origin
    return origin.kind == SUPERNET and origin.detail != PARTS


def is_final(trial: Trial) -> bool:
    origin = trial.proposal.origin
    return origin.kind == FINAL.kind and origin.detail == FINAL.detail and not origin.place


@lru_cache(maxsize=100_000)
def chain_of(detail: str) -> int:
    """The chain that the origin of a round names."""
    return int(detail.partition(":")[0])
