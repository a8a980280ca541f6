"""Trials, decisions and outcomes into the tables of a store. The caller holds the transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence

from cellsearch.job import Budget, JobId, Outcome, Result
from cellsearch.store.rows import Duplicate
from cellsearch.trial import SUPERNET, Origin, Status, Trial

__all__ = ["insert_decision", "insert_trial", "set_status", "write_outcome"]

STANDING = """
standing = CASE WHEN origin <> 'supernet' AND NOT origin GLOB 'supernet[:+@]*' THEN (
    SELECT CASE WHEN score < 9e999 THEN score END FROM rungs
    WHERE rungs.trial = trials.number AND checkpoint IS NOT NULL ORDER BY rung DESC LIMIT 1
) ELSE standing END
"""
"""Notes by what a trained trial is ranked: :attr:`cellsearch.trial.Trial.standing`."""


def insert_trial(
    connection: sqlite3.Connection,
    trial: Trial,
    *,
    key: str,
    genome: str,
    attempt: int,
    seed: int,
    duplicates: Sequence[Duplicate],
) -> None:
    """A trial without its rungs; see :meth:`cellsearch.store.Store.add_trial`."""
    proposal = trial.proposal
    connection.execute(
        "INSERT INTO trials (number, key, genome, origin, attempt, seed, inherit, status, "
        "duplicate_of, created, cell_key, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            trial.number,
            key,
            genome,
            str(proposal.origin),
            attempt,
            seed,
            proposal.inherit,
            trial.status.value,
            trial.duplicate_of,
            time.time(),
            trial.key,
            proposal.reason or None,
        ),
    )
    for position, parent in enumerate(proposal.parents):
        connection.execute("INSERT INTO parents VALUES (?, ?, ?)", (trial.number, position, parent))
    for duplicate in duplicates:
        connection.execute(
            "INSERT INTO duplicates VALUES (?, ?, ?)",
            (duplicate.trial, duplicate.attempt, duplicate.duplicate_of),
        )


def insert_decision(
    connection: sqlite3.Connection,
    trial: int,
    budget: Budget | None,
    *,
    horizon: int,
    inherit: str = "",
) -> None:
    """The decision to train a trial, which starts now; without a budget to answer it as a
    duplicate. Its position is the next one.
    """
    if budget is not None:
        connection.execute(
            "INSERT INTO rungs (trial, rung, granted, inherit, started) VALUES (?, ?, ?, ?, ?)",
            (trial, budget.rung, budget.steps, inherit, time.time()),
        )
    connection.execute(
        "INSERT INTO decisions SELECT coalesce(max(position) + 1, 0), ?, ?, ? FROM decisions",
        (trial, budget.rung if budget is not None else 0, horizon),
    )


def set_status(connection: sqlite3.Connection, trial: int, status: Status) -> None:
    """What became of a trial that has not failed."""
    _change(connection, trial, {"status": status.value}, status)


def _change(
    connection: sqlite3.Connection,
    trial: int,
    values: Mapping[str, object],
    status: Status,
    *,
    repeated: bool = True,
) -> None:
    """Other values for a trial, in one statement: each seals the row anew. ``repeated``: whether
    its training may have been.
    """
    changes = [f"{name} = ?" for name in values]
    if status in (Status.COMPLETED, Status.STOPPED):
        mean = _mean_of_repeats(connection, trial) if repeated else None
        if mean is None:
            changes.append(STANDING)
        else:
            changes.append("standing = ?")
            values = {**values, "standing": mean}
    connection.execute(
        f"UPDATE trials SET {', '.join(changes)} WHERE number = ?", (*values.values(), trial)
    )


def _mean_of_repeats(connection: sqlite3.Connection, trial: int) -> float | None:
    """The mean score of a training that was repeated, to the last bit as
    :attr:`cellsearch.trial.Trial.score` has it; ``None`` for one that was not, and for what never
    ranks.
    """
    rows = connection.execute(
        "SELECT granted, score, origin FROM rungs JOIN trials ON trial = number "
        "WHERE trial = ? AND checkpoint IS NOT NULL ORDER BY rung",
        (trial,),
    ).fetchall()
    scores = [score for granted, score, _ in rows if granted == rows[-1][0]]
    if len(scores) < 2 or Origin.parse(rows[0][2]).kind == SUPERNET or None in scores:
        return None
    return float(sum(scores) / len(scores))


def write_outcome(connection: sqlite3.Connection, outcome: Outcome, status: Status) -> bool:
    """What became of a job and of its trial; ``False``, with nothing written, when no outcome was
    awaited.
    """
    result, failure = outcome.result, outcome.failure
    ended: dict[str, object] = {
        "ended": time.time(),
        "wall_seconds": outcome.wall_seconds,
        "worker": outcome.worker,
    }
    if result is not None:
        ended |= {
            "score": result.score,
            "metric": result.metric,
            "steps": result.steps,
            "seconds": result.seconds,
            "parameters": result.parameters,
            "cell_parameters": result.cell_parameters,
            "checkpoint": result.checkpoint,
        }
    columns = ", ".join(f"{name} = ?" for name in ended)
    changed = connection.execute(
        f"UPDATE rungs SET {columns} WHERE trial = ? AND rung = ? AND ended IS NULL",
        (*ended.values(), *outcome.id),
    ).rowcount
    if changed != 1:
        return False
    if result is not None:
        _insert_result(connection, outcome.id, result)
    values = {
        "status": status.value,
        "failure_kind": failure.kind if failure else None,
        "failure_message": failure.message if failure else None,
    }
    _change(connection, outcome.trial, values, status, repeated=outcome.rung > 0)
    return True


def _insert_result(connection: sqlite3.Connection, job: JobId, result: Result) -> None:
    """The parts of a result that have tables of their own."""
    if result.curve:
        points = [(*job, position, *point) for position, point in enumerate(result.curve)]
        connection.executemany("INSERT INTO curves VALUES (?, ?, ?, ?, ?)", points)
    if result.metrics:
        metrics = [(*job, name, value) for name, value in result.metrics.items()]
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", metrics)
    if result.connections:
        learned = [
            (*job, name, c.gate, c.saliency, c.perturbation)
            for name, c in result.connections.items()
        ]
        connection.executemany("INSERT INTO connections VALUES (?, ?, ?, ?, ?, ?)", learned)
