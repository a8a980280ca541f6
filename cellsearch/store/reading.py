"""Trials out of the tables of a store."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence

from cellsearch.errors import InputFileError
from cellsearch.genome.graph import Genome
from cellsearch.job import Budget, Connection, Failure, JobId, Result
from cellsearch.trial import Proposal, Rung, Status, Trial

__all__ = ["read_trials", "with_answers"]


def read_trials(
    connection: sqlite3.Connection, where: str, number: int | None = None
) -> Iterator[Trial]:
    """All trials in order, or one. Raises :class:`InputFileError` for a row that no version of this
    program wrote.
    """
    tables = _Tables(connection, number)
    parents: dict[int, list[int]] = defaultdict(list)
    for trial, parent in tables.rows("parents", "trial, parent", order="trial, position"):
        parents[trial].append(parent)
    rungs = _rungs(tables)
    columns = (
        "number AS trial, genome, origin, inherit, status, failure_kind, failure_message, "
        "duplicate_of"
    )
    for trial, genome, origin, inherit, status, kind, message, duplicate_of in tables.rows(
        "trials", columns, order="trial"
    ):
        try:
            decoded = Genome.from_json(genome, source=f"{where}: trial {trial}")
        except TypeError as error:
            raise InputFileError(
                "the genome is not text", where=f"{where}: trial {trial}"
            ) from error
        yield Trial(
            number=trial,
            proposal=Proposal(decoded, tuple(parents[trial]), origin, inherit),
            status=Status(status),
            rungs=tuple(rungs[trial]),
            failure=Failure(kind, message or "") if kind is not None else None,
            duplicate_of=duplicate_of,
        )


def with_answers(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, by number from 0, each duplicate with the results of the trial that answers it,
    as far as there are any.
    """
    return [
        trial if trial.duplicate_of is None else _answered(trial, trials[trial.duplicate_of])
        for trial in trials
    ]


def _answered(duplicate: Trial, original: Trial) -> Trial:
    return duplicate.with_(rungs=tuple(rung for rung in original.rungs if rung.result is not None))


class _Tables:
    """Rows of all trials, or of one."""

    def __init__(self, connection: sqlite3.Connection, number: int | None) -> None:
        self._connection = connection
        self._condition = "" if number is None else " WHERE trial = ?"
        self._values = () if number is None else (number,)
        self.version: int = connection.execute("PRAGMA user_version").fetchone()[0]

    def rows(self, table: str, columns: str, *, order: str) -> sqlite3.Cursor:
        return self._connection.execute(
            f"SELECT {columns} FROM {table}{self._condition} ORDER BY {order}", self._values
        )


def _rungs(tables: _Tables) -> dict[int, list[Rung]]:
    """The rungs of each trial, lowest first."""
    curves, metrics, connections = _curves(tables), _metrics(tables), _connections(tables)
    columns = (
        "score, metric, steps, seconds, parameters, cell_parameters, checkpoint, "
        "trial, rung, granted"
    )
    rungs: dict[int, list[Rung]] = defaultdict(list)
    for row in tables.rows("rungs", columns, order="trial, rung"):
        score, metric, steps, seconds, parameters, cell_parameters, checkpoint, *asked = row
        trial, rung, granted = asked
        job, result = JobId(trial, rung), None
        if checkpoint is not None:
            result = Result(
                score=_number(score),
                metric=_number(metric),
                steps=steps,
                seconds=seconds,
                parameters=parameters,
                cell_parameters=cell_parameters,
                curve=tuple(curves[job]),
                metrics=metrics[job],
                connections=connections[job],
                checkpoint=checkpoint,
            )
        rungs[trial].append(Rung(Budget(granted, rung), result))
    return rungs


def _curves(tables: _Tables) -> dict[JobId, list[tuple[int, float]]]:
    curves: dict[JobId, list[tuple[int, float]]] = defaultdict(list)
    for trial, rung, step, score in tables.rows(
        "curves", "trial, rung, step, score", order="trial, rung, position"
    ):
        curves[JobId(trial, rung)].append((step, _number(score)))
    return curves


def _metrics(tables: _Tables) -> dict[JobId, dict[str, float]]:
    metrics: dict[JobId, dict[str, float]] = defaultdict(dict)
    for trial, rung, name, value in tables.rows(
        "metrics", "trial, rung, name, value", order="trial, rung, name"
    ):
        metrics[JobId(trial, rung)][name] = _number(value)
    return metrics


def _connections(tables: _Tables) -> dict[JobId, dict[str, Connection]]:
    # A store that is only read is not migrated: before version 2 nobody measured perturbations.
    perturbation = "perturbation" if tables.version >= 2 else "NULL"
    connections: dict[JobId, dict[str, Connection]] = defaultdict(dict)
    for trial, rung, name, gate, saliency, added in tables.rows(
        "connections",
        f"trial, rung, name, gate, saliency, {perturbation}",
        order="trial, rung, name",
    ):
        connections[JobId(trial, rung)][name] = Connection(_number(gate), _number(saliency), added)
    return connections


def _number(value: float | None) -> float:
    """SQLite stores what is not a number as NULL."""
    return float("nan") if value is None else value
