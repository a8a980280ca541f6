"""A run as a study of Optuna, so that optuna-dashboard, and whatever else reads studies, opens it.

What a search varies is a graph, not a list of numbers; what stands for it as parameters is how the
cell came about, its size, and how often it has each op. The cell itself is among the attributes of
its trial.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellsearch.errors import checked_arguments
from cellsearch.files import refuse_existing, replacing
from cellsearch.runs.snapshot import Snapshot
from cellsearch.trial import Status, Trial

if TYPE_CHECKING:  # optional
    from optuna.trial import FrozenTrial

__all__ = ["write_study"]

_STATES = {
    Status.WAITING: "WAITING",
    Status.RUNNING: "RUNNING",
    Status.COMPLETED: "COMPLETE",
    Status.STOPPED: "PRUNED",
    Status.FAILED: "FAIL",
    Status.DUPLICATE: "COMPLETE",
}
_MOST = 10_000_000
"""An upper bound of sizes, as a distribution of Optuna wants one."""


@checked_arguments
def write_study(run: Snapshot, path: str | Path, *, force: bool = False) -> int:
    """Write the run as a study in the SQLite file ``path``, with trials of the same numbers; how
    many there are. A trial that a schedule stopped is pruned, a duplicate has the value of the
    trial that answers it.

    Raises :class:`ConfigError` if the file is there, unless ``force``.
    """
    import optuna

    target = Path(path)
    refuse_existing(target, force=force)
    kinds = sorted({one.origin.kind for one in run.trials.descents()})
    times = _times(run)
    with replacing(target, what="study") as temporary:
        storage = optuna.storages.RDBStorage(f"sqlite:///{temporary.absolute()}")
        study = optuna.create_study(
            storage=storage,
            study_name=str(run.declared["name"]),
            direction="minimize",
        )
        for name, value in _attributes(run):
            study.set_user_attr(name, value)
        count = 0
        for trial in run.trials:
            study.add_trial(_frozen(trial, kinds, times.get(trial.number, (None, None, ""))))
            count += 1
        storage.remove_session()
        storage.engine.dispose()  # what SQLite wrote is in the one file
    return count


def _attributes(run: Snapshot) -> Iterator[tuple[str, str]]:
    yield "question", str(run.declared.get("question", ""))
    yield "settings", run.settings
    yield "run", str(run.path.absolute())
    yield "written by", "cellsearch"


_Times = tuple[float | None, float | None, str]


def _times(run: Snapshot) -> dict[int, _Times]:
    """When the training of each trial began and ended, and who did it."""
    found: dict[int, _Times] = {}
    for timing in run.timings:
        start, _, _ = found.get(timing.trial, (timing.started, None, ""))
        found[timing.trial] = (start, timing.ended, timing.worker or "")
    return found


def _frozen(trial: Trial, kinds: list[str], times: _Times) -> FrozenTrial:
    import optuna

    states, score = optuna.trial.TrialState, trial.score
    state = states[_STATES[trial.status]]
    if state is states.COMPLETE and not math.isfinite(score):
        state = states.FAIL
    params, distributions = _params(trial, kinds)
    started, ended, worker = times
    frozen = optuna.trial.create_trial(
        state=state,
        value=score if state is states.COMPLETE else None,
        params=params,
        distributions=distributions,
        user_attrs=_facts(trial, worker),
        intermediate_values=dict(trial.curve),
    )
    if state is not states.WAITING:
        begun = started or ended or 0.0
        frozen.datetime_start = datetime.fromtimestamp(begun)
    if state.is_finished():
        frozen.datetime_complete = datetime.fromtimestamp(ended or started or 0.0)
    return frozen


def _params(trial: Trial, kinds: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    import optuna

    genome = trial.genome
    counts = Counter(node.op for _, node in genome.numbered())
    params: dict[str, Any] = {
        "origin": trial.proposal.origin.kind,
        "nodes": sum(counts.values()),
        "states": len(genome.state_names),
    }
    params |= {f"op {op}": count for op, count in sorted(counts.items())}
    distributions: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(kinds)
        if name == "origin"
        else optuna.distributions.IntDistribution(0, _MOST)
        for name in params
    }
    return params, distributions


def _facts(trial: Trial, worker: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": trial.name,
        "cell": trial.genome.to_text(),
        "origin": str(trial.proposal.origin),
        "parents": list(trial.proposal.parents),
        "reason": trial.proposal.reason,
        "status": trial.status.value,
        "worker": worker,
    }
    if trial.failure is not None:
        facts["failure"] = f"{trial.failure.kind}: {trial.failure.message}"
    if trial.duplicate_of is not None:
        facts["duplicate of"] = trial.duplicate_of
    if (result := trial.result) is not None:
        facts |= {
            "cell weights": result.cell_parameters,
            "seconds": result.seconds,
            "steps": result.steps,
            **({"metric": result.metric} if math.isfinite(result.metric) else {}),
        }
    return {name: value for name, value in facts.items() if value not in ("", [])}
