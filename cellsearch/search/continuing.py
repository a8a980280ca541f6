"""Going on with what there is: whether a run may be resumed with an experiment, and which trials of
another run hold in this one, and in what form (warm start).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cellsearch import zoo
from cellsearch.errors import ConfigError, RunError, quoted
from cellsearch.experiment import Experiment
from cellsearch.genome.identity import search_key
from cellsearch.history import History
from cellsearch.options import default_table, parse_toml
from cellsearch.search.own_data import OwnData, remembered, same_names, settled
from cellsearch.search.parts import checked_budget, schedule_rungs
from cellsearch.store import Store
from cellsearch.strategies.base import Strategy
from cellsearch.tasks.own_data import Given, Remembered
from cellsearch.trial import IMPORTED, Budget, Origin, Proposal, Rung, Status, Trial

__all__ = [
    "Imported",
    "as_begun",
    "check_same_experiment",
    "defaults",
    "importable",
    "renumbered",
    "taken_up",
]

# None of them changes which trials there are or what they give, only how many.
_FREE = frozenset({"workers", "question", "allowance.hours", "allowance.steps"})
_OF_THE_CELL = frozenset({"nan", "diverged", "invalid", "prefilter"})
"""Failures that the cell would have again here; others (time, memory, a crash) were the machine's.
"""
_SAME = ("task", "task_options", "training")


def taken_up(store: Store, experiment: Experiment, data: Given) -> tuple[Experiment, OwnData]:
    """The experiment as the run means it, and where its data lie; both are written down.

    Raises :class:`RunError` for the run of another experiment or of other data.
    """
    experiment, own_data = settled(store, experiment, data)
    if store.experiment:
        experiment = as_begun(experiment, store.experiment)
    text = experiment.to_toml()
    if store.has_trials:  # a run without trials is nobody's yet
        check_same_experiment(
            store.experiment, text, where=str(store.path), meant=defaults(experiment)
        )
    if store.experiment != text:
        store.describe(text)
    if own_data.to_document() != store.data:
        store.remember_data(own_data.to_document())
    return experiment, own_data


def defaults(experiment: Experiment) -> dict[str, Any]:
    """The value of each option that a run does not mention, because it was made before there was
    this option, by dotted key.

    A new option's default is what was done before there was it, unless its strategy says what was
    (:attr:`Strategy.before`); that is why such a run goes on as it began.
    """
    space = experiment.space
    before: dict[str, Any] = {"max_weights": 0}
    parts: dict[str, object] = {
        "strategy_options": experiment.strategy,
        "schedule_options": experiment.schedule,
        "training": experiment.training,
        "limits": experiment.limits,
        "prefilter": experiment.prefilter,
        "device": experiment.device,
        "reevaluation": experiment.reevaluation,
        "space.limits": space.limits,
        "space.full_cell": space.full_cell,
        "space.constraints": space.constraints,
    }
    before |= {
        f"{prefix}.{key}": value
        for prefix, part in parts.items()
        if is_dataclass(part)
        for key, value in default_table(type(part)).items()
    }
    return before | {
        f"strategy_options.{key}": value for key, value in experiment.strategy.before.items()
    }


def as_begun(experiment: Experiment, before: str) -> Experiment:
    """The experiment as a run means it that was begun when a limit on weights counted at the sizes
    of the space, whatever was trained, or before there were options of its strategy whose default
    is something new; any other run means what the experiment says.

    before: the resolved text of the run.
    """
    old = _flat(parse_toml(before, "experiment.toml"))
    experiment = replace(experiment, strategy=_strategy_as_begun(experiment.strategy, old))
    limit, space = experiment.max_weights, experiment.space
    most = space.parameters(zoo.load(limit)) if isinstance(limit, str) else limit
    if not limit or old.get("max_weights") or old.get("space.limits.max_parameters") != most:
        return experiment
    return replace(experiment, max_weights=0, space=space.constrained({"max_parameters": most}))


def _strategy_as_begun(strategy: Strategy, old: Mapping[str, Any]) -> Strategy:
    """The strategy with what its new options meant, where the run does not mention them and the
    experiment leaves them as they are.
    """
    if old.get("strategy") != strategy.name or not is_dataclass(strategy):
        return strategy
    usual = default_table(type(strategy))
    meant = {
        key: value
        for key, value in strategy.before.items()
        if f"strategy_options.{key}" not in old and getattr(strategy, key) == usual[key]
    }
    return replace(strategy, **meant)


def check_same_experiment(
    before: str, now: str, *, where: str, meant: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Raise :class:`RunError` that names the differing keys, unless ``now`` may go on with what
    ``before`` began.

    Both are resolved texts; ``meant``: :func:`defaults`, for what ``before`` does not mention.
    ``trials`` may be raised; ``workers``, ``question`` and the allowance may be anything.
    """
    old, new = _flat(parse_toml(before, where)), _flat(parse_toml(now, where))
    old = {key: value for key, value in meant.items() if key in new} | old
    differing = sorted(
        key for key in old.keys() | new.keys() if key not in _FREE and old.get(key) != new.get(key)
    )
    if "trials" in differing and int(new.get("trials", 0)) >= int(old.get("trials", 0)):
        differing.remove("trials")
    if differing:
        changes = "; ".join(
            f"{key} was {_show(old.get(key))}, is {_show(new.get(key))}" for key in differing[:5]
        )
        more = f"; and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise RunError(
            f"the run was made with another experiment: {changes}{more}",
            where=where,
            hint="choose another folder with --run, or undo the change; only trials and the "
            "allowance may be raised, and workers changed",
        )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All values that are not tables, by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _show(value: object) -> str:
    return "not there" if value is None else f"{value!r:.60}"


