"""What strategies read out of a history, in time that grows slowly with its length."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.space import SearchSpace
from cellsearch.trial import History, Status, Trial

__all__ = ["best", "check_range", "controls", "first_new", "members", "own", "pick", "proposed", "success_rates", "tournament"]


def check_range(strategy: str, option: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise :class:`ConfigError` unless ``low <= value <= high``."""
    if not low <= value <= high:
        allowed = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise ConfigError(f"{value} is out of range", where=f"strategy_options.{option}", hint=f"{strategy} allows {allowed}")


def own(history: History) -> Iterable[Trial]:
    """The trials that the strategy proposed, newest first, without the controls and duplicates."""
    return (trial for trial in reversed(history) if not trial.is_baseline and trial.status is not Status.DUPLICATE)


def controls(history: History) -> list[Trial]:
    """The baselines of the experiment: they come before all other trials."""
    return list(itertools.takewhile(lambda trial: trial.is_baseline, history))


def proposed(history: History) -> int:
    """How many trials the strategy has proposed so far."""
    return len(history) - len(controls(history))


def members(space: SearchSpace, history: History, size: int, accept: Callable[[Trial], bool] | None = None) -> list[Trial]:
    """The ``size`` newest trials with a score that the space holds, newest first, then the controls that it holds.

    ``accept`` says which trials count (default: all).
    """
    found: list[Trial] = []
    for trial in reversed(history):
        if len(found) == size or trial.is_baseline:
            break
        if _scored(trial) and not space.is_gated(trial.genome) and (accept is None or accept(trial)):
            found.append(trial)
    return found + [trial for trial in controls(history) if _scored(trial) and space.contains(trial.genome) is None]


def best(history: History, count: int) -> list[Trial]:
    """The ``count`` best results, best first: the beginning of ``history.ranked``, without sorting all of a long history."""
    found: list[tuple[float, int]] = []
    for trial in history:
        if trial.status in (Status.COMPLETED, Status.STOPPED) and trial.rungs:
            last = trial.rungs[-1].result
            score = last.score if last is not None else trial.score
            if score < float("inf") and not trial.is_intermediate:
                found.append((score, trial.number))
    return [history.by_number[number] for _, number in heapq.nsmallest(count, found)]


def _scored(trial: Trial) -> bool:
    return trial.status in (Status.COMPLETED, Status.STOPPED) and trial.score < float("inf")


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


def success_rates(history: History, names: Sequence[str], *, window: int, floor: float) -> dict[str, float]:
    """How often each operator led to a child better than its first parent, over the newest ``window`` scored children.

    The origin of a trial names its operator after the first colon. Rates are (1 + successes) / (2 + children), which is the mean of
    the posterior under a uniform prior, normalised to sum 1 and raised so that none is below ``floor``.
    """
    tried = dict.fromkeys(names, 0)
    better = dict.fromkeys(names, 0)
    seen = 0
    for trial in own(history):
        operator = trial.proposal.origin.partition(":")[2].partition("@")[0]
        if operator not in tried or not trial.proposal.parents or not trial.status.finished:
            continue
        parent = history.by_number.get(trial.proposal.parents[0])
        if parent is None or not parent.score < float("inf"):
            continue
        tried[operator] += 1
        better[operator] += trial.score < parent.score
        seen += 1
        if seen >= window:
            break
    rates = np.array([(1 + better[name]) / (2 + tried[name]) for name in names])
    rates = np.maximum(rates / rates.sum(), floor)
    return dict(zip(names, (rates / rates.sum()).tolist(), strict=True))


def pick(weights: Sequence[float], rng: np.random.Generator) -> int:
    """An index, drawn by weight."""
    chances = np.asarray(weights, dtype=float)
    return int(rng.choice(len(chances), p=chances / chances.sum()))
