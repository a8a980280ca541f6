"""A grid of searches: several strategies, several seeds, one experiment; and one search of it,
which may end when so much was computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellsearch import strategies
from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.executors.base import Executor
from cellsearch.experiment import Experiment, load_experiment
from cellsearch.options import unknown
from cellsearch.runs.compute import Meter, spent
from cellsearch.search import Search, SearchEvent, TrialEnded
from cellsearch.tasks.own_data import Given

__all__ = ["Planned", "plan_sweep", "read_seeds", "search_to_the_end"]

MOST_SEEDS = 1000
TRIALS_A_TRAINING = 10
"""So many trials are allowed for each training of the LSTM that is granted: failures are cheap."""


@dataclass(frozen=True)
class Planned:
    """One search of a grid."""

    name: str
    """Of its strategy and seed, and of its folder."""
    folder: Path
    """Where its run lies."""
    experiment: Experiment
    """What it searches for, and how."""
    source: str | Path
    """The experiment that it was made from: name or file."""
    overrides: Mapping[str, Any]
    """What was replaced in it."""


@checked_arguments
def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds that a text such as ``0..4`` or ``1,2,7..9`` names, in that order, each once.
    Raises :class:`ConfigError` for another text.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:\.\.(\d{1,9}))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ConfigError(
                f"{part.strip()!r:.60} names no seeds",
                where="--seeds",
                hint="write numbers and ranges, for example 0..4 or 1,2,7..9",
            )
        if int(match[2] or match[1]) - int(match[1]) >= MOST_SEEDS:
            raise ConfigError(
                f"{part.strip()} is more than {MOST_SEEDS} seeds",
                where="--seeds",
                hint="that many searches are surely not meant",
            )
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(dict.fromkeys(found))


@checked_arguments
def plan_sweep(
    experiment: str | Path,
    folder: str | Path,
    *,
    names: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    overrides: Mapping[str, Any] | None = None,
    compute: float = 0.0,
) -> tuple[Planned, ...]:
    """The searches of a grid, all strategies with one seed before the next seed, so that what is
    there can be compared at any time.

    experiment: name or file.
    folder: where the runs are to lie, each in a folder ``STRATEGY-SEED``.
    names: strategies; the experiment's own if left out.
    seeds: random seeds.
    overrides: values that replace those of the experiment, by dotted key.
    compute: how much each is to be granted, in trainings of the LSTM; then as many trials are
        allowed as that could need, unless ``overrides`` say how many. 0: the trials end it.

    Raises :class:`ConfigError` for what is not there.
    """
    given = dict(overrides or {})
    for key in ("seed", "strategy"):
        if key in given:
            raise ConfigError(
                f"{key} is what the searches of a sweep differ in",
                where=f"--set {key}",
                hint="say --seeds and --strategies",
            )
    for name in names:
        if name not in strategies.names():
            raise unknown("strategy", name, strategies.names(), where="--strategies")
    if compute:
        given = {"trials": max(1, round(TRIALS_A_TRAINING * compute)), **given}
    own = (load_experiment(experiment, given).strategy.name,)
    planned = []
    for seed in dict.fromkeys(seeds):
        for strategy in dict.fromkeys(names or own):
            changes = {**given, "strategy": strategy, "seed": seed}
            name = f"{strategy}-{seed}"
            declared = load_experiment(experiment, changes)
            planned.append(Planned(name, Path(folder) / name, declared, experiment, changes))
    return tuple(planned)


def search_to_the_end(
    experiment: Experiment,
    folder: Path,
    make: Callable[[], Executor],
    *,
    compute: float = 0.0,
    data: Given = None,
    on_open: Callable[[Search], None] = lambda search: None,
    on_event: Callable[[SearchEvent], None] = lambda event: None,
) -> bool:
    """One search, from where it is until its trials are done or its compute is used up; whether
    that has come, or somebody stopped it before.

    make: starts what trains; it is not called where nothing is left to be done.
    compute: in trainings of the LSTM; 0 for no bound. What ends beyond it is kept, and does not
        count in a comparison by compute.
    on_open: is given the search before it begins, so that it can be stopped.
    on_event: is told what happens.

    Raises what :meth:`cellsearch.Search.open` and :meth:`cellsearch.Search.run` raise.
    """
    with Search.open(folder, experiment, data=data) as search:
        if search.finished:
            return True
        prepared = search.prepare()
        search.settle(prepared.arrays)
        meter = Meter.of(experiment, prepared.arrays) if compute else None
        used = 0.0
        if meter is not None:
            used = max((at for at, _ in spent(search.history, meter)), default=0.0)
            if used >= compute:
                return True

        def tell(event: SearchEvent) -> None:
            nonlocal used
            if meter is not None and isinstance(event, TrialEnded) and not event.trial.is_baseline:
                used += meter.cost(event.trial) if event.trial.status.finished else 0.0
                if used >= compute:
                    search.stop()
            on_event(event)

        on_open(search)
        with make() as executor:
            search.run(executor, tell, data=prepared)
        return search.finished or (meter is not None and used >= compute)
