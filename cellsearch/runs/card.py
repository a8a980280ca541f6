"""What a run knows of one of its cells, for the model card of an export."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cellsearch.errors import InputFileError, amount
from cellsearch.export.card import Facts, plain
from cellsearch.finals import FinalTable
from cellsearch.runs.snapshot import FINALS
from cellsearch.tasks.registry import get
from cellsearch.tasks.suite import SUITE

if TYPE_CHECKING:
    from cellsearch.runs.trial import RunTrial

__all__ = ["facts"]


def facts(trial: RunTrial) -> Facts:
    """Search, data, scores and limits of a trial, as its run has them now."""
    table = _finals(trial)
    return Facts(
        search=tuple(_search(trial)),
        data=tuple(_data(trial)),
        scores=tuple(_scores(trial, table)),
        limits=tuple(_limits(trial, table)),
    )


def _finals(trial: RunTrial) -> FinalTable | None:
    path = trial.run.path / FINALS
    if not path.is_file():
        return None
    try:
        return FinalTable.read(path)
    except InputFileError:
        return None  # a damaged file of finals does not keep a cell from leaving


def _search(trial: RunTrial) -> Iterator[str]:
    from cellsearch import __version__

    declared, counts = trial.run.declared, trial.run.counts
    yield (
        f"- Trial {trial.number} of {amount(len(trial.run.trials), 'trial')} of the experiment "
        f"{plain(declared['name'])} (strategy {plain(declared['strategy'])}, seed "
        f"{declared.get('seed', 0)}); {counts['completed']} trained to the end, "
        f"{counts['failed']} failed."
    )
    yield f"- How it was proposed: {plain(trial.trial.proposal.origin)}."
    training = trial.run.declared["training"]
    yield (
        f"- Training: {amount(trial.result.steps if trial.result else training['steps'], 'step')}"
        f", learning rate {training['learning_rate']:g}, {training.get('dtype', 'float32')}."
    )
    yield f"- Exported by cellsearch {__version__} with Python {platform.python_version()}."


def _data(trial: RunTrial) -> Iterator[str]:
    declared = trial.run.declared
    task, options = declared["task"], declared.get("task_options", {})
    if task == SUITE:
        yield f"- The suite {plain(options.get('name', ''))}."
        return
    kind = get(task)
    yield f"- Task {plain(task)}: {plain(kind.summary)}."
    yield f"- Source: {plain(kind.source)}."
    told = {name: value for name, value in options.items() if not isinstance(value, str | dict)}
    named = {name: value for name, value in options.items() if isinstance(value, str) and value}
    shown = [f"{plain(name)} = {plain(value)}" for name, value in told.items()]
    shown += [f"{plain(name)} = {plain(value.rpartition('/')[2])}" for name, value in named.items()]
    if shown:
        yield f"- Options: {', '.join(shown)}."
    for key, remembered in trial.run.remembered.items():
        digest = remembered.get("digest") if isinstance(remembered, dict) else ""
        if digest:
            yield f"- Digest of {plain(key)}: {plain(digest)}."


def _scores(trial: RunTrial, table: FinalTable | None) -> Iterator[str]:
    metric, result = trial.run.metric, trial.result
    yield "Validation, one seed; a lower score is better:"
    yield ""
    yield f"| cell | score | {plain(metric)} | steps |"
    yield "|---|---|---|---|"
    if result is not None:
        yield f"| this one | {result.score:.6g} | {result.metric:.6g} | {result.steps:,} |"
    for other in trial.run.trials:
        if other.is_baseline and other.result is not None and other.number != trial.number:
            found = other.result
            numbers = f"{found.score:.6g} | {found.metric:.6g} | {found.steps:,}"
            yield f"| {plain(other.name)} | {numbers} |"
    if table is None:
        return
    yield ""
    yield "Finals on test data, trained anew with several seeds at equal weights:"
    yield ""
    yield "| cell | test score, mean ± deviation | seeds | failed | model weights |"
    yield "|---|---|---|---|---|"
    for row in table.rows:
        mean = "none" if math.isnan(row.mean) else f"{row.mean:.6g} ± {row.deviation:.2g}"
        yield (
            f"| {plain(row.name)} | {mean} | {row.trainings} | {row.failures} | "
            f"{row.parameters:,} |"
        )
    yield ""
    yield plain(table.sentence)


def _limits(trial: RunTrial, table: FinalTable | None) -> Iterator[str]:
    doubt = trial.run.doubt(trial.trial)
    if doubt:
        yield f"- {plain(doubt)}."
    yield (
        "- The weights are those of the best validation of one training; the validation data chose "
        f"among {amount(len(trial.run.trials), 'trial')}, so its score is better than that on new "
        "data."
    )
    if table is None or all(row.name != trial.trial.name for row in table.rows):
        yield (
            "- Its score on test data is not known: it took no part in finals (cellsearch finals)."
        )
    else:
        yield "- The figures of the finals are those of other trainings of the same cell."
