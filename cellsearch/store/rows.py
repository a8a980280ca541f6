"""Rows of the store and the values they stand for."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cellsearch.errors import InputFileError
from cellsearch.genome.graph import Genome
from cellsearch.job import JobId
from cellsearch.trial import Budget, Connection, Failure, Proposal, Result, Rung, Status, Trial

__all__ = [
    "Decision",
    "Duplicate",
    "Environment",
    "Event",
    "Timing",
    "insert_result",
    "read_trials",
    "with_answers",
]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the search decided at a ``position``: to train ``trial`` at ``rung``, knowing the
    results of positions below ``horizon``.
    """

    position: int
    trial: int
    rung: int
    horizon: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A proposal for trial ``trial`` that was answered by ``duplicate_of`` instead of being
    trained.
    """

    trial: int
    attempt: int
    duplicate_of: int


@dataclass(frozen=True, slots=True)
class Timing:
    """When and where a job ran: ``started`` and ``ended`` are seconds since 1970; ``ended`` is
    ``None`` while it has no outcome.
    """

    trial: int
    rung: int
    worker: str
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True)
class Environment:
    """Machine and versions that the run was opened on, and when."""

    opened: float
    fingerprint: dict[str, str]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the run."""

    time: float
    kind: str
    text: str


def insert_result(connection: sqlite3.Connection, trial: int, rung: int, result: Result) -> None:
    """Write the parts of a result that have tables of their own."""
    if result.curve:
        rows = [
            (trial, rung, position, step, score)
            for position, (step, score) in enumerate(result.curve)
        ]
        connection.executemany("INSERT INTO curves VALUES (?, ?, ?, ?, ?)", rows)
    if result.metrics:
        connection.executemany(
            "INSERT INTO metrics VALUES (?, ?, ?, ?)",
            [(trial, rung, name, value) for name, value in result.metrics.items()],
        )
    if result.connections:
        learned = [
            (trial, rung, name, c.gate, c.saliency, c.perturbation)
            for name, c in result.connections.items()
        ]
        connection.executemany("INSERT INTO connections VALUES (?, ?, ?, ?, ?, ?)", learned)


def read_trials(
    connection: sqlite3.Connection, where: str, number: int | None = None
) -> Iterator[Trial]:
    """All trials in order, or one. Raises :class:`InputFileError` for a row that no version of this
    program wrote.
    """
    condition, values = ("", ()) if number is None else (" WHERE trial = ?", (number,))
    parents: dict[int, list[int]] = defaultdict(list)
    for trial, parent in connection.execute(
        f"SELECT trial, parent FROM parents{condition} ORDER BY trial, position", values
    ):
        parents[trial].append(parent)
    rungs = _read_rungs(connection, condition, values)
    columns = (
        "number AS trial, genome, origin, inherit, status, failure_kind, failure_message, "
        "duplicate_of"
    )
    rows = connection.execute(f"SELECT {columns} FROM trials{condition} ORDER BY trial", values)
    for trial, genome, origin, inherit, status, kind, message, duplicate_of in rows:
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


def with_answers(trials: list[Trial]) -> list[Trial]:
    """The trials, by number from 0, each duplicate with the results of the trial that answers it,
    as far as there are any.
    """
    return [
        trial if trial.duplicate_of is None else _answered(trial, trials[trial.duplicate_of])
        for trial in trials
    ]


def _answered(duplicate: Trial, original: Trial) -> Trial:
    return duplicate.with_(rungs=tuple(rung for rung in original.rungs if rung.result is not None))


def _read_rungs(
    connection: sqlite3.Connection, condition: str, values: tuple[int, ...]
) -> dict[int, list[Rung]]:
    curves: dict[JobId, list[tuple[int, float]]] = defaultdict(list)
    for trial, rung, step, score in connection.execute(
        f"SELECT trial, rung, step, score FROM curves{condition} ORDER BY trial, rung, position",
        values,
    ):
        curves[JobId(trial, rung)].append((step, _number(score)))
    metrics: dict[JobId, dict[str, float]] = defaultdict(dict)
    for trial, rung, name, value in connection.execute(
        f"SELECT trial, rung, name, value FROM metrics{condition}", values
    ):
        metrics[JobId(trial, rung)][name] = _number(value)
    connections: dict[JobId, dict[str, Connection]] = defaultdict(dict)
    # A store that is only read is not migrated: before version 2 nobody measured perturbations.
    perturbation = (
        "perturbation" if connection.execute("PRAGMA user_version").fetchone()[0] >= 2 else "NULL"
    )
    for trial, rung, name, gate, saliency, added in connection.execute(
        f"SELECT trial, rung, name, gate, saliency, {perturbation} FROM connections{condition}",
        values,
    ):
        connections[JobId(trial, rung)][name] = Connection(_number(gate), _number(saliency), added)

    rungs: dict[int, list[Rung]] = defaultdict(list)
    columns = (
        "trial, rung, granted, score, metric, steps, seconds, parameters, cell_parameters, "
        "checkpoint"
    )
    for row in connection.execute(
        f"SELECT {columns} FROM rungs{condition} ORDER BY trial, rung", values
    ):
        (
            trial,
            rung,
            granted,
            score,
            metric,
            steps,
            seconds,
            parameters,
            cell_parameters,
            checkpoint,
        ) = row
        result = None
        if checkpoint is not None:
            at = JobId(trial, rung)
            result = Result(
                score=_number(score),
                metric=_number(metric),
                steps=steps,
                seconds=seconds,
                parameters=parameters,
                cell_parameters=cell_parameters,
                curve=tuple(curves[at]),
                metrics=metrics[at],
                connections=connections[at],
                checkpoint=checkpoint,
            )
        rungs[trial].append(Rung(Budget(granted, rung), result))
    return rungs


def _number(value: float | None) -> float:
    """SQLite stores what is not a number as NULL."""
    return float("nan") if value is None else value
