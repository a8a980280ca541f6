"""Trials out of the tables of a store."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence

from cellsearch.errors import InputFileError
from cellsearch.job import Budget, Connection, Failure, Result
from cellsearch.trial import Rung, Status, StoredProposal, Trial

__all__ = ["answered", "read_trials", "with_answers"]


def read_trials(
    connection: sqlite3.Connection,
    where: str,
    numbers: range | None = None,
    *,
    curves: bool = True,
) -> Iterator[Trial]:
    """All trials in order, or those with these (successive) numbers; a duplicate is without
    results. Their genomes are read when they are asked for.

    ``curves``: with curves, metrics and connections of the results. Raises :class:`InputFileError`
    for a row that no version of this program wrote.
    """
    tables = _Tables(connection, numbers)
    parents: dict[int, list[int]] = defaultdict(list)
    for trial, parent in tables.rows("parents", "trial, parent", order="trial, position"):
        parents[trial].append(parent)
    rungs = _rungs(tables, curves=curves)
    columns = (
        "number AS trial, genome, origin, inherit, status, failure_kind, failure_message, "
        "duplicate_of, cell_key"
    )
    for trial, genome, origin, inherit, status, kind, message, duplicate_of, key in tables.rows(
        "trials", columns, order="number", number="number"
    ):
        if not isinstance(genome, str):
            raise InputFileError("the genome is not text", where=f"{where}: trial {trial}")
        yield Trial(
            number=trial,
            proposal=StoredProposal.of(
                genome,
                tuple(parents.pop(trial, ())),
                origin,
                inherit,
                source=f"{where}: trial {trial}",
                key=key or "",
            ),
            status=Status(status),
            rungs=tuple(rungs.pop(trial, ())),
            failure=Failure(kind, message or "") if kind is not None else None,
            duplicate_of=duplicate_of,
        )


def with_answers(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, by number from 0, each duplicate with the results of the trial that answers it,
    as far as there are any.
    """
    return [
        trial if trial.duplicate_of is None else answered(trial, trials[trial.duplicate_of])
        for trial in trials
    ]


def answered(duplicate: Trial, original: Trial) -> Trial:
    """The duplicate with the results of the trial that answers it, as far as there are any."""
    return duplicate.with_(rungs=tuple(rung for rung in original.rungs if rung.result is not None))


class _Tables:
    """Rows of all trials, or of some."""

    def __init__(self, connection: sqlite3.Connection, numbers: range | None) -> None:
        self._connection = connection
        self._condition = "" if numbers is None else " WHERE {} >= ? AND {} < ?"
        self._values = () if numbers is None else (numbers.start, numbers.stop)

    def rows(
        self, table: str, columns: str, *, order: str, number: str = "trial"
    ) -> sqlite3.Cursor:
        """``number``: the column that holds the number of the trial."""
        condition = self._condition.format(number, number)
        return self._connection.execute(
            f"SELECT {columns} FROM {table}{condition} ORDER BY {order}", self._values
        )


def _rungs(tables: _Tables, *, curves: bool) -> dict[int, list[Rung]]:
    """The rungs of each trial, lowest first."""
    points, metrics, connections = (
        (_curves(tables), _metrics(tables), _connections(tables)) if curves else ({}, {}, {})
    )
    columns = (
        "score, metric, steps, seconds, parameters, cell_parameters, checkpoint, "
        "trial, rung, granted"
    )
    rungs: dict[int, list[Rung]] = defaultdict(list)
    for row in tables.rows("rungs", columns, order="trial, rung"):
        score, metric, steps, seconds, parameters, cell_parameters, checkpoint, *asked = row
        trial, rung, granted = asked
        job, result = (trial, rung), None
        if checkpoint is not None:
            result = Result(
                score=_number(score),
                metric=_number(metric),
                steps=steps,
                seconds=seconds,
                parameters=parameters,
                cell_parameters=cell_parameters,
                curve=tuple(points.get(job, ())),
                metrics=metrics.get(job, {}),
                connections=connections.get(job, {}),
                checkpoint=checkpoint,
            )
        rungs[trial].append(Rung(Budget(granted, rung), result))
    return rungs


def _curves(tables: _Tables) -> dict[tuple[int, int], list[tuple[int, float]]]:
    curves: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
    for trial, rung, step, score in tables.rows(
        "curves", "trial, rung, step, score", order="trial, rung, position"
    ):
        curves[trial, rung].append((step, _number(score)))
    return curves


def _metrics(tables: _Tables) -> dict[tuple[int, int], dict[str, float]]:
    metrics: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
    for trial, rung, name, value in tables.rows(
        "metrics", "trial, rung, name, value", order="trial, rung, name"
    ):
        metrics[trial, rung][name] = _number(value)
    return metrics


def _connections(tables: _Tables) -> dict[tuple[int, int], dict[str, Connection]]:
    connections: dict[tuple[int, int], dict[str, Connection]] = defaultdict(dict)
    for trial, rung, name, gate, saliency, added in tables.rows(
        "connections",
        "trial, rung, name, gate, saliency, perturbation",
        order="trial, rung, name",
    ):
        connections[trial, rung][name] = Connection(_number(gate), _number(saliency), added)
    return connections


def _number(value: float | None) -> float:
    """SQLite stores what is not a number as NULL."""
    return float("nan") if value is None else value