# -- warm start -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import."""

    taken: int
    """How many trials were taken over."""
    skipped: Mapping[str, int]
    """How many were not, by the reason in words."""


def importable(
    run: Path, experiment: Experiment, known: Mapping[str, Remembered] = MappingProxyType({})
) -> tuple[list[tuple[Trial, str]], Counter[str]]:
    """The trials of a run that hold here, each with its key, and the number of the others by
    reason.

    A result holds here when task, task options and training are equal, and it was reached with
    budgets that this experiment's schedule grants. A trial keeps its number as in the other run,
    its origin becomes ``imported:RUN``. Checkpoints stay where they are, so nothing is inherited
    from imported trials.

    known: what this run remembers of its data: another path to equal data is the same.

    Raises :class:`RunError` if there is no run, nothing of it can hold here, or its data are
    others, :class:`ConfigError` with the differing keys if its task or training are others.
    """
    with Store.read(run) as store:
        text, history = store.experiment, list(store.history())
        theirs = remembered(store.data, str(run))
    before, now = parse_toml(text, str(run)), parse_toml(experiment.to_toml(), experiment.name)
    if before.get("task") == now["task"]:
        mine = (now["task_options"], known)
        before["task_options"] = same_names(
            now["task"], mine, (before.get("task_options", {}), theirs), run
        )
    _require_same(before, now, run)
    skipped: Counter[str] = Counter()
    found: list[tuple[Trial, str]] = []
    origin = Origin(IMPORTED, re.sub(r"[^A-Za-z0-9._-]", "-", run.resolve().name))
    for trial in history:
        reason = _why_not(trial, experiment)
        if reason:
            skipped[reason] += 1
            continue
        proposal = replace(trial.proposal, origin=origin, inherit=None)
        rungs = tuple(_without_checkpoint(rung) for rung in _rungs(trial, experiment))
        found.append((trial.with_(proposal=proposal, rungs=rungs), search_key(trial.genome)))
    if not found:
        reasons = (
            "; ".join(f"{count} {reason}" for reason, count in skipped.items())
            or "it has no trials"
        )
        raise RunError(f"no trial of the run can be imported: {reasons}", where=str(run))
    return found, skipped


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], run: Path) -> None:
    differing = list(_differing(before, now))
    if differing:
        raise ConfigError(
            f"its results do not hold here, because it was made with another "
            f"{', another '.join(differing)}",
            where=str(run),
            hint=f"train its cells again with --enqueue {quoted(Path(f'{run}:best'))}, or with the "
            "number of a trial for best",
        )


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in _SAME:
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from (f"{key}.{name}" for name in new if name in old and old[name] != new[name])
        elif old != new:
            yield key


def _why_not(trial: Trial, experiment: Experiment) -> str:
    """Why a trial does not hold here, in words that follow a number; ``""`` when it does."""
    if trial.status is Status.DUPLICATE:
        return "were duplicates of others"
    if trial.status is Status.FAILED:
        if trial.failure is None or trial.failure.kind not in _OF_THE_CELL:
            return "failed for reasons of the machine"
    elif trial.result is None or trial.status not in (Status.COMPLETED, Status.STOPPED):
        return "had not ended"
    if trial.is_intermediate:
        return "only served to find others (supernets)"
    if not _rungs(trial, experiment):
        return "were trained with budgets that the schedule does not grant"
    named = trial.is_baseline and trial.proposal.origin.detail in experiment.baselines
    return (
        "" if named or experiment.space.contains(trial.genome) is None else "are not in the space"
    )


def _rungs(trial: Trial, experiment: Experiment) -> tuple[Rung, ...]:
    """The trial's rungs as this experiment's schedule would have granted them; empty when it would
    not.
    """
    repeats = trial.repeats
    if repeats:  # they are as good here as there: the score is their mean
        once = trial.with_(rungs=trial.rungs[: len(trial.rungs) - len(repeats)])
        held = _rungs(once, experiment)
        return held and (*held, *_numbered(repeats, len(held)))
    schedule, steps = experiment.schedule, experiment.training.steps
    allowed = schedule_rungs(schedule, steps, experiment.name)
    granted = tuple(rung.budget.steps for rung in trial.rungs)
    if granted == allowed[: len(granted)]:
        return trial.rungs if trial.status is not Status.COMPLETED or granted[-1] == steps else ()
    fresh = trial.with_(rungs=(), status=Status.RUNNING)
    first = checked_budget(schedule, steps, History(), fresh, experiment.name)
    if first is not None and granted == (first.steps,):
        return trial.rungs  # a schedule may give some cells everything at once
    if allowed == (steps,) and trial.status is Status.COMPLETED and granted[-1] == steps:
        # where it stopped on the way does not matter
        return (Rung(Budget(steps, 0), trial.rungs[-1].result),)
    return ()


def _numbered(rungs: Sequence[Rung], first: int) -> Iterator[Rung]:
    """The rungs with other numbers, from ``first`` on."""
    for k, rung in enumerate(rungs):
        yield Rung(Budget(rung.budget.steps, first + k), rung.result)


def _without_checkpoint(rung: Rung) -> Rung:
    result = rung.result
    return rung if result is None else Rung(rung.budget, replace(result, checkpoint=""))


def renumbered(trial: Trial, number: int, numbers: Mapping[int, int]) -> Trial:
    """The trial as number ``number`` of this run; parents that were not taken over are
    forgotten.
    """
    parents = tuple(numbers[parent] for parent in trial.proposal.parents if parent in numbers)
    proposal = Proposal(trial.genome, parents, trial.proposal.origin, reason=trial.proposal.reason)
    return trial.with_(number=number, proposal=proposal)
