"""What a run knows of one of its cells, for the model card of an export."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator

from cellsearch.errors import InputFileError, amount
from cellsearch.export.card import Facts, plain
from cellsearch.finals import FinalTable
from cellsearch.runs.snapshot import FINALS, Snapshot
from cellsearch.tasks.registry import get
from cellsearch.tasks.suite import SUITE
from cellsearch.trial import Trial

__all__ = ["facts"]


def facts(run: Snapshot, trial: Trial) -> Facts:
    """Search, data, scores and limits of a trial, as its run has them now."""
    table = _finals(run)
    return Facts(
        search=tuple(_search(run, trial)),
        data=tuple(_data(run)),
        scores=tuple(_scores(run, trial, table)),
        limits=tuple(_limits(run, trial, table)),
    )


def _finals(run: Snapshot) -> FinalTable | None:
    path = run.path / FINALS
    if not path.is_file():
        return None
    try:
        return FinalTable.read(path)
    except InputFileError:
        return None  # a damaged file of finals does not keep a cell from leaving


def _search(run: Snapshot, trial: Trial) -> Iterator[str]:
    from cellsearch import __version__

    declared, counts = run.declared, run.counts
    yield (
        f"- Trial {trial.number} of {amount(len(run.trials), 'trial')} of the experiment "
        f"{plain(declared['name'])} (strategy {plain(declared['strategy'])}, seed "
        f"{declared.get('seed', 0)}); {counts['completed']} trained to the end, "
        f"{counts['failed']} failed."
    )
    yield f"- How it was proposed: {plain(trial.proposal.origin)}."
    training = run.declared["training"]
    precision = training.get("precision", "float32")
    yield (
        f"- Training: {amount(trial.result.steps if trial.result else training['steps'], 'step')}"
        f", learning rate {training['learning_rate']:g}, {training.get('dtype', 'float32')}"
        + ("." if precision == "float32" else f", products in {precision}.")
    )
    yield f"- Exported by cellsearch {__version__} with Python {platform.python_version()}."


def _data(run: Snapshot) -> Iterator[str]:
    declared = run.declared
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
    for key, remembered in run.remembered.items():
        digest = remembered.get("digest") if isinstance(remembered, dict) else ""
        if digest:
            yield f"- Digest of {plain(key)}: {plain(digest)}."


def _scores(run: Snapshot, trial: Trial, table: FinalTable | None) -> Iterator[str]:
    metric, result = run.metric, trial.result
    yield "Validation, one seed; a lower score is better:"
    yield ""
    yield f"| cell | score | {plain(metric)} | steps |"
    yield "|---|---|---|---|"
    if result is not None:
        yield f"| this one | {result.score:.6g} | {result.metric:.6g} | {result.steps:,} |"
    for other in run.trials:
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


def _limits(run: Snapshot, trial: Trial, table: FinalTable | None) -> Iterator[str]:
    doubt = run.doubt(trial)
    if doubt:
        yield f"- {plain(doubt)}."
    yield (
        "- The weights are those of the best validation of one training; the validation data chose "
        f"among {amount(len(run.trials), 'trial')}, so its score is better than that on new "
        "data."
    )
    if table is None or all(row.name != trial.name for row in table.rows):
        yield (
            "- Its score on test data is not known: it took no part in finals (cellsearch finals)."
        )
    else:
        yield "- The figures of the finals are those of other trainings of the same cell."
